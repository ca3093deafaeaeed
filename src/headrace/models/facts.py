"""What the rest of Headrace needs to know of a model, counted from its config.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

WeightsDtype = Literal[
    "bf16", "fp16", "fp8_block", "fp8_channel", "fp8_tensor", "nvfp4", "mxfp4", "int4", "int8"
]
KvDtype = Literal["bf16", "fp8"]
StateDtype = Literal["float32", "bfloat16"]

KV_BYTES: dict[str, int] = {"bf16": 2, "fp8": 1}
STATE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Linear:
    """Matrices of one shape that a token passes through: `count` of them, each k -> n.

    For the experts of an MoE layer `count` is the number that one token uses, and `stored` the
    number in memory; elsewhere they are equal. `quantized` is false where the checkpoint keeps
    the layer in 16 bit (embeddings, LM head, routers, MTP projections that are not converted).
    """

    name: str
    k: int
    n: int
    count: int
    stored: int
    quantized: bool = True

    @property
    def active_parameters(self) -> int:
        """Parameters that one token multiplies with."""
        return self.k * self.n * self.count

    @property
    def split(self) -> Literal["n", "k", "none"]:
        """The side that tensor parallelism divides: the way out of a block is split along its
        input, routers and the gate of a shared expert are copied, all else along its output.
        """
        if self.name == "router" or self.name.endswith(".gate"):
            return "none"
        return "k" if self.name.endswith((".o", ".down", ".out")) else "n"

    @property
    def parameters(self) -> int:
        """Parameters in memory."""
        return self.k * self.n * self.stored


@dataclass(frozen=True)
class Attention:
    """Softmax attention layers of one kind. MLA: `latent_dim` values per token instead of heads."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    value_head_dim: int
    latent_dim: int | None = None
    window_tokens: int | None = None

    @property
    def kv_values_per_token(self) -> int:
        """Cached values per token over all these layers."""
        per_layer = self.latent_dim or self.kv_heads * (self.head_dim + self.value_head_dim)
        return self.layers * per_layer


@dataclass(frozen=True)
class LinearAttention:
    """Gated-delta-net layers: a fixed state per sequence instead of a growing cache."""

    layers: int
    key_heads: int
    value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int

    @property
    def state_values_per_layer(self) -> int:
        """Values of the recurrent state of one sequence in one layer."""
        return self.value_heads * self.key_head_dim * self.value_head_dim

    @property
    def conv_values_per_layer(self) -> int:
        """Values of the convolution state of one sequence in one layer (kept in 16 bit)."""
        channels = 2 * self.key_heads * self.key_head_dim + self.value_heads * self.value_head_dim
        return channels * (self.conv_kernel - 1)


@dataclass(frozen=True)
class Experts:
    """Routed experts: how many there are, how many a token uses, in how many layers."""

    layers: int
    total: int
    active: int


@dataclass(frozen=True)
class ModelFacts:
    """A model, counted. Sizes are for the whole model, before any tensor parallelism.

    `linears` holds every matrix of the language model proper except the LM head and the
    embeddings, which are `vocab_size x hidden_size` each (one, when `tied_embeddings`); MTP
    layers are apart, in `mtp_linears`, since vLLM loads and runs them only when drafting.
    """

    name: str
    architecture: str
    family: Literal["dense", "hybrid", "moe", "hybrid_moe"]
    hidden_size: int
    layers: int
    vocab_size: int
    tied_embeddings: bool
    max_context_tokens: int
    weights_dtype: WeightsDtype
    linears: tuple[Linear, ...]
    attention: tuple[Attention, ...]
    linear_attention: LinearAttention | None = None
    experts: Experts | None = None
    mtp_layers: int = 0
    mtp_linears: tuple[Linear, ...] = ()
    mtp_attention: Attention | None = None
    state_dtype: StateDtype = "float32"
    extra_parameters: int = 0
    """Norms, biases, convolution kernels, gates: in memory, no GEMM."""
    vision_parameters: int = 0
    path: str | None = field(default=None, compare=False)
    """The folder that the config came from; None for a packaged one."""
    random_weights: str | None = field(default=None, compare=False)
    """How the folder's weights were drawn (`normal, seed 0`), where they are not trained ones."""

    @property
    def embedding_parameters(self) -> int:
        """Token embedding and LM head, once when tied."""
        return self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All parameters of the language model, without MTP and vision (as model cards count)."""
        return sum(x.parameters for x in self.linears) + (
            self.embedding_parameters + self.extra_parameters
        )

    @property
    def active_parameters(self) -> int:
        """Parameters used for one token: all but the experts that the router leaves out."""
        return sum(x.active_parameters for x in self.linears) + (
            self.embedding_parameters + self.extra_parameters
        )

    @property
    def linear_flops_per_token(self) -> int:
        """Two FLOPs per active weight of the linear layers, LM head left out."""
        return 2 * sum(x.active_parameters for x in self.linears)

    def kv_bytes_per_token(self, dtype: KvDtype) -> int:
        """Cache bytes that one token adds over all attention layers (no MTP)."""
        return KV_BYTES[dtype] * sum(a.kv_values_per_token for a in self.attention)

    def state_bytes_per_sequence(self, dtype: StateDtype) -> int:
        """Recurrent and convolution state of one sequence, one slot (MTP-k keeps 1+k slots)."""
        gdn = self.linear_attention
        if gdn is None:
            return 0
        recurrent = STATE_BYTES[dtype] * gdn.state_values_per_layer
        return gdn.layers * (recurrent + 2 * gdn.conv_values_per_layer)
