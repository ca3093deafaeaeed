"""From what agents say of GPUs to what they did in a measured window."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from headrace.loadgen.progress import Progress
from headrace.loadgen.summary import Summary
from headrace.proof.gpu_use import GpuWatch, gpu_use, in_words, joules_per_token
from headrace.targets.deployment import Deployment, GpuState, Replica
from tests.report.synthetic import write_run


def reading(at_s: float, **changed: Any) -> GpuState:
    """One of an H200 that takes 690 W, nine tenths of the time at its limit."""
    state: dict[str, Any] = {
        "node": "local",
        "index": 0,
        "name": "NVIDIA H200",
        "memory_used_bytes": 0,
        "memory_total_bytes": 1,
        "temperature_c": 60,
        "busy_percent": 98,
        "read_s": at_s,
        "energy_j": 1e6 + 690 * at_s,
        "power_limit_w": 700.0,
        "power_limited_s": 50 + 0.9 * at_s,
        "clock_mhz": 1500,
        "clock_max_mhz": 1980,
    }
    return GpuState(**state | changed)


def test_counters_are_means_over_the_window_and_a_repeated_reading_counts_once() -> None:
    readings = [reading(5), reading(5), reading(10, clock_mhz=1530, busy_percent=100)]
    (use,) = gpu_use([*readings, readings[-1]])
    assert (use.busy_percent, use.clock_mhz, use.clock_max_mhz) == (99, 1515, 1980)
    assert use.power_w == pytest.approx(690)
    assert use.power_limited == pytest.approx(0.9)
    assert in_words([use]) == (
        "99 % busy, 1,515 of 1,980 MHz, 690 of 700 W, "
        "held down by the limit of power 90 % of the time"
    )


def test_no_more_than_all_of_the_time_is_held_down() -> None:
    """The driver counts by its own clock."""
    first, last = reading(5, power_limited_s=50), reading(10, power_limited_s=55.001)
    assert gpu_use([first, last])[0].power_limited == 1


def test_each_gpu_of_each_machine_is_its_own() -> None:
    seen = [reading(s, node=n, index=i) for s in (5, 10) for n in ("a", "b") for i in (0, 1)]
    assert [(use.node, use.index) for use in gpu_use(seen)] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]


def test_what_is_not_known_is_left_out() -> None:
    silent = {"energy_j": None, "power_limited_s": None, "clock_mhz": None}
    (use,) = gpu_use([reading(5, **silent), reading(10, **silent)])
    assert (use.power_w, use.power_limited, use.clock_mhz) == (None, None, None)
    assert in_words([use]) == "98 % busy"
    (once,) = gpu_use([reading(5)])
    assert once.power_w is None
    assert gpu_use([]) == []


def deployment(engine: str) -> Deployment:
    """Two GPUs, of which one serves; the other is somebody else's."""
    return Deployment(
        fleet="f",
        engine=engine,
        run_dir="/",
        agent_pid=1,
        started_at="",
        replicas=[Replica(id="r0", node="local", url="http://h", state="ready", gpus=[1])],
        gateway=None,
        gpus=[reading(5, index=0), reading(5, index=1)],
    )


def test_only_the_fleets_own_gpus_count_and_none_of_simulated_replicas() -> None:
    assert [gpu.index for gpu in deployment("vllm").own_gpus] == [1]
    assert deployment("simulated").own_gpus == []


def test_a_watch_keeps_what_was_read_while_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.proof.gpu_use.EVERY_S", 0.01)
    asked = []

    def now() -> Deployment:
        asked.append(1)
        return deployment("vllm")

    with GpuWatch(now) as watch:
        watch.seen(Progress("warming up", 1.0, 0.0, 0.0, 1, 0, 0))
        time.sleep(0.05)
        assert (asked, watch.readings) == ([], [])
        watch.seen(Progress("measuring", 2.0, 0.0, 0.0, 1, 0, 0))
        while not watch.readings:
            time.sleep(0.01)
    assert {gpu.index for gpu in watch.readings} == {1}


def test_energy_of_a_token(tmp_path: Path) -> None:
    text = (write_run(tmp_path / "run") / "summary.json").read_text(encoding="utf-8")
    summary = Summary.model_validate_json(text)
    used = gpu_use([reading(5), reading(10), reading(5, index=1), reading(10, index=1)])
    measured = summary.model_copy(update={"gpus": used})
    assert joules_per_token(measured) == pytest.approx(1380 / summary.throughput.total_tok_s)
    assert joules_per_token(summary) is None
