"""A second hypothesis about the published 96.5 %: runs of a counted number of requests.

`python benchmarks/simulator_scaling.py`: every place of the load sends a few requests, all start
together, and throughput is all tokens over the time to the last answer. The tail grows with the
number of replicas, so efficiency falls although TPOT does not change. Simulated, several seeds.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

from headrace.cli.plan import plan_for
from headrace.simulator.case import Case, case_of
from headrace.simulator.questions import PUBLISHED_ONE_NODE_IN_FLIGHT
from headrace.simulator.requests import DONE
from headrace.simulator.scenario import Gateways, uniform
from headrace.simulator.simulation import Setup, simulate
from headrace.simulator.workload import Closed, Workload
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path

NODES = (1, 2, 4, 8, 12)
LONG_S = 4000.0
GATEWAYS = {
    "random for the connection's life": Gateways("random-connection"),
    "random per request": Gateways("random-connection", requests_per_connection=1),
    "round-robin": Gateways("round-robin"),
    "least-request": Gateways("least-request"),
}


def counted_tok_s(case: Case, nodes: int, each: int, gateways: Gateways, seed: int) -> float:
    replicas = nodes * case.replicas_per_node
    places = round(PUBLISHED_ONE_NODE_IN_FLIGHT * replicas)
    scenario = uniform(case.replica, replicas, gateways=gateways, seed=seed)
    arrivals = Closed(places, together=True, requests=each * places)
    r = simulate(Setup(scenario, Workload(arrivals, case.shape, seed), LONG_S)).requests
    done = int((r.status == DONE).sum())
    return done * case.tokens_per_request / float(np.nanmax(r.done_s))


def main() -> None:
    path = Path(recipe_path("qwen35-27b-b200x96-published"))
    case = case_of(plan_for(load_fleet(path)))
    print(f"{'gateway':34}{'each':>5}" + "".join(f"{n:>9}" for n in NODES) + "   nodes: efficiency")
    for name, gateways in GATEWAYS.items():
        for each in (3, 5, 10):
            means = []
            for nodes in NODES:
                runs = max(3, 24 // nodes)
                found = [counted_tok_s(case, nodes, each, gateways, s) for s in range(runs)]
                means.append(statistics.fmean(found) / nodes)
            row = "".join(f"{mean / means[0]:9.1%}" for mean in means)
            print(f"{name:34}{each:>5}{row}", flush=True)


if __name__ == "__main__":
    main()
