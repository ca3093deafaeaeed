"""What cannot or must not run, by engine version, GPU and model: one row a rule, each sourced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.calibration import version_key
from headrace.perf.config import EngineConfig

Test = Callable[[ModelFacts, Gpu, EngineConfig], bool]


@dataclass(frozen=True)
class Rule:
    """A configuration for which `broken` is true is turned down with `reason`."""

    broken: Test
    reason: str
    source: str


def _splits_unevenly(facts: ModelFacts, _gpu: Gpu, config: EngineConfig) -> bool:
    """Heads of every kind must divide over the GPUs (KV heads may be copied instead)."""
    tp = config.tensor_parallel
    gdn = facts.linear_attention
    heads = [a.heads for a in facts.attention]
    kv_heads = [a.kv_heads for a in facts.attention if a.latent_dim is None]
    states = [gdn.key_heads, gdn.value_heads] if gdn else []
    whole = all(n % tp == 0 for n in heads + states)
    return not (whole and all(n % tp == 0 or tp % n == 0 for n in kv_heads))


RULES: tuple[Rule, ...] = (
    Rule(
        lambda facts, _gpu, config: config.mtp_depth > 0 and facts.mtp_layers == 0,
        "the model has no MTP layer to draft with",
        "config.json: mtp_num_hidden_layers / num_nextn_predict_layers",
    ),
    Rule(
        lambda _facts, _gpu, config: (
            config.mtp_depth >= 5 and version_key(config.version) < (0, 19)
        ),
        "MTP depth 5 crashes vLLM 0.18 with cudaErrorIllegalAddress",
        "vLLM issues 37035 and 40756",
    ),
    Rule(
        lambda _facts, gpu, config: config.mtp_depth > 0 and gpu.kind == "cpu",
        "speculative decoding of linear-attention models needs Triton, which a CPU has not",
        "stock vLLM 0.32 on a CPU",
    ),
    Rule(
        lambda _facts, gpu, config: config.kv_dtype == "fp8" and gpu.kind == "cpu",
        "the CPU backend keeps its KV cache in 16 bit",
        "stock vLLM 0.32 on a CPU",
    ),
    Rule(
        lambda _facts, gpu, config: (
            config.kv_dtype == "fp8"
            and gpu.compute_capability is not None
            and gpu.compute_capability < (8, 9)
        ),
        "an FP8 KV cache needs compute capability 8.9 or later",
        "vLLM documentation, quantized KV cache",
    ),
    Rule(
        _splits_unevenly,
        "attention heads do not divide over that many GPUs",
        "vLLM model loader",
    ),
)


def broken_rule(facts: ModelFacts, gpu: Gpu, config: EngineConfig) -> Rule | None:
    """The first rule that the configuration breaks."""
    return next((rule for rule in RULES if rule.broken(facts, gpu, config)), None)
