"""From an architecture's name to the family that counts it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from headrace.errors import InputError
from headrace.models import families
from headrace.models.config import Config
from headrace.models.facts import ModelFacts

COMMON = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
"""What every family reads."""

SHAPE = (*COMMON, "num_key_value_heads", "head_dim", "intermediate_size")
"""What an architecture nobody has described here would at least have to state."""


@dataclass(frozen=True)
class Family:
    """Architectures that are counted alike. `required` are fields beyond the common ones."""

    architectures: tuple[str, ...]
    required: tuple[str, ...]
    build: Callable[[Config], ModelFacts]


@cache
def registry() -> dict[str, Family]:
    """Every architecture that a module of this package describes."""
    modules = (m.name for m in pkgutil.iter_modules(families.__path__) if m.name != "registry")
    return {
        architecture: family
        for name in modules
        for family in importlib.import_module(f"{families.__name__}.{name}").FAMILIES
        for architecture in family.architectures
    }


def family_of(architecture: str, text: dict[str, Any], where: str) -> Family:
    """The family of an architecture. Raises InputError for one that nobody has described."""
    family = registry().get(architecture)
    if family is not None:
        return family
    missing = [field for field in SHAPE if text.get(field) is None]
    lacks = f"it lacks {', '.join(missing)}" if missing else "it states all shape fields"
    raise InputError(
        f"{where}: architecture {architecture!r} is not supported ({lacks}). "
        f"Supported: {', '.join(sorted(registry()))}",
        hint="Its layers are not known, and Headrace does not guess. Plan a supported model, or "
        "add the family as one module in headrace/models/families.",
    )


def count(config: Config) -> ModelFacts:
    """The facts of a config. Raises InputError for what is not supported or not stated."""
    family = family_of(config.architecture, config.text, config.where)
    missing = [f for f in (*COMMON, *family.required) if config.text.get(f) is None]
    if missing:
        raise InputError(
            f"{config.where}: {config.architecture} needs fields that the file lacks: "
            f"{', '.join(missing)}",
            hint="Take the complete config.json from the model's page.",
        )
    return family.build(config)
