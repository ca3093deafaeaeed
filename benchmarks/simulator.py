"""How long simulations take, and how much memory: `python benchmarks/simulator.py [--large]`.

One core; compiled beforehand. The published case: an hour of 96 GPUs at 719 requests/s, and with
`--large` ten minutes of 10,000 GPUs, behind a gateway that looks at two replicas; two rows are
behind one that looks at as many as Headrace's (at most 512).
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from headrace.cli.plan import plan_for
from headrace.perf.replica import ReplicaModel
from headrace.simulator.scenario import Gateways, uniform
from headrace.simulator.simulation import Setup, simulate
from headrace.simulator.workload import Open, Shape, Workload
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path

REQUEST_S_PER_GPU = 719 / 96


def replica() -> ReplicaModel:
    path = Path(recipe_path("qwen35-27b-b200x96-published"))
    return ReplicaModel.from_json(plan_for(load_fleet(path)).simulation)


def measure(
    model: ReplicaModel, gpus: int, seconds: float, *, quick: bool = True, choices: int = 2
) -> float:
    scenario = uniform(model, gpus, gateways=Gateways("least-request", choices=choices))
    load = Workload(Open(REQUEST_S_PER_GPU * gpus), Shape(1024, 512))
    began = time.process_time()
    outcome = simulate(Setup(scenario, load, seconds), quick=quick)
    took_s = time.process_time() - began
    steps = int(outcome.tally.steps.sum())
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    done = int(outcome.completed.sum())
    speed = f"{took_s:6.1f} s of one core, {took_s / steps * 1e6:.2f} us/step"
    size = f"{steps:,} steps, {done:,} requests, peak {peak_gib:.2f} GiB"
    core = "" if quick else ", reference"
    core += "" if choices else ", as many looks as Headrace's gateway"
    print(f"{gpus:6,} GPUs x {seconds:5.0f} s: {speed}, {size}{core}", flush=True)
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    model = replica()
    measure(model, 8, 1.0)
    measure(model, 8, 60.0, quick=False)
    for gpus, seconds in ((96, 600.0), (1000, 600.0), (96, 3600.0)):
        measure(model, gpus, seconds)
    for gpus in (96, 1000):
        measure(model, gpus, 600.0, choices=0)
    if options.large:
        measure(model, 10_000, 600.0)


if __name__ == "__main__":
    main()
