"""What one worker process is told: a plain value, so that a worker imports little."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from headrace.loadgen.endpoint import Endpoint

GO = b"go"
STOP = b"stop"


@dataclass(frozen=True)
class Job:
    """One worker's share of a measurement.

    `concurrency` and `requests` are the whole fleet's; the share follows from `index` of
    `workers`. `folder` is where the worker leaves its files.
    """

    index: int
    workers: int
    folder: str
    endpoints: list[Endpoint]
    model: str
    input_tokens: int
    output_tokens: int
    concurrency: int | None
    request_rate: float | None
    requests: int | None
    warmup_s: float
    """Open loop: arrivals before this offset are warm-up."""
    spread: bool
    seed: int
    prefix_hit_rate: float
    token_ids: tuple[int, int]
    chat: bool
    temperature: float | None
    api_key_env: str | None
    connect_timeout_s: float
    stall_timeout_s: float
    request_timeout_s: float
    cpu: int | None


def encode(job: Job) -> bytes:
    """One line for the worker's standard input."""
    return orjson.dumps(asdict(job)) + b"\n"


def decode(line: bytes) -> Job:
    """The job in that line."""
    fields = orjson.loads(line)
    fields["endpoints"] = [Endpoint(**endpoint) for endpoint in fields["endpoints"]]
    fields["token_ids"] = tuple(fields["token_ids"])
    return Job(**fields)
