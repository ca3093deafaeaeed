"""What one worker process is told: plain values, so that a worker imports little."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from headrace.loadgen.endpoint import Endpoint

GO = b"go"
STOP = b"stop"


@dataclass(frozen=True)
class Traffic:
    """What requests ask for; the same for every worker. Tables hold equally likely values."""

    model: str
    loras: list[str] = field(default_factory=list)
    """Adapters that requests name in turn instead of the model."""
    chat: bool = False
    input_table: list[int] = field(default_factory=lambda: [1])
    output_table: list[int] = field(default_factory=lambda: [1])
    prefix_hit_rate: float = 0.0
    prefix_groups: int = 1
    token_ids: tuple[int, int] = (100, 1000)
    words: list[str] = field(default_factory=list)
    """Words of one token each, where prompts are sent as text whose length is known."""
    overhead_tokens: int = 0
    """What the chat template adds to a prompt."""
    turns_table: list[int] = field(default_factory=lambda: [1])
    think_table_ms: list[int] = field(default_factory=lambda: [0])
    samples: str = ""
    """File of the dataset's samples, made by the coordinator; empty without a dataset."""
    ignore_eos: bool = True
    temperature: float | None = 0.0
    body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request body."""


@dataclass(frozen=True)
class Arrivals:
    """When requests are sent: `concurrency` in flight, `rate` a second, or as the trace says."""

    concurrency: int | None = None
    rate: float | None = None
    rate_to: float | None = None
    """The rate rises or falls to this over `ramp_s`, once the warm-up is over."""
    ramp_s: float = 0.0
    """Closed loop: the first wave is spread over at least this time."""
    refill: int = 1
    """Closed loop: so many places that became free are taken again together, in all."""
    kind: str = "poisson"
    burstiness: float = 1.0
    speed: float | None = None
    """Replays the samples' own times, so many times as fast."""


@dataclass(frozen=True)
class Access:
    """How servers are spoken to. Keys are named, never held."""

    api_key_env: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    header_envs: dict[str, str] = field(default_factory=dict)
    """Header name to the environment variable that holds its value."""
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 120.0
    request_timeout_s: float = 1800.0


@dataclass(frozen=True)
class Job:
    """One worker's share of a measurement.

    Counts in it are the whole measurement's; the share follows from `index` of `workers`.
    `folder` is where the worker leaves its files.
    """

    index: int
    workers: int
    folder: str
    endpoints: list[Endpoint]
    traffic: Traffic
    arrivals: Arrivals
    access: Access
    requests: int | None
    warmup_s: float
    """Open loop: arrivals before this offset are warm-up."""
    spread: bool
    seed: int
    cpu: int | None = None


def encode(job: Job) -> bytes:
    """One line for the worker's standard input."""
    return orjson.dumps(asdict(job)) + b"\n"


def decode(line: bytes) -> Job:
    """The job in that line."""
    fields = orjson.loads(line)
    fields["endpoints"] = [Endpoint(**endpoint) for endpoint in fields["endpoints"]]
    traffic = fields["traffic"]
    traffic["token_ids"] = tuple(traffic["token_ids"])
    fields["traffic"] = Traffic(**traffic)
    fields["arrivals"] = Arrivals(**fields["arrivals"])
    fields["access"] = Access(**fields["access"])
    return Job(**fields)
