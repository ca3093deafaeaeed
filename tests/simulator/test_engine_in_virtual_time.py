"""The simulated engine's own replicas, on a clock that jumps, against the simulator: the same.

Closed loops are the load generator's own, with its first wave, its ramp and its window.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from headrace.loadgen.spec import BenchSpec
from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.simulator.reference import ReferenceFleet
from headrace.simulator.requests import Requests
from headrace.simulator.scenario import Client, Gateways, uniform
from headrace.simulator.workload import Closed, Open, Shape, Workload
from headrace.spec.lengths import AnyLengths, Uniform
from tests.simulator.fleets import model
from tests.simulator.virtual_engine import VirtualEngine
from tests.simulator.virtual_load import Sent, load_closed

pytestmark = pytest.mark.compute

SECONDS, HTTP_S, SEED, ROWS = 12.0, 0.001, 3, 8000


@dataclass(frozen=True)
class Case:
    replica: ReplicaModel
    replicas: int = 2
    input_tokens: int = 64
    output_tokens: int | AnyLengths = 24
    concurrency: int = 0
    refill: int = 1
    rate: float = 0.0

    @property
    def shape(self) -> Shape:
        return Shape(self.input_tokens, self.output_tokens)

    def engine(self) -> VirtualEngine:
        return VirtualEngine(self.replica, self.replicas, HTTP_S, SEED)


ROOMY = {"pages": 400, "max_num_seqs": 16, "max_num_batched_tokens": 128}
CLOSED = {
    "no drafts": Case(model(**ROOMY, mtp_depth=0), concurrency=24),
    "MTP-1": Case(model(**ROOMY), concurrency=32),
    "MTP-3": Case(model(**ROOMY, mtp_depth=3), concurrency=16),
    "one in flight": Case(model(**ROOMY), replicas=1, concurrency=1),
    "more than slots": Case(model(**ROOMY), replicas=1, concurrency=40),
    "tight token budget": Case(
        model(pages=400, max_num_batched_tokens=24), input_tokens=100, concurrency=16
    ),
    "few pages: preemption": Case(
        model(StepModel.of_length(0.02), pages=40, max_num_seqs=16), replicas=1, concurrency=16
    ),
    "four replicas": Case(model(**ROOMY), replicas=4, concurrency=64),
    "three at a time": Case(model(**ROOMY), concurrency=30, refill=6),
}
POISSON = {
    "light": Case(model(**ROOMY), rate=8.0),
    "heavy": Case(model(**ROOMY), rate=60.0, output_tokens=Uniform(low=4, high=60)),
}


@pytest.mark.parametrize("start", ["spread", "together"])
@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_loop_is_the_load_generators_own(name, start, tmp_path, monkeypatch):
    case = CLOSED[name]
    spec = BenchSpec(
        urls=["http://127.0.0.1:1"] * case.replicas,
        model="m",
        input_tokens=case.input_tokens,
        output_tokens=case.output_tokens,
        concurrency=case.concurrency,
        refill=case.refill,
        duration_s=SECONDS,
        seed=SEED,
        start=start,
    )
    loaded = load_closed(spec, case.engine(), tmp_path, monkeypatch)
    arrivals = Closed(case.concurrency, together=start == "together", refill=case.refill)
    load = Workload(arrivals, case.shape, SEED)
    fleet = simulated(case, load, loaded.window.end_s)
    requests = fleet.requests.used()
    same_tokens(loaded.sent, requests, loaded.window.end_s)
    counted = requests.as_bench_counts(SECONDS)
    theirs = loaded.records.seconds("done_s")[loaded.window.completed]
    np.testing.assert_allclose(np.sort(requests.done_s[counted]), np.sort(theirs), rtol=1e-12)
    assert counted.sum() > 20
    if name == "few pages: preemption":
        assert fleet.tally().preemptions.sum() > 10


@pytest.mark.parametrize("name", POISSON)
def test_every_token_comes_when_the_simulator_says(name):
    case = POISSON[name]
    load = Workload(Open(case.rate), case.shape, SEED)
    sent = play_open(case.engine(), load.requests(SECONDS))
    same_tokens(sent, simulated(case, load, SECONDS).requests.used(), SECONDS)


def play_open(engine: VirtualEngine, table: Requests) -> list[Sent]:
    """Each request at its time in the table, to the replicas in turn."""
    sent = [Sent(n % len(engine.replicas), at_s) for n, at_s in enumerate(table.sent_s.tolist())]
    tokens = zip(table.input_tokens.tolist(), table.output_tokens.tolist(), strict=True)
    for each, (prompt, answer) in zip(sent, tokens, strict=True):
        hear = partial(_hear, engine, each)
        engine.loop.call_at(each.sent_s, engine.ask, each.replica, prompt, answer, hear)
    while engine.loop.next_s <= SECONDS:
        engine.loop.step()
    return sent


def _hear(engine: VirtualEngine, sent: Sent, finished: bool) -> None:
    now_s = engine.loop.time()
    if np.isnan(sent.first_s):
        sent.first_s = now_s
    if finished:
        sent.done_s = now_s


def simulated(case: Case, load: Workload, until_s: float) -> ReferenceFleet:
    """Each replica behind a gateway of its own, since the load generator deals requests out."""
    scenario = uniform(
        case.replica,
        case.replicas,
        gateways=Gateways("round-robin", count=case.replicas),
        client=Client(turnaround_s=0.0),
        delay_s=np.full((case.replicas, case.replicas), HTTP_S),
        seed=SEED,
    )
    warm = load.warm_lengths() if load.closed else None
    fleet = ReferenceFleet(scenario, load.requests(until_s, ROWS), load.closed, warm)
    for gateway in range(case.replicas):
        fleet.set_backends(gateway, 0, np.array([gateway]))
    assert fleet.advance(until_s)
    return fleet


def same_tokens(found: list[Sent], expected: Requests, until_s: float) -> None:
    assert len(found) == expected.sent > 20
    ended = ~np.isnan(expected.done_s) & (expected.done_s < until_s)
    np.testing.assert_array_equal([each.replica for each in found], expected.replica)
    for column in ("sent_s", "first_s", "done_s"):
        ours = np.array([getattr(each, column) for each in found])[ended]
        np.testing.assert_allclose(ours, getattr(expected, column)[ended], rtol=1e-12)
