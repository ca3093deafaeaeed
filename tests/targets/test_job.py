from __future__ import annotations

import pytest

from headrace.errors import InputError
from headrace.targets.local.job import assign_gpus, visible_gpus


def test_each_replica_gets_its_own_gpus():
    assert assign_gpus([0, 1, 2, 3], 2, 2) == [[0, 1], [2, 3]]


def test_gpus_that_run_out_are_counted():
    with pytest.raises(InputError, match="needs 4 GPUs, but only 2"):
        assign_gpus([0, 1], 2, 2)


def test_the_gpus_are_those_that_may_be_seen():
    assert visible_gpus(None, 2) == [0, 1]
    assert visible_gpus("3, 5", 8) == [3, 5]
    assert visible_gpus("", 8) == []


def test_gpus_must_be_numbers():
    with pytest.raises(InputError, match="expected GPU numbers"):
        visible_gpus("GPU-1a2b", 1)
