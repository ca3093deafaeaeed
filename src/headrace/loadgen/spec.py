"""What a measurement is: the load, its schedule, its limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from headrace.errors import InputError
from headrace.spec.slo import GOAL_FIELDS


class BenchSpec(BaseModel):
    """One measurement. Exactly one of concurrency | request_rate, and of requests | duration_s."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: Annotated[list[str], Field(min_length=1)]
    """Base URLs of OpenAI-compatible servers; requests are spread evenly."""
    model: str
    input_tokens: PositiveInt
    output_tokens: PositiveInt
    concurrency: PositiveInt | None = None
    """Closed loop: requests in flight over all URLs."""
    request_rate: PositiveFloat | None = None
    """Open loop: requests per second, Poisson, over all URLs."""
    requests: PositiveInt | None = None
    duration_s: PositiveFloat | None = None
    processes: PositiveInt = 1
    cpus: list[int] | None = None
    """Processor for each worker process, in turn; None leaves it to the operating system."""
    seed: int = 0
    start: Literal["spread", "together"] = "spread"
    """`spread` warms up with mixed lengths so that streams do not run in lockstep."""
    prefix_hit_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each prompt that all prompts have in common."""
    token_ids: tuple[int, int] = (100, 1000)
    """Prompt token ids are drawn from low <= id < high; any vocabulary has the default ones."""
    endpoint: Literal["completions", "chat"] = "completions"
    temperature: float | None = 0.0
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key. The key itself is kept nowhere."""
    connect_timeout_s: PositiveFloat = 10.0
    stall_timeout_s: PositiveFloat = 120.0
    """Longest silence within a request, the wait for the first token included."""
    request_timeout_s: PositiveFloat = 1800.0
    slo: dict[str, float] = {}
    usd_per_hour: PositiveFloat | None = None
    """Price of the whole fleet, for the cost per million tokens."""

    @model_validator(mode="after")
    def _check(self) -> BenchSpec:
        """Raises InputError, which says what to pass."""
        _exactly_one("--concurrency", self.concurrency, "--rate", self.request_rate)
        _exactly_one("--requests", self.requests, "--duration", self.duration_s)
        low, high = self.token_ids
        if not 0 <= low < high:
            raise InputError(f"token_ids {low}..{high}: expected 0 <= low < high")
        unknown = sorted(set(self.slo) - set(GOAL_FIELDS))
        if unknown:
            raise InputError(
                f"slo: unknown goal {unknown[0]}", hint=f"known: {', '.join(GOAL_FIELDS)}"
            )
        return self


def _exactly_one(one: str, first: object, other: str, second: object) -> None:
    if (first is None) == (second is None):
        had = "neither" if first is None else "both"
        raise InputError(f"{one} or {other}: expected one of them, got {had}")


def make_spec(**values: Any) -> BenchSpec:
    """A spec from command-line values. Raises InputError that names the option."""
    try:
        return BenchSpec(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        option = {"urls": "url", "request_rate": "rate", "duration_s": "duration"}.get(field, field)
        raise InputError(
            f"--{option.replace('_', '-')} {first['input']!r}: {first['msg'].lower()}"
        ) from error
