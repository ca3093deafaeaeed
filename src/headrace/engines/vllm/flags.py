"""Which `vllm serve` options a version has, and what vLLM does when they are left out.

The table (`flags.toml`) was read from the sources of every release in `versions`. A patch release
that was not read counts as the last one read of its minor version; any other version is refused.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from headrace.errors import InputError

Kind = Literal["value", "switch", "flag", "list", "json", "append"]
TABLE = Path(__file__).with_name("flags.toml")
SHORT = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "ep": "enable_expert_parallel",
    "asc": "api_server_count",
    "q": "quantization",
    "sc": "speculative_config",
    "cc": "compilation_config",
    "ac": "attention_config",
}
"""vLLM's one-dash spellings, only to say what was meant."""


@cache
def table() -> dict[str, Any]:
    """The parsed table; read once."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def key(version: str) -> tuple[int, ...]:
    """`0.32.0` and `0.32` as numbers that compare."""
    numbers = tuple(int(part) for part in version.split("."))
    return numbers + (0,) * (3 - len(numbers))


def known_version(version: str) -> str:
    """The version of the table that stands for `version`. Raises InputError when none does."""
    versions: list[str] = table()["versions"]
    same_minor = [v for v in versions if key(v)[:2] == key(version)[:2]]
    not_later = [v for v in same_minor if key(v) <= key(version)]
    if not not_later:
        raise InputError(
            f"engine.version {version}: expected vLLM {versions[0]} to {versions[-1]}",
            hint="set engine.version to one of these, as `vllm --version` prints it",
        )
    return not_later[-1]


def options(version: str) -> dict[str, Kind]:
    """All options of a version by name in snake case, and how each is written.

    Raises InputError as `known_version`.
    """
    known = known_version(version)
    return {
        name: cast(Kind, row["kind"])
        for name, row in table()["options"].items()
        if _is_in(row, known)
    }


def default(name: str, version: str) -> Any:
    """A default of the table as it was in `version`. Raises InputError as `known_version`."""
    known = key(known_version(version))
    rows = [value for since, value in table()["defaults"][name] if key(since) <= known]
    return rows[-1]


def unsupported(args: dict[str, Any], version: str) -> list[str]:
    """The names in `args` that this version has not."""
    has = options(version)
    return [name for name in args if name not in has]


def check(args: dict[str, Any], version: str) -> None:
    """Raise InputError for the first option that this version has not, with what is nearest."""
    for name in unsupported(args, version):
        raise InputError(
            f"engine.args.{name}: vLLM {version} has no option --{dashed(name)}",
            hint=_what_instead(name, version),
        )


def dashed(name: str) -> str:
    """The spelling on the command line, without the leading dashes."""
    return name.replace("_", "-")


def _what_instead(name: str, version: str) -> str:
    row = table()["options"].get(name)
    if row is not None:
        return f"vLLM has it {_span(row)}: change engine.version or leave it out"
    has = options(version)
    opposite = name.removeprefix("no_")
    if name != opposite and opposite in has:
        return f"write {opposite}: false"
    whole = name.partition(".")[0]
    if whole in has:
        return f"write {whole} as a mapping of its keys"
    near = SHORT.get(name) or next(iter(difflib.get_close_matches(name, has, 1, 0.5)), None)
    near = near or next((option for option in sorted(has) if name in option), None)
    return f"did you mean {near}?" if near else "see `vllm serve --help=all` for its options"


def _span(row: dict[str, Any]) -> str:
    versions = table()["versions"]
    first, last = row.get("first", versions[0]), row.get("last", versions[-1])
    return f"in {first} to {last}" if first != last else f"in {first} alone"


def _is_in(row: dict[str, Any], version: str) -> bool:
    versions = table()["versions"]
    first, last = row.get("first", versions[0]), row.get("last", versions[-1])
    return key(first) <= key(version) <= key(last)
