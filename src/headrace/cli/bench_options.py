"""The options of `headrace bench` that are more than a word, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from headrace.errors import InputError
from headrace.loadgen.presets import PRESETS
from headrace.loadgen.series import Axis
from headrace.spec.lengths import AnyLengths, Empirical, as_lengths, parse_lengths


def lengths(text: str, option: str) -> int | AnyLengths:
    """A length; `empirical:FILE` reads one number a line. Raises InputError."""
    kind, _, rest = text.partition(":")
    if kind == "empirical" and rest and not rest.replace(",", "").isdigit():
        return Empirical(values=_numbers(Path(rest), option))
    found = parse_lengths(text, option)
    return found.tokens if found.distribution == "fixed" else found


def _numbers(path: Path, option: str) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} empirical:{path}: cannot be read") from error
    for number, line in enumerate(lines, 1):
        if not line.isdigit() or int(line) < 1:
            raise InputError(f"{option} empirical:{path}: number {number} is {line!r}")
    if not lines:
        raise InputError(f"{option} empirical:{path}: the file is empty")
    return [int(line) for line in lines]


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE options as a mapping. Raises InputError; the value is not repeated in it."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InputError(f"{option}: expected NAME=VALUE, got {name!r}")
        found[name] = value
    return found


def fields(texts: list[str]) -> dict[str, Any]:
    """NAME=JSON options as a mapping; what is not JSON is text."""
    found: dict[str, Any] = {}
    for name, value in pairs(texts, "--body").items():
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found


def sweep_loads(text: str) -> tuple[Axis, list[float]]:
    """`8,16,32` or `concurrency=8,16` or `rate=0.5,1,2`. Raises InputError."""
    name, sign, rest = text.partition("=")
    axis, numbers = (name.strip(), rest) if sign else ("concurrency", text)
    try:
        loads = [float(part) for part in numbers.split(",")]
    except ValueError:
        loads = []
    whole = axis == "rate" or all(load == int(load) for load in loads)
    if axis not in ("concurrency", "rate") or not loads or min(loads) <= 0 or not whole:
        raise InputError(
            f"--sweep {text}: expected loads", hint="for example 8,16,32 or rate=0.5,1,2"
        )
    return ("rate" if axis == "rate" else "concurrency"), loads


def cpu_list(text: str | None) -> list[int] | None:
    """`0,2,4-7`. Raises InputError."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not low.isdigit() or (high and not high.isdigit()):
            raise InputError(f"--cpus {text}: expected processors", hint="for example 0,2,4-7")
        found += range(int(low), int(high or low) + 1)
    return found


def preset_values(name: str | None, values: dict[str, Any]) -> dict[str, Any]:
    """What a preset changes. Raises InputError when there is none of that name."""
    if name is None:
        return {}
    if name not in PRESETS:
        raise InputError(f"--preset {name}: unknown", hint=f"known: {', '.join(PRESETS)}")
    prompt, answer = as_lengths(values["input_tokens"]), as_lengths(values["output_tokens"])
    return PRESETS[name](prompt, answer, values["concurrency"])
