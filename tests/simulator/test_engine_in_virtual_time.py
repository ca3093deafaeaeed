"""The simulated engine's own replicas, on a clock that jumps, against the simulator: the same."""

from dataclasses import dataclass

import numpy as np
import pytest

from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.simulator.reference import ReferenceFleet
from headrace.simulator.scenario import Client, Gateways, uniform
from headrace.simulator.workload import Closed, Open, Shape, Workload
from headrace.spec.lengths import AnyLengths, Uniform
from tests.simulator.fleets import model
from tests.simulator.virtual_engine import VirtualEngine

pytestmark = pytest.mark.compute

SECONDS, HTTP_S, SEED, ROWS = 12.0, 0.001, 3, 5000


@dataclass(frozen=True)
class Case:
    replica: ReplicaModel
    replicas: int = 2
    input_tokens: int = 64
    output_tokens: int | AnyLengths = 24
    concurrency: int = 0
    rate: float = 0.0


ROOMY = {"pages": 400, "max_num_seqs": 16, "max_num_batched_tokens": 128}
CASES = {
    "closed, no drafts": Case(model(**ROOMY, mtp_depth=0), concurrency=24),
    "closed, MTP-1": Case(model(**ROOMY), concurrency=32),
    "closed, MTP-3": Case(model(**ROOMY, mtp_depth=3), concurrency=16),
    "one in flight": Case(model(**ROOMY), replicas=1, concurrency=1),
    "more than slots": Case(model(**ROOMY), replicas=1, concurrency=40),
    "tight token budget": Case(
        model(pages=400, max_num_batched_tokens=24), input_tokens=100, concurrency=16
    ),
    "few pages: preemption": Case(
        model(StepModel.of_length(0.02), pages=40, max_num_seqs=16), replicas=1, concurrency=16
    ),
    "Poisson, light": Case(model(**ROOMY), rate=8.0),
    "Poisson, heavy": Case(model(**ROOMY), rate=60.0, output_tokens=Uniform(low=4, high=60)),
    "four replicas": Case(model(**ROOMY), replicas=4, concurrency=64),
}


@pytest.mark.parametrize("name", CASES)
def test_every_token_comes_when_the_simulator_says(name: str):
    case = CASES[name]
    shape = Shape(case.input_tokens, case.output_tokens)
    arrivals = Open(case.rate) if case.rate else Closed(case.concurrency, together=True)
    load = Workload(arrivals, shape, SEED)
    closed = load.closed
    engine = VirtualEngine(case.replica, case.replicas, load.requests(SECONDS, ROWS), HTTP_S, SEED)
    engine.run(SECONDS, case.concurrency)
    scenario = uniform(
        case.replica,
        case.replicas,
        gateways=Gateways("round-robin", count=case.replicas),
        client=Client(turnaround_s=0.0),
        delay_s=np.full((case.replicas, case.replicas), HTTP_S),
        seed=SEED,
    )
    warm = load.warm_lengths() if closed else None
    fleet = ReferenceFleet(scenario, load.requests(SECONDS, ROWS), closed, warm)
    for gateway in range(case.replicas):
        fleet.set_backends(gateway, 0, np.array([gateway]))
    assert fleet.advance(SECONDS)
    found, expected = engine.requests.used(), fleet.requests.used()
    assert found.sent == expected.sent > 20
    ended = ~np.isnan(expected.done_s) & (expected.done_s < SECONDS)
    np.testing.assert_array_equal(found.replica, expected.replica)
    for column in ("sent_s", "first_s", "done_s"):
        theirs = getattr(expected, column)[ended]
        np.testing.assert_allclose(getattr(found, column)[ended], theirs, rtol=1e-12)
    if name == "few pages: preemption":
        assert fleet.tally().preemptions.sum() > 10
