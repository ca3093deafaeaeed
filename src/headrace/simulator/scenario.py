"""What is simulated: replicas, the gateways before them, and the network. All plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headrace.perf.replica import ReplicaModel
from headrace.spec.balance import BOUND, looks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EJECT_AFTER = 3
EJECTED = 1 << 40
"""Added to what a gateway counts as in flight at a replica that it has ejected."""
EVERY = -1
"""`choices` of a gateway that looks at every replica."""

Policy = Literal["random-connection", "round-robin", "least-request", "affinity", "direct"]
POLICIES: tuple[Policy, ...] = (
    "random-connection",
    "round-robin",
    "least-request",
    "affinity",
    "direct",
)

PREFILL, DECODE = 0, 1
"""The two roles of disaggregated replicas; all replicas have the first one otherwise."""


@dataclass(frozen=True)
class Gateways:
    """The proxies that choose a replica for every request, as they really do it.

    - `random-connection`: a Kubernetes service by iptables. A connection gets a random replica and
      keeps it for its life.
    - `round-robin`: each worker thread of each gateway goes round on its own.
    - `least-request`: the fewest requests in flight among `choices` random replicas, drawn as Envoy
      does, so that one may come twice; 0: as many as Headrace's gateway draws (`spec.balance`). A
      gateway counts what it sent itself, or with `stale_s` what the replicas reported when it last
      asked.
    - `affinity`: a hash of the prefix on a ring of replicas; a replica over `bound` times the mean
      load is passed over.
    - `direct`: no gateway. Clients know the replicas and deal their places, or in an open loop
      their requests, out to them in turn, as Headrace's load generator does.
    """

    policy: Policy = "least-request"
    count: int = 1
    workers: int = 1
    choices: int = 0
    stale_s: float = 0.0
    bound: float = BOUND
    requests_per_connection: int = 0
    """0: a connection lives as long as its client."""
    pick_s: float = 0.0
    """What the one endpoint picker takes for a request; all gateways wait for the same."""
    chunk_s: float = 0.0
    """What a chunk of a stream costs one gateway, all its cores together."""
    refused_s: float = 0.0
    """From a request that meets a dead replica to its next try elsewhere."""
    attempts: int = 3
    """Tries of a request. As Headrace's Envoy does: a choice that falls on one of the last two
    replicas that refused the request is made again, up to RESELECTIONS times, and a replica that
    refused EJECT_AFTER in a row is left out until it lives again. Connections of iptables know
    neither."""

    def looks(self, backends: int) -> int:
        """Random replicas that least-request looks at, of so many; EVERY: all of them in turn."""
        return self.choices or looks(backends)


@dataclass(frozen=True)
class Client:
    """Who sends the requests and reads the streams."""

    turnaround_s: float = 0.001
    """Closed loop: from an answer's end to the arrival of the next request."""
    retry_s: float = 0.5
    """Closed loop: the pause after a failed request."""
    chunk_s: float = 0.0
    """What a chunk costs the clients, all their cores together."""


@dataclass(frozen=True)
class Transfer:
    """Moving a prompt's cache from a prefill to a decode replica."""

    latency_s: float
    bytes_per_token: float
    bytes_s: float
    state_bytes: float = 0.0
    """Recurrent state, whatever the prompt's length."""

    def seconds(self, tokens: int) -> float:
        """For a prompt of so many tokens."""
        return self.latency_s + (self.state_bytes + tokens * self.bytes_per_token) / self.bytes_s


@dataclass(frozen=True, eq=False)
class Scenario:
    """A fleet. Arrays have one entry per replica that may ever live; `alive` ones do at first.

    With `transfer`, the replicas of role PREFILL compute prompts and those of role DECODE answers.
    Raises ValueError when the parts do not fit together.
    """

    models: tuple[ReplicaModel, ...]
    model_of: Ints
    gateways: Gateways = field(default_factory=Gateways)
    client: Client = field(default_factory=Client)
    role_of: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    speed: Floats = field(default_factory=lambda: np.zeros(0))
    """Relative to the model: 0.98 takes 2 % longer for a step."""
    delay_s: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """One way, from each gateway (row) to each replica (column)."""
    transfer: Transfer | None = None
    prefix_groups: int = 0
    """Distinct shared prefixes; 0: the scheduler's own hit rate counts."""
    cached_groups: int = 0
    """Prefixes that a replica keeps, least recently used ones go; 0: all of them."""
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.model_of)
        defaults = {
            "role_of": np.zeros(count, np.int64),
            "speed": np.ones(count),
            "delay_s": np.zeros((self.gateways.count, count)),
        }
        for name, default in defaults.items():
            if getattr(self, name).size == 0:
                object.__setattr__(self, name, default)
        if self.delay_s.shape != (self.gateways.count, count):
            raise ValueError(f"delay_s has shape {self.delay_s.shape}, expected one row a gateway")
        if len(self.speed) != count or len(self.role_of) != count:
            raise ValueError("speed and role_of need one entry per replica")

    @property
    def addresses(self) -> int:
        """How many servers a client knows: gateways, or the replicas themselves."""
        return self.replicas if self.gateways.policy == "direct" else self.gateways.count

    @property
    def replicas(self) -> int:
        """All replicas that may ever live."""
        return len(self.model_of)

    def model(self, replica: int) -> ReplicaModel:
        """Of one replica."""
        return self.models[int(self.model_of[replica])]


def uniform(model: ReplicaModel, replicas: int, **changes: object) -> Scenario:
    """So many replicas of one model."""
    return Scenario((model,), np.zeros(replicas, np.int64), **changes)  # type: ignore[arg-type]
