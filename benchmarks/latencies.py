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
WORKLOADS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "heavy tail, 16 in flight": (HEAVY, SHORT, 16, 8192),
    "heavy tail, 64": (HEAVY, SHORT, 64, 8192),
    "heavy tail, 128": (HEAVY, SHORT, 128, 8192),
    "heavy tail, 64, steps of 2,048": (HEAVY, SHORT, 64, 2048),
    "uniform, 128": (WIDE, SHORT, 128, 8192),
    "chat, 256": (CHAT, CHAT, 256, 8192),
}
"""Prompts, answers, requests in flight (and slots), and tokens in a step."""
AT = ("p50", "p90", "p99")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    print(f"{'TTFT ms, predicted / simulated':32}" + "".join(f"{at:>16}" for at in AT), end="")
    print(f"{'TPOT':>8}{'e2e':>8}")
    for name, workload in WORKLOADS.items():
        plan = planned(*workload)
        print(f"{name:32}{row(plan, run(case_of(plan), seconds))}", flush=True)


def planned(
    inputs: dict[str, Any], outputs: dict[str, Any], in_flight: int, batched_tokens: int
) -> Plan:
    """One replica of one B200."""
    args = {"max_num_seqs": in_flight, "max_num_batched_tokens": batched_tokens}
    parts = {
        "model": "Qwen/Qwen3.5-27B-FP8",
        "hardware": {"gpu": "B200"},
        "workload": {"input_tokens": inputs, "output_tokens": outputs, "concurrency": in_flight},
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
