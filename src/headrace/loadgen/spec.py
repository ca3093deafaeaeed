"""What a measurement is: the load, its schedule, its limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from headrace.errors import InputError
from headrace.spec.lengths import AnyLengths, Lengths, as_lengths
from headrace.spec.slo import GOAL_FIELDS

SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"}
OWN_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}
OWN_FIELDS = {"model", "prompt", "messages", "stream", "stream_options", "max_tokens"}
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class BenchSpec(BaseModel):
    """One measurement.

    Exactly one of concurrency | request_rate | replay_speed. One of requests | duration_s, except
    for a replayed trace, which is as long as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: Annotated[list[str], Field(min_length=1)]
    """Base URLs of OpenAI-compatible servers; requests are spread evenly."""
    model: str
    loras: list[str] = []
    """Adapters that requests name in turn instead of the model."""
    input_tokens: PositiveInt | Lengths
    output_tokens: PositiveInt | Lengths
    concurrency: PositiveInt | None = None
    """Closed loop: requests in flight over all URLs."""
    request_rate: PositiveFloat | None = None
    """Open loop: requests per second over all URLs."""
    arrivals: Literal["poisson", "constant", "gamma"] = "poisson"
    burstiness: PositiveFloat = 1.0
    """Shape of gamma arrivals: 1 is Poisson, below it arrivals come in bursts."""
    request_rate_to: PositiveFloat | None = None
    """The rate rises or falls evenly to this over the measurement."""
    replay_speed: PositiveFloat | None = None
    """Sends the dataset's requests at their own times, so many times as fast."""
    ramp_s: NonNegativeFloat = 0.0
    """Closed loop: streams are added evenly over this time."""
    refill: PositiveInt = 1
    """Closed loop: so many requests that ended are followed together, in all."""
    requests: PositiveInt | None = None
    duration_s: PositiveFloat | None = None
    processes: PositiveInt = 1
    cpus: list[int] | None = None
    """Processor for each worker process, in turn; None leaves it to the operating system."""
    seed: int = 0
    start: Literal["spread", "together"] = "spread"
    """`spread` warms up with mixed lengths so that streams do not run in lockstep."""
    prefix_hit_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each prompt that it has in common with others."""
    prefix_groups: PositiveInt = 1
    """How many different beginnings there are."""
    turns: PositiveInt | Lengths = 1
    """Turns of a conversation (chat)."""
    think_s: NonNegativeFloat = 0.0
    """Mean pause of a user between two turns; exponential."""
    dataset: Path | None = None
    dataset_format: Literal["auto", "sharegpt", "mooncake", "burstgpt", "jsonl"] = "auto"
    tokenizer: str | None = None
    """A folder with a tokenizer.json, or `server` for its /tokenize: prompts are sent as text."""
    token_ids: tuple[int, int] = (100, 1000)
    """Prompt token ids are drawn from low <= id < high; any vocabulary has the default ones."""
    endpoint: Literal["completions", "chat"] = "completions"
    ignore_eos: bool = True
    """Ask for answers of exactly the output length (vLLM's and SGLang's own field)."""
    temperature: float | None = 0.0
    body: dict[str, Any] = {}
    """Further fields of every request body."""
    headers: dict[str, str] = {}
    header_envs: dict[str, str] = {}
    """Header name to the environment variable that holds its value."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key. The key itself is kept nowhere."""
    connect_timeout_s: PositiveFloat = 10.0
    stall_timeout_s: PositiveFloat = 120.0
    """Longest silence within a request, the wait for the first token included."""
    request_timeout_s: PositiveFloat = 1800.0
    slo: dict[str, float] = {}
    usd_per_hour: PositiveFloat | None = None
    """Price of the whole fleet, for the cost per million tokens."""
    per_chunk: bool = False
    """Also write `chunks.parquet`: when each chunk of each counted request came."""
    scrape_s: PositiveFloat | None = None
    """Read the servers' /metrics so often into `server.parquet`."""

    @property
    def prompt(self) -> AnyLengths:
        """Lengths of prompts."""
        return as_lengths(self.input_tokens)

    @property
    def answer(self) -> AnyLengths:
        """Lengths of answers."""
        return as_lengths(self.output_tokens)

    @property
    def open_loop(self) -> bool:
        """Requests are due at times of their own."""
        return self.concurrency is None

    @property
    def talks(self) -> bool:
        """Conversations of several turns."""
        return self.turns != 1 or self.dataset is not None

    @model_validator(mode="after")
    def _check(self) -> BenchSpec:
        """Raises InputError, which says what to pass."""
        self._check_load()
        low, high = self.token_ids
        if not 0 <= low < high:
            raise InputError(f"token_ids {low}..{high}: expected 0 <= low < high")
        unknown = sorted(set(self.slo) - set(GOAL_FIELDS))
        if unknown:
            raise InputError(
                f"slo: unknown goal {unknown[0]}", hint=f"known: {', '.join(GOAL_FIELDS)}"
            )
        if self.turns != 1 and self.endpoint != "chat":
            raise InputError("--turns: conversations need --endpoint chat")
        _check_headers(self.headers, self.header_envs)
        own = sorted(OWN_FIELDS & set(self.body))
        if own:
            raise InputError(f"--body {own[0]}: this field is set by other options")
        return self

    def _check_load(self) -> None:
        if self.replay_speed is not None:
            if self.dataset is None:
                raise InputError("--replay: expected a trace", hint="name its file with --dataset")
            if self.concurrency or self.request_rate:
                raise InputError("--replay: the trace says when requests are sent", hint=DROP)
            return
        _exactly_one("--concurrency", self.concurrency, "--rate", self.request_rate)
        _exactly_one("--requests", self.requests, "--duration", self.duration_s)
        if self.request_rate_to and not (self.request_rate and self.duration_s):
            raise InputError("--rate-to: needs --rate and --duration")
        if self.ramp_s and not (self.concurrency and self.start == "spread"):
            raise InputError("--ramp: needs --concurrency, and --start spread")
        self._check_refill()

    def _check_refill(self) -> None:
        if self.refill == 1:
            return
        if self.concurrency is None:
            raise InputError("--refill: needs --concurrency")
        if self.refill > self.concurrency:
            raise InputError(
                f"--refill {self.refill}: more than the {self.concurrency} requests in flight"
            )
        if self.refill % len(self.urls):
            raise InputError(
                f"--refill {self.refill}: expected a multiple of the {len(self.urls)} servers"
            )


DROP = "drop --concurrency and --rate"


def _exactly_one(one: str, first: object, other: str, second: object) -> None:
    if (first is None) == (second is None):
        had = "neither" if first is None else "both"
        raise InputError(f"{one} or {other}: expected one of them, got {had}")


def _check_headers(headers: dict[str, str], envs: dict[str, str]) -> None:
    for name, value in [*headers.items(), *((name, "") for name in envs)]:
        if not HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise InputError(f"--header {name!r}: not a header", hint="expected NAME=VALUE")
        if name.lower() in OWN_HEADERS:
            raise InputError(f"--header {name}: the client sets this header itself")
    for name in headers:
        if name.lower() in SECRET_HEADERS:
            raise InputError(
                f"--header {name}: a secret on a command line can be read by others",
                hint=f"put its value into an environment variable: --header-env {name}=VARIABLE",
            )


NAMES = {
    "urls": "url",
    "request_rate": "rate",
    "duration_s": "duration",
    "loras": "lora",
    "request_rate_to": "rate-to",
    "replay_speed": "replay",
    "ramp_s": "ramp",
    "think_s": "think-time",
    "stall_timeout_s": "stall-timeout",
    "scrape_s": "scrape",
}


def make_spec(**values: Any) -> BenchSpec:
    """A spec from command-line values. Raises InputError that names the option."""
    try:
        return BenchSpec(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option = NAMES.get(field, field).replace("_", "-")
        raise InputError(f"--{option} {first['input']!r}: {first['msg'].lower()}") from error
