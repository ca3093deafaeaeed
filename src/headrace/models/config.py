"""A config.json as the model families read it: nested or flat, every field checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import InputError
from headrace.models.facts import Linear
from headrace.models.quantization import Quantization


@dataclass(frozen=True)
class Config:
    """One model's config. `text` is the language model's part (`text_config` where it is nested).

    `where` names the file in error messages.
    """

    name: str
    where: str
    architecture: str
    raw: dict[str, Any]
    text: dict[str, Any]
    quantization: Quantization
    path: str | None = None

    def whole(self, field: str) -> int:
        """A required whole number above zero."""
        value = self.text.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(
                f"{self.where}: {field} is {value!r}, expected a whole number above 0",
                hint="Compare the file with the one that the model's authors publish.",
            )
        return value

    def whole_or(self, field: str, default: int) -> int:
        """An optional whole number; `default` when the field is absent or null."""
        return default if self.text.get(field) is None else self.whole(field)

    def whole_or_none(self, field: str) -> int:
        """A whole number that may be absent, null or 0, all of which mean none: 0."""
        return self.whole(field) if self.text.get(field) else 0

    def flag(self, field: str, default: bool) -> bool:
        """An optional yes or no; looked for beside and inside `text_config`."""
        value = self.text.get(field, self.raw.get(field))
        return default if value is None else bool(value)

    @property
    def head_dim(self) -> int:
        """Stated, or the hidden size divided among the heads as in early Llama configs."""
        return self.whole_or("head_dim", self.whole("hidden_size") // self.heads)

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.whole("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        """Key and value heads; absent means one per query head."""
        return self.whole_or("num_key_value_heads", self.heads)

    def layer_kinds(self, count: int) -> tuple[str, ...] | None:
        """`layer_types`, checked against the number of layers; None when absent."""
        kinds = self.text.get("layer_types")
        if kinds is None:
            return None
        if not isinstance(kinds, list) or len(kinds) != count:
            raise InputError(
                f"{self.where}: layer_types must be a list of {count} names (num_hidden_layers)",
                hint="Compare the file with the one that the model's authors publish.",
            )
        return tuple(str(kind) for kind in kinds)

    def stack(self, layers: Sequence[int], prefix: str = "layers") -> Stack:
        """The matrices of these layers, to be described with `Stack.linear`."""
        return Stack(self.quantization, prefix, tuple(layers))


@dataclass(frozen=True)
class Stack:
    """Layers of one kind: where the checkpoint keeps them, and how it quantizes them."""

    quantization: Quantization
    prefix: str
    layers: tuple[int, ...]

    def linear(
        self,
        name: str,
        k: int,
        n: int,
        modules: Sequence[str],
        used: int = 1,
        stored: int = 1,
        plain: bool = False,
    ) -> tuple[Linear, ...]:
        """One matrix k -> n in each layer, `stored` times, of which a token uses `used`.

        `modules` are its names inside a layer; vLLM fuses several into one GEMM and then keeps
        all of them in 16 bit if one is. `plain`: never quantized, whatever the checkpoint says.
        Two entries come back where some layers are quantized and others are not.
        """
        covered = [layer for layer in self.layers if not plain and self._covered(layer, modules)]
        counts = {True: len(covered), False: len(self.layers) - len(covered)}
        return tuple(
            Linear(name, k, n, used * layers, stored * layers, quantized)
            for quantized, layers in counts.items()
            if layers
        )

    def _covered(self, layer: int, modules: Sequence[str]) -> bool:
        inside = f"{self.prefix}.{layer}."
        return all(self.quantization.covers(inside + module) for module in modules)
