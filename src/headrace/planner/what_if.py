"""A fleet with some of its fields changed, and how two plans differ. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import InputError
from headrace.planner.plan import Plan
from headrace.spec.checks import check_fleet, check_text, one_spelling
from headrace.spec.document import (
    BrokenYamlError,
    Document,
    FieldPath,
    Problem,
    read_document,
)
from headrace.spec.fleet import Fleet
from headrace.spec.validate import validate

OPTION = "--what-if"
HELP = "`headrace plan --help` says what each option takes."
RATES = {"workload.request_rate", "workload.token_rate"}
HOW = (
    "FIELD is a dotted field of the fleet file and VALUE is YAML: "
    "--what-if workload.output_tokens=1024. `headrace schema` lists every field."
)


@dataclass(frozen=True)
class Change:
    """One field of the fleet file and its other value."""

    text: str
    """As it was given: FIELD=VALUE."""
    path: tuple[str, ...]
    value: Any
    option: str = OPTION
    """The command line's option that states it."""
    typed: dict[FieldPath, str] = field(default_factory=dict)
    """Unquoted scalars as they were typed, so that a version 0.30 does not become 0.3."""

    @property
    def name(self) -> str:
        """The dotted field."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Figure:
    """One predicted figure of two plans."""

    name: str
    unit: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """The share by which it changes; None where one of the two is unknown."""
        if not self.before or self.after is None:
            return None
        return self.after / self.before - 1


def parse_changes(texts: Sequence[str]) -> list[Change]:
    """Every FIELD=VALUE. Raises InputError for one that is none, and for a field given twice."""
    changes = [_parsed(text) for text in texts]
    for i, change in enumerate(changes):
        if change.path in [other.path for other in changes[:i]]:
            raise InputError(f"{OPTION} {change.text}: {change.name} is given twice", hint=HOW)
    return changes


def _parsed(text: str) -> Change:
    name, sign, value = text.partition("=")
    path = tuple(part.strip() for part in name.split("."))
    if not sign or not all(path):
        raise InputError(f"{OPTION} {text}: expected FIELD=VALUE", hint=HOW)
    if path[:2] == ("engine", "args") and len(path) > 2:
        path = (*path[:2], one_spelling(path[2]), *path[3:])
    try:
        document = read_document(value)
    except BrokenYamlError as error:
        raise InputError(f"{OPTION} {text}: the value is {error.problem.text}", hint=HOW) from None
    if document.problems:
        raise InputError(f"{OPTION} {text}: {document.problems[0].text}", hint=HOW)
    typed: dict[FieldPath, str] = {(*path, *at): word for at, word in document.typed.items()}
    return Change(text, path, document.value, typed=typed)


def stated(option: str, name: str, value: Any) -> Change:
    """A change that has an option of its own."""
    text = value if isinstance(value, str) else f"{value:g}"
    path = tuple(name.split("."))
    return Change(text, path, value, option, {path: text})


def changed(fleet: Fleet, changes: Sequence[Change]) -> Fleet:
    """The fleet with all changes made. A price that the file states is dropped with its GPU.

    Raises InputError that names the option, the field, what was expected and the nearest field.
    """
    value = fleet.model_dump(mode="json", exclude_unset=True)
    document = Document(value=value)
    for change in changes:
        _set(value, change)
        document.typed |= change.typed
    names = {change.name for change in changes}
    if "hardware.gpu" in names and "hardware.usd_per_gpu_hour" not in names:
        _drop_price(fleet, value)
    if names & RATES:
        _drop_other_loads(value, names)
    made, problems = validate(document)
    problems += check_text(document)
    if made is not None:
        problems += check_fleet(made, document)
    if problems or made is None:
        raise _refused(problems, changes)
    return made


def _drop_other_loads(value: dict[str, Any], names: set[str]) -> None:
    """A rate takes the place of the file's concurrency or other rate."""
    for name in (RATES | {"workload.concurrency"}) - names:
        value["workload"].pop(name.rpartition(".")[2], None)


def _set(value: dict[str, Any], change: Change) -> None:
    for name in change.path[:-1]:
        if not isinstance(value.get(name), dict):
            value[name] = {}
        value = value[name]
    value[change.path[-1]] = change.value


def _drop_price(fleet: Fleet, value: dict[str, Any]) -> None:
    hardware = value["hardware"]
    if isinstance(hardware, dict) and hardware.get("gpu") != fleet.hardware.gpu:
        hardware.pop("usd_per_gpu_hour", None)


def _refused(problems: list[Problem], changes: Sequence[Change]) -> InputError:
    lines = [_line(problem, changes) for problem in problems]
    plain = all(change.option != OPTION for change in changes)
    return InputError("\n".join(dict.fromkeys(lines)), hint=HELP if plain else HOW)


def _line(problem: Problem, changes: Sequence[Change]) -> str:
    """The problem behind the option that made it: all of them where fields contradict."""
    at = problem.field
    guilty = [c for c in changes if c.path[: len(at)] == at or at[: len(c.path)] == c.path]
    options = " ".join(f"{c.option} {c.text}" for c in guilty or changes)
    return f"{options}: {'.'.join(map(str, at))}: {problem.text}"


def figures(base: Plan, other: Plan) -> list[Figure]:
    """The predicted figures of both, in the order in which a plan shows them."""
    a, b = base.chosen.prediction, other.chosen.prediction
    listed = (
        ("total tok/s", "", a.total_tok_s, b.total_tok_s),
        ("band low", "tok/s", a.low_total_tok_s, b.low_total_tok_s),
        ("band high", "tok/s", a.high_total_tok_s, b.high_total_tok_s),
        ("output tok/s", "", a.output_tok_s, b.output_tok_s),
        ("total tok/s per GPU", "", a.total_tok_s_per_gpu, b.total_tok_s_per_gpu),
        ("TPOT", "ms", a.tpot_ms, b.tpot_ms),
        ("TPOT p99", "ms", a.tpot_p99_ms, b.tpot_p99_ms),
        ("TTFT", "ms", a.ttft_ms, b.ttft_ms),
        ("TTFT p99", "ms", a.ttft_p99_ms, b.ttft_p99_ms),
        (
            "requests in flight per replica",
            "",
            a.concurrency_per_replica,
            b.concurrency_per_replica,
        ),
        ("replicas", "", base.chosen.layout.replicas, other.chosen.layout.replicas),
        (
            "USD per million total tokens",
            "",
            a.usd_per_million_tokens,
            b.usd_per_million_tokens,
        ),
    )
    return [Figure(*row) for row in listed]


def differing_args(base: Plan, other: Plan) -> dict[str, tuple[Any, Any]]:
    """The vLLM options in which two plans differ: before and after, None for one left out."""
    a, b = base.chosen.engine_args, other.chosen.engine_args
    return {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}
