"""Fixtures of the load generator's tests."""

import pytest

from tests.loadgen import readers


@pytest.fixture(params=readers.NAMES)
def each_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs with both readers of `tests.loadgen.readers`."""
    monkeypatch.setattr(readers, "chosen", request.param)
    monkeypatch.setattr("headrace.loadgen.fast.quick.LINES", 8)  # it has to grow
