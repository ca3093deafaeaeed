"""Read a model's config.json, packaged or from a folder, and count it. No network, no weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from headrace.errors import InputError
from headrace.models.config import Config
from headrace.models.facts import ModelFacts
from headrace.models.families.registry import count, family_of
from headrace.models.quantization import read_quantization

CATALOG = Path(__file__).parent / "catalog"
"""One file per model, `ORG__NAME.json` for the hub id ORG/NAME."""

HOW_TO_GET = (
    "download its config.json (`hf download ORG/NAME config.json --local-dir FOLDER`) and give "
    "the folder as the model."
)


def load_model(model: str) -> ModelFacts:
    """The facts of a model: the hub id of a packaged config, or a folder with a config.json.

    Raises InputError, with what to do, for a missing or broken file, an id that is not packaged,
    an architecture that is not supported, and fields that are missing.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _from_folder(folder)
    if folder.name == "config.json" and folder.is_file():
        return _from_folder(folder.parent)
    if _looks_like_path(model):
        raise InputError(
            f"model {model}: there is no such folder",
            hint="Give a folder that holds a config.json, or the hub id of a packaged model: "
            "`headrace models` lists them.",
        )
    return _packaged(model)


def packaged() -> list[str]:
    """The hub ids of all packaged configs, sorted."""
    return sorted(file.stem.replace("__", "/") for file in CATALOG.glob("*.json"))


def facts_from(config: dict[str, Any], name: str, where: str = "config.json") -> ModelFacts:
    """The facts of a config that is already in memory."""
    return count(_read(_Source(config, name, where)))


@dataclass(frozen=True)
class _Source:
    """A parsed config.json, and where it came from."""

    raw: dict[str, Any]
    name: str
    where: str
    path: str | None = None
    quantization: dict[str, Any] | None = None


def _looks_like_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or model.count("/") != 1


def _packaged(model: str) -> ModelFacts:
    file = CATALOG / f"{model.replace('/', '__')}.json"
    if not file.is_file():
        file = _other_case(model)
    name = file.stem.replace("__", "/")
    return count(_read(_Source(_parse(file), name, f"packaged config of {name}")))


def _other_case(model: str) -> Path:
    """Hub ids are compared without case, as the hub does; else an error with the nearest ids."""
    names = {name.lower(): name for name in packaged()}
    if model.lower() in names:
        return CATALOG / f"{names[model.lower()].replace('/', '__')}.json"
    near = [names[n] for n in difflib.get_close_matches(model.lower(), names, n=3, cutoff=0.6)]
    nearest = f" Nearest: {', '.join(near)}." if near else ""
    raise InputError(
        f"model {model}: no config of that name is packaged.{nearest}",
        hint=f"`headrace models` lists the packaged ones. Any other: {HOW_TO_GET}",
    )


def _from_folder(folder: Path) -> ModelFacts:
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"model {folder}: the folder holds no config.json", hint=HOW_TO_GET)
    apart = folder / "hf_quant_config.json"
    quantization = _parse(apart).get("quantization") if apart.is_file() else None
    path = str(folder.resolve())
    name = folder.resolve().name
    facts = count(_read(_Source(_parse(file), name, str(file), path, quantization)))
    return replace(facts, random_weights=_random_weights(folder))


def _random_weights(folder: Path) -> str | None:
    """What the weights' index says of itself where `benchmarks/gpu/weights.py` drew them.

    It stands there and not in config.json, so that it comes and goes with the weights.
    """
    index = folder / "model.safetensors.index.json"
    metadata = _parse(index).get("metadata") if index.is_file() else None
    drawn = metadata.get("random_weights") if isinstance(metadata, dict) else None
    return str(drawn) if drawn else None


def _parse(file: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{file}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})",
            hint="Take the file again from the model's page (was a web page saved instead?).",
        ) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a JSON object, found {type(document).__name__}")
    return document


def _read(source: _Source) -> Config:
    """Find the language model's part, the architecture and the quantization."""
    raw = source.raw
    nested = raw.get("text_config")
    text = nested if isinstance(nested, dict) else raw
    architectures = raw.get("architectures") or text.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise InputError(
            f"{source.where}: the field `architectures` is missing, expected a list such as "
            '["Qwen3ForCausalLM"]',
            hint="Take the complete config.json from the model's page.",
        )
    family_of(str(architectures[0]), text, source.where)
    settings = raw.get("quantization_config") or text.get("quantization_config")
    settings = settings or source.quantization or {}
    if not isinstance(settings, dict):
        raise InputError(f"{source.where}: quantization_config: expected an object of settings")
    dtype = text.get("dtype") or text.get("torch_dtype") or raw.get("dtype")
    plain = dtype or raw.get("torch_dtype") or "bfloat16"
    return Config(
        name=source.name,
        where=source.where,
        architecture=str(architectures[0]),
        raw=raw,
        text=text,
        quantization=read_quantization(settings, str(plain), source.where),
        path=source.path,
    )
