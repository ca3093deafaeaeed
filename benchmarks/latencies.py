"""Predicted latencies against the simulator's: `python benchmarks/latencies.py [SECONDS]`.

For each workload the plan of one replica, and so many seconds of it in virtual time (300 unless
said), lengths drawn at random. Prints predicted / simulated TTFT in ms, and the largest error of
TPOT and of the whole request at p50, p90 and p99. Quick with the extra `simulate`, else minutes.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from headrace.cli.plan import plan_for
from headrace.planner.plan import Percentiles, Plan
from headrace.simulator.case import case_of
from headrace.simulator.questions import run
from headrace.simulator.simulation import Outcome
from headrace.spec.fleet import Fleet

HEAVY = {"distribution": "lognormal", "mean_tokens": 3000, "stdev_tokens": 4000, "high": 32000}
SHORT = {"distribution": "lognormal", "mean_tokens": 200, "stdev_tokens": 200, "high": 2000}
CHAT = {"distribution": "lognormal", "mean_tokens": 300, "stdev_tokens": 300, "high": 4000}
WIDE = {"distribution": "uniform", "low": 100, "high": 3000}
WORKLOADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "heavy tail, 16 in flight": (
        {"input_tokens": HEAVY, "output_tokens": SHORT, "concurrency": 16},
        {"max_num_seqs": 16, "max_num_batched_tokens": 8192},
    ),
    "heavy tail, 64": (
        {"input_tokens": HEAVY, "output_tokens": SHORT, "concurrency": 64},
        {"max_num_seqs": 64, "max_num_batched_tokens": 8192},
    ),
    "heavy tail, 128": (
        {"input_tokens": HEAVY, "output_tokens": SHORT, "concurrency": 128},
        {"max_num_seqs": 128, "max_num_batched_tokens": 8192},
    ),
    "heavy tail, 64, steps of 2,048": (
        {"input_tokens": HEAVY, "output_tokens": SHORT, "concurrency": 64},
        {"max_num_seqs": 64, "max_num_batched_tokens": 2048},
    ),
    "uniform, 128": (
        {"input_tokens": WIDE, "output_tokens": SHORT, "concurrency": 128},
        {"max_num_seqs": 128, "max_num_batched_tokens": 8192},
    ),
    "chat, 256": (
        {"input_tokens": CHAT, "output_tokens": CHAT, "concurrency": 256},
        {"max_num_seqs": 256, "max_num_batched_tokens": 8192},
    ),
}
AT = ("p50", "p90", "p99")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    print(f"{'TTFT ms, predicted / simulated':32}" + "".join(f"{at:>16}" for at in AT), end="")
    print(f"{'TPOT':>8}{'e2e':>8}")
    for name, (workload, args) in WORKLOADS.items():
        plan = planned(workload, args)
        print(f"{name:32}{row(plan, run(case_of(plan), seconds))}", flush=True)


def planned(workload: dict[str, Any], args: dict[str, Any]) -> Plan:
    """One replica of one B200."""
    parts = {
        "model": "Qwen/Qwen3.5-27B-FP8",
        "hardware": {"gpu": "B200"},
        "workload": workload,
        "engine": {"kind": "simulated", "args": {"tensor_parallel_size": 1, **args}},
    }
    return plan_for(Fleet.model_validate(parts))


def row(plan: Plan, outcome: Outcome) -> str:
    """Cells of the table's line."""
    predicted = plan.chosen.prediction.latency_ms
    ttft = simulated(outcome.ttft_s())
    cells = [f"{getattr(predicted['ttft'], at):,.0f} / {ttft[at]:,.0f}" for at in AT]
    worst = (
        off(predicted["tpot"], simulated(outcome.tpot_s())),
        off(predicted["e2e"], simulated(outcome.e2e_s())),
    )
    return "".join(f"{cell:>16}" for cell in cells) + "".join(f"{100 * w:6.0f} %" for w in worst)


def simulated(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Percentiles in ms of what has a value."""
    known = seconds[np.isfinite(seconds)]
    return {at: float(np.percentile(known, int(at[1:]))) * 1e3 for at in AT}


def off(predicted: Percentiles, found: dict[str, float]) -> float:
    """The largest relative error."""
    return max(abs(float(getattr(predicted, at)) / found[at] - 1) for at in AT)


if __name__ == "__main__":
    main()
