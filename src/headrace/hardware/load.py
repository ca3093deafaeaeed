"""Find a GPU in the catalog: the packaged one, with the user's own file laid over it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import InputError
from headrace.hardware.gpu import ComputeDtype, Gpu

if TYPE_CHECKING:
    from headrace.spec.fleet import Hardware

PACKAGED = Path(__file__).parent / "catalog.toml"
USER_CATALOG = "HEADRACE_HARDWARE"
"""Environment variable: the user's catalog file where none is named."""

HOW_TO_ADD = (
    "`headrace hardware` lists all. To add one, write a TOML table with memory_bytes, "
    "bandwidth_bytes_s, flops.bf16 and link_bytes_s, and name the file in hardware.catalog of the "
    f"fleet file or in the environment variable {USER_CATALOG}."
)


class Figure(BaseModel):
    """A number with where it comes from and as of when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: str | None = None
    date: str | None = None


Number = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Entry(BaseModel):
    """One device as a catalog file states it; a user's file may state single figures only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aliases: tuple[str, ...] = ()
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d$")] | None = None
    memory_bytes: Figure | None = None
    bandwidth_bytes_s: Figure | None = None
    flops: dict[ComputeDtype, Figure] = Field(default_factory=dict)
    link_bytes_s: Figure | None = None
    usd_per_hour: Figure | None = None

    def over(self, base: Entry) -> Entry:
        """`base` with what this entry states instead."""
        stated = {name: getattr(self, name) for name in self.model_fields_set}
        stated["flops"] = {**base.flops, **self.flops}
        stated["aliases"] = (*base.aliases, *self.aliases)
        return base.model_copy(update=stated)


def load_gpu(name: str, catalog: Path | None = None, usd_per_gpu_hour: float | None = None) -> Gpu:
    """A GPU by name or alias, in any case. `catalog` is the user's file; a given price wins.

    Raises InputError with the nearest names when there is no such GPU.
    """
    listed = entries(catalog)
    found = _resolve(name, listed)
    if found is None:
        raise _unknown(name, listed)
    gpu = _gpu(found, listed[found])
    return gpu if usd_per_gpu_hour is None else replace(gpu, usd_per_hour=usd_per_gpu_hour)


def load_gpu_of(hardware: Hardware) -> Gpu:
    """The GPU that a fleet names, from the catalog that it names, at its price, in its host."""
    catalog = Path(hardware.catalog) if hardware.catalog else None
    gpu = load_gpu(hardware.gpu, catalog, hardware.usd_per_gpu_hour)
    return replace(gpu, host_time=hardware.host_time)


def load_catalog(path: Path | None = None) -> dict[str, Gpu]:
    """Every GPU of the packaged catalog, with the user's file laid over it."""
    return {name: _gpu(name, entry) for name, entry in entries(path).items()}


def entries(path: Path | None = None) -> dict[str, Entry]:
    """The catalog with sources and dates. `path`, else $HEADRACE_HARDWARE, is the user's file."""
    listed = dict(_packaged())
    own = path or (Path(os.environ[USER_CATALOG]) if os.environ.get(USER_CATALOG) else None)
    if own is None:
        return listed
    for name, entry in _read(own).items():
        known = _resolve(name, listed)
        listed[known or name] = entry.over(listed[known]) if known else entry
        _require_complete(own, known or name, listed[known or name])
    return listed


@cache
def _packaged() -> dict[str, Entry]:
    return _read(PACKAGED)


def _read(file: Path) -> dict[str, Entry]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"hardware catalog {file}: no such file",
            hint=f"Correct hardware.catalog in the fleet file, or unset {USER_CATALOG}.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"hardware catalog {file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"hardware catalog {file}: not valid TOML: {error}",
            hint="A table per GPU: [NAME], then lines such as usd_per_hour = 2.10",
        ) from None
    return {name: _entry(file, name, table) for name, table in document.items()}


def _entry(file: Path, name: str, table: Any) -> Entry:
    """Validate one table; plain numbers stand for figures without a source."""
    if not isinstance(table, dict):
        raise InputError(
            f"hardware catalog {file}: {name}: expected a table of figures, found {table!r}",
            hint=f"Write [{name}] on a line of its own, and the figures below it.",
        )
    try:
        return Entry.model_validate(_as_figures(table))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"hardware catalog {file}: [{name}] {field}: {_reason(field, first['msg'])}",
            hint='A figure is a number above 0, or {value = 2.10, source = "...", date = "..."}.',
        ) from None


def _as_figures(table: dict[str, Any]) -> dict[str, Any]:
    figures = dict(table)
    for field, value in table.items():
        if field == "flops" and isinstance(value, dict):
            figures[field] = {dtype: _as_figure(flops) for dtype, flops in value.items()}
        elif field not in ("aliases", "compute_capability"):
            figures[field] = _as_figure(value)
    return figures


def _as_figure(value: Any) -> Any:
    return {"value": value} if isinstance(value, int | float | str) else value


def _reason(field: str, message: str) -> str:
    """Pydantic's message, with the nearest field where the name is not known."""
    if message != "Extra inputs are not permitted":
        return message
    near = difflib.get_close_matches(field, Entry.model_fields, n=1)
    return f"no such field{f'; did you mean {near[0]}?' if near else ''}"


def _require_complete(file: Path, name: str, entry: Entry) -> None:
    """A new GPU needs every figure that the performance model divides by."""
    missing = [
        field
        for field in ("memory_bytes", "bandwidth_bytes_s", "link_bytes_s")
        if getattr(entry, field) is None
    ] + ([] if "bf16" in entry.flops else ["flops.bf16"])
    if missing:
        raise InputError(
            f"hardware catalog {file}: [{name}] is a new GPU and lacks {', '.join(missing)}",
            hint="State them, or use the name of a packaged GPU to override single figures: "
            "`headrace hardware` lists those.",
        )


def _gpu(name: str, entry: Entry) -> Gpu:
    assert entry.memory_bytes
    assert entry.bandwidth_bytes_s
    assert entry.link_bytes_s
    capability = entry.compute_capability
    major, _, minor = (capability or "").partition(".")
    return Gpu(
        name=name,
        memory_bytes=entry.memory_bytes.value,
        bandwidth_bytes_s=entry.bandwidth_bytes_s.value,
        flops={dtype: figure.value for dtype, figure in entry.flops.items()},
        link_bytes_s=entry.link_bytes_s.value,
        usd_per_hour=entry.usd_per_hour.value if entry.usd_per_hour else None,
        compute_capability=(int(major), int(minor)) if capability else None,
    )


def _resolve(name: str, listed: dict[str, Entry]) -> str | None:
    """The entry that a name or an alias means, however it is spelled."""
    wanted = _plain(name)
    for entry_name, entry in listed.items():
        if wanted in (_plain(entry_name), *map(_plain, entry.aliases)):
            return entry_name
    return None


def _plain(name: str) -> str:
    """`NVIDIA H100-80GB` and `h100 80gb` are one name."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("nvidia")


def _unknown(name: str, listed: dict[str, Entry]) -> InputError:
    plain = {_plain(known): known for known in listed}
    near = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.4)
    nearest = f"nearest: {', '.join(plain[n] for n in near)}" if near else "none is near"
    return InputError(
        f"GPU {name!r} is not in the hardware catalog; {nearest}. Listed: {', '.join(listed)}",
        hint=HOW_TO_ADD,
    )
