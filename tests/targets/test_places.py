import pytest

from headrace.errors import HeadraceError
from headrace.targets.places import address_towards, is_loopback
from headrace.targets.starters import STARTERS, starter


def test_the_way_to_this_machine_is_loopback():
    assert is_loopback(address_towards("127.0.0.1"))
    assert not is_loopback("10.0.0.1")


def test_no_way_is_an_error():
    with pytest.raises(HeadraceError, match=r"no way to no\.such\.invalid"):
        address_towards("no.such.invalid")


@pytest.mark.parametrize("kind", STARTERS)
def test_every_target_makes_a_job(kind):
    assert callable(starter(kind).plan_job)
