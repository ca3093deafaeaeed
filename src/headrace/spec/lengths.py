"""Distributions of prompt and answer lengths. Pure: the fleet file and the planner use it too.

A length is written as a number, `uniform:LOW-HIGH`, `normal:MEAN,STDEV`, `lognormal:MEAN,STDEV` or
`empirical:N,N,...` on a command line, and as a mapping with a `distribution` in a file. All of them
are asked by quantile, from which draws, means and tables follow.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from itertools import accumulate
from math import exp, log, sqrt
from statistics import NormalDist, fmean
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from headrace.errors import InputError

TABLE = 4096
"""Quantiles that stand for a distribution: its tail is cut at 1 in 8,192."""
FORMS = "a number, uniform:LOW-HIGH, normal:MEAN,STDEV, lognormal:MEAN,STDEV or empirical:N,N,..."
_STANDARD = NormalDist()


class _Lengths(BaseModel):
    """Tokens per request. `low` and `high` clip what the distribution gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def quantile(self, share: float) -> int:
        """The length that this share of requests does not exceed; 0 < share < 1."""
        raise NotImplementedError

    def table(self, size: int = TABLE) -> list[int]:
        """`size` equally likely lengths, ascending: the distribution as data."""
        return [self.quantile((place + 0.5) / size) for place in range(size)]

    @property
    def mean(self) -> float:
        """Mean length, after clipping."""
        return _mean(self)

    @property
    def longest(self) -> int:
        """The longest length that a table of the distribution holds."""
        return self.quantile(1 - 0.5 / TABLE)


@cache
def _mean(lengths: _Lengths) -> float:
    return fmean(lengths.table())


class Fixed(_Lengths):
    """Every request has this length."""

    distribution: Literal["fixed"] = "fixed"
    tokens: PositiveInt = Field(description="Tokens of every request.")

    def quantile(self, share: float) -> int:  # noqa: ARG002
        """The one length."""
        return self.tokens


class Uniform(_Lengths):
    """Every length from low to high is equally likely."""

    distribution: Literal["uniform"] = "uniform"
    low: PositiveInt = Field(description="Shortest length.")
    high: PositiveInt = Field(description="Longest length, itself possible.")

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.high < self.low:
            raise ValueError("expected low <= high")
        return self

    def quantile(self, share: float) -> int:
        """Linear between the two ends."""
        return min(self.high, self.low + int(share * (self.high - self.low + 1)))


class _Clipped(_Lengths):
    mean_tokens: PositiveFloat = Field(description="Mean length before clipping.")
    stdev_tokens: NonNegativeFloat = Field(description="Standard deviation before clipping.")
    low: PositiveInt = Field(1, description="Shorter lengths become this one.")
    high: PositiveInt | None = Field(None, description="Longer lengths become this one.")

    @model_validator(mode="after")
    def _ordered(self) -> _Clipped:
        if self.high is not None and self.high < self.low:
            raise ValueError("expected low <= high")
        return self

    def _clip(self, value: float) -> int:
        whole = max(self.low, round(value))
        return whole if self.high is None else min(self.high, whole)


class Normal(_Clipped):
    """A bell around the mean."""

    distribution: Literal["normal"] = "normal"

    def quantile(self, share: float) -> int:
        """The normal quantile, clipped."""
        return self._clip(self.mean_tokens + self.stdev_tokens * _STANDARD.inv_cdf(share))


class LogNormal(_Clipped):
    """Many short and a few very long lengths, as real prompts have.

    Mean and deviation are those of the lengths themselves, not of their logarithms.
    """

    distribution: Literal["lognormal"] = "lognormal"

    def quantile(self, share: float) -> int:
        """The log-normal quantile, clipped."""
        spread = log(1 + (self.stdev_tokens / self.mean_tokens) ** 2)
        middle = log(self.mean_tokens) - spread / 2
        return self._clip(exp(middle + sqrt(spread) * _STANDARD.inv_cdf(share)))


class Empirical(_Lengths):
    """Lengths as they were measured, each as likely as it is frequent (or as its weight says)."""

    distribution: Literal["empirical"] = "empirical"
    values: Annotated[list[PositiveInt], Field(min_length=1)] = Field(
        description="Measured lengths, in any order."
    )
    weights: list[PositiveFloat] | None = Field(
        None, description="How frequent each value is; equally when left out."
    )

    @model_validator(mode="after")
    def _matched(self) -> Empirical:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(f"expected {len(self.values)} weights, one for each value")
        return self

    def __hash__(self) -> int:
        return hash((tuple(self.values), tuple(self.weights or ())))

    def quantile(self, share: float) -> int:
        """The measured length at that share of the total weight."""
        return self.table_at([share])[0]

    def table(self, size: int = TABLE) -> list[int]:
        """Sorts once for the whole table."""
        return self.table_at([(place + 0.5) / size for place in range(size)])

    def table_at(self, shares: list[float]) -> list[int]:
        """The quantiles at those shares."""
        pairs = sorted(zip(self.values, self.weights or [1.0] * len(self.values), strict=True))
        sums = list(accumulate(weight for _, weight in pairs))
        last = len(pairs) - 1
        return [pairs[min(last, bisect_left(sums, share * sums[-1]))][0] for share in shares]


Lengths = Annotated[
    Fixed | Uniform | Normal | LogNormal | Empirical, Field(discriminator="distribution")
]
"""For a field of another model: `tokens: PositiveInt | Lengths`."""
AnyLengths = Fixed | Uniform | Normal | LogNormal | Empirical
_ADAPTER: TypeAdapter[AnyLengths] = TypeAdapter(Lengths)


def as_lengths(value: int | AnyLengths) -> AnyLengths:
    """A plain number is a fixed length."""
    return Fixed(tokens=value) if isinstance(value, int) else value


def parse_lengths(text: str, option: str) -> AnyLengths:
    """A length as typed after `option`. Raises InputError that says which forms there are."""
    kind, _, rest = text.strip().partition(":")
    try:
        if kind.isdigit() and not rest:
            return Fixed(tokens=int(kind))
        return _ADAPTER.validate_python({"distribution": kind, **_fields(kind, rest)})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ").lower()
        raise InputError(f"{option} {text}: {said}", hint=f"expected {FORMS}") from error
    except ValueError as error:
        raise InputError(f"{option} {text}: not a length", hint=f"expected {FORMS}") from error


def _fields(kind: str, rest: str) -> dict[str, object]:
    """The numbers behind the colon by field. Raises ValueError where they are not as expected."""
    if kind == "uniform":
        low, high = rest.split("-")
        return {"low": int(low), "high": int(high)}
    numbers = [float(part) for part in rest.split(",")]
    if kind == "empirical":
        return {"values": [int(number) for number in numbers]}
    if kind in ("normal", "lognormal"):
        mean, stdev = numbers
        return {"mean_tokens": mean, "stdev_tokens": stdev}
    raise ValueError(kind)
