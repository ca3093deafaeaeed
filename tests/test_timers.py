"""Calls in order, none early, none lost, and the sockets in between."""

import asyncio
import math
from time import perf_counter

import pytest
import uvloop

from headrace import timers
from headrace.timers import Timers

SYSTEMS = ("linux", "another")


@pytest.fixture(params=SYSTEMS)
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers.sys, "platform", request.param)


async def called(waits_s: list[float]) -> list[tuple[int, float]]:
    """Which calls came, in their order, and how long after they were due."""
    clock = Timers(asyncio.get_running_loop())
    came: list[tuple[int, float]] = []
    over = asyncio.Event()

    def call(number: int, due_s: float) -> None:
        came.append((number, clock.time() - due_s))
        if len(came) == len(waits_s):
            over.set()

    begin_s = clock.time()
    for number, wait_s in enumerate(waits_s):
        clock.call_at(begin_s + wait_s, call, number, begin_s + wait_s)
    await over.wait()
    clock.close()
    return came


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_calls_come_in_their_order_and_never_early(run) -> None:
    came = run(called([0.02, 0.0041, 0.0107, 0.0107, -1.0, 0.0]))
    assert [number for number, _ in came] == [4, 5, 1, 2, 3, 0]
    assert min(late_s for _, late_s in came) >= 0.0


@pytest.mark.usefixtures("_system")
def test_an_earlier_call_may_be_asked_for_later() -> None:
    async def run() -> list[str]:
        clock, came, over = Timers(asyncio.get_running_loop()), [], asyncio.Event()
        clock.call_at(perf_counter() + 0.03, lambda: (came.append("late"), over.set()))
        clock.call_at(perf_counter() + 0.005, came.append, "early")
        await over.wait()
        clock.close()
        return came

    assert uvloop.run(run()) == ["early", "late"]


@pytest.mark.usefixtures("_system")
def test_calls_that_are_always_overdue_leave_the_loop_its_turns() -> None:
    async def run() -> int:
        clock, calls = Timers(asyncio.get_running_loop()), 0

        def again() -> None:
            nonlocal calls
            calls += 1
            clock.call_at(0.0, again)

        again()
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        clock.close()
        return calls

    assert uvloop.run(run()) > 1


@pytest.mark.usefixtures("_system")
def test_a_call_that_fails_loses_no_other() -> None:
    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        clock, came, over = Timers(loop), [], asyncio.Event()
        loop.set_exception_handler(lambda _, told: came.append(str(told["exception"])))
        due_s = perf_counter() + 0.005
        clock.call_at(due_s, int, "no number")
        clock.call_at(due_s, over.set)
        await over.wait()
        clock.close()
        return came

    (came,) = uvloop.run(run())
    assert "no number" in came


@pytest.mark.usefixtures("_system")
def test_nothing_comes_after_the_end() -> None:
    async def run() -> list[str]:
        clock, came = Timers(asyncio.get_running_loop()), []
        clock.call_at(perf_counter() + 0.002, came.append, "pending")
        clock.close()
        clock.close()
        clock.call_at(perf_counter(), came.append, "asked afterwards")
        await asyncio.sleep(0.02)
        return came

    assert uvloop.run(run()) == []


def test_a_time_just_short_of_a_whole_second_can_be_set() -> None:
    """Its nanoseconds round up to a second, which the kernel does not take for nanoseconds."""

    async def run() -> float:
        clock = Timers(asyncio.get_running_loop())
        over = asyncio.Event()
        due_s = math.nextafter(math.ceil(clock.time()), 0.0)
        clock.call_at(due_s, over.set)
        await over.wait()
        clock.close()
        return clock.time() - due_s

    assert uvloop.run(run()) >= 0
