"""From a plan to simulations of its fleet: sizes, loads, gateways and courses to try."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from headrace.errors import InputError
from headrace.perf.replica import ReplicaModel
from headrace.planner.plan import Plan
from headrace.simulator.control import Course
from headrace.simulator.scenario import (
    Client,
    Floats,
    Gateways,
    Policy,
    Scenario,
    Transfer,
    uniform,
)
from headrace.simulator.simulation import Setup
from headrace.simulator.workload import Arrivals, Closed, Open, Shape, Talk, Workload
from headrace.spec.lengths import as_lengths
from headrace.spec.slo import Goal

OF_FLEET: dict[str, Policy] = {
    "round-robin": "round-robin",
    "least-request": "least-request",
    "affinity": "affinity",
    "prefix-affinity": "affinity",
    "none": "direct",
}
"""The fleet file's policies."""
WARM_ANSWERS = 2.0
"""An open loop is warm after so many times a request's whole duration."""


@dataclass(frozen=True)
class Case:
    """A planned fleet, ready to be simulated."""

    name: str
    model: str
    gpu: str
    replica: ReplicaModel
    nodes: int
    replicas_per_node: int
    gpus_per_node: int
    gpus_per_replica: int
    in_flight: float
    """Requests in flight per replica in a closed loop."""
    request_rate: float | None
    """Of the whole fleet, in an open loop; None: closed."""
    shape: Shape
    usd_per_gpu_hour: float | None
    answer_s: float
    """A request's predicted duration."""
    goals: tuple[Goal, ...] = ()
    gateways: Gateways = field(default_factory=Gateways)
    client: Client = field(default_factory=Client)
    speed_spread: float = 0.0
    """Relative standard deviation of the speed of replicas, drawn once."""
    seed: int = 0
    quick: bool = True
    """Whether the compiled core may run."""
    prefill_replicas: int = 0
    """Disaggregated: so many compute prompts only."""
    transfer: Transfer | None = None
    cached_groups: int = 0
    """Shared prefixes that a replica keeps; 0: all of them."""
    talk: Talk | None = None
    """Conversations: `in_flight` is then of users, those who think included."""
    refill: int = 1
    """Closed loop: so many requests that ended are followed together, over the whole fleet."""
    regions: int = 1
    region_delay_s: float = 0.0

    @property
    def replicas(self) -> int:
        """Of the whole fleet."""
        return self.nodes * self.replicas_per_node

    @property
    def gpus(self) -> int:
        """Of all nodes, idle ones included."""
        return self.nodes * self.gpus_per_node

    @property
    def tokens_per_request(self) -> float:
        """Input and output, on average."""
        return as_lengths(self.shape.input_tokens).mean + as_lengths(self.shape.output_tokens).mean

    def usd_per_hour(self, nodes: int | None = None) -> float | None:
        """The price of so many nodes."""
        if self.usd_per_gpu_hour is None:
            return None
        return self.usd_per_gpu_hour * self.gpus_per_node * (nodes or self.nodes)

    def arrivals(self) -> Arrivals:
        """The fleet file's load on all nodes."""
        if self.request_rate is not None:
            return Open(self.request_rate)
        return Closed(round(self.in_flight * self.replicas), talk=self.talk, refill=self.refill)

    @property
    def settle_s(self) -> float:
        """A mean conversation: users are at all of its turns after that."""
        if self.talk is None:
            return 0.0
        return as_lengths(self.talk.turns).mean * (self.answer_s + self.talk.think_s)

    def scenario(self) -> Scenario:
        """The fleet, with each gateway's replicas."""
        speed = np.zeros(0)
        if self.speed_spread:
            random = np.random.default_rng([self.seed, 5])
            speed = np.exp(random.normal(0.0, self.speed_spread, self.replicas))
        return uniform(
            self.replica,
            self.replicas,
            gateways=replace(self.gateways, count=max(self.gateways.count, self.regions)),
            client=self.client,
            speed=speed,
            role_of=(np.arange(self.replicas) >= self.prefill_replicas).astype(np.int64)
            if self.transfer is not None
            else np.zeros(0, np.int64),
            transfer=self.transfer,
            delay_s=self._delays_s(),
            prefix_groups=self.shape.prefix_groups,
            cached_groups=self.cached_groups,
            seed=self.seed,
        )

    def _delays_s(self) -> Floats:
        """Gateways go round the regions, nodes are dealt out to them in blocks."""
        count = max(self.gateways.count, self.regions)
        home = np.arange(self.replicas) * self.regions // self.replicas
        apart = np.arange(count)[:, None] % self.regions != home[None, :]
        return np.where(apart, self.region_delay_s, 0.0)

    def setup(
        self, duration_s: float, arrivals: Arrivals | None = None, course: Course | None = None
    ) -> Setup:
        """A simulation of the whole fleet."""
        load = arrivals or self.arrivals()
        return Setup(
            scenario=self.scenario(),
            workload=Workload(load, self.shape, self.seed),
            duration_s=duration_s,
            warmup_s=0.0 if isinstance(load, Closed) else WARM_ANSWERS * self.answer_s,
            course=course or Course(replicas_per_machine=self.replicas_per_node),
            settle_s=self.settle_s,
        )


def case_of(plan: Plan, **changes: object) -> Case:
    """The case of a plan; `changes` are fields of `Case`.

    Raises InputError for conversations that arrive at a rate: they are simulated by users.
    """
    fleet, layout = plan.fleet, plan.chosen.layout
    load = fleet.workload
    of_plan: dict[str, object] = {
        "name": fleet.name,
        "model": plan.model,
        "gpu": plan.gpu,
        "replica": ReplicaModel.from_json(plan.simulation),
        "nodes": layout.nodes,
        "replicas_per_node": layout.replicas_per_node,
        "gpus_per_node": fleet.hardware.gpus_per_node,
        "gpus_per_replica": layout.tensor_parallel,
        "in_flight": _in_flight(plan),
        "request_rate": _request_rate(plan),
        "shape": Shape(load.inputs, load.outputs)
        if load.trace
        else Shape(load.input_tokens, load.output_tokens),
        "talk": _talk(plan),
        "refill": load.refill,
        "usd_per_gpu_hour": plan.usd_per_gpu_hour,
        "answer_s": _answer_s(plan),
        "goals": fleet.slo.goals(),
        "gateways": Gateways(policy=OF_FLEET[fleet.gateway.policy]),
    }
    return Case(**of_plan | changes)  # type: ignore[arg-type]


def _talk(plan: Plan) -> Talk | None:
    load = plan.fleet.workload
    if load.conversation is None:
        return None
    if load.request_rate is not None or load.token_rate is not None:
        raise InputError(
            "workload.conversation with a rate: conversations are simulated by users",
            hint="give --concurrency, the number of users, or workload.concurrency in the file",
        )
    talk = load.conversation
    return Talk(talk.turns, talk.think_time_s, talk.shared_tokens)


def _request_rate(plan: Plan) -> float | None:
    """What the file states, in requests or in tokens."""
    load = plan.fleet.workload
    if load.token_rate is None:
        return load.request_rate
    return load.token_rate / (load.inputs.mean + load.outputs.mean)


def _in_flight(plan: Plan) -> float:
    """What the file states over all replicas, else what the plan holds.

    A stated number is of users, as the load generator takes it; the plan's is of requests, to which
    those come who think.
    """
    stated = plan.fleet.workload.concurrency
    if isinstance(stated, int):
        return stated / plan.chosen.layout.replicas
    planned = float(plan.chosen.prediction.concurrency_per_replica)
    talk = plan.fleet.workload.conversation
    if talk is None:
        return planned
    thinking_s = talk.think_time_s * (1 - 1 / as_lengths(talk.turns).mean)
    return planned * (1 + thinking_s / _answer_s(plan))


def _answer_s(plan: Plan) -> float:
    predicted = plan.chosen.prediction
    return (predicted.ttft_ms + predicted.tpot_ms * plan.fleet.workload.outputs.mean) / 1e3
