"""Attention kernels that engines take instead of the tables' own, from `attention_kernels.toml`.

The tables (`kernels.toml`) hold one head size. FlashAttention 3 on Hopper pads the few queries that
share a head of the cache to a tile, so that with heads of 256 it computes for longer than it reads,
and a processor (SM) that computes one head of one sequence does nothing else meanwhile.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field

from headrace.models.facts import KvDtype, ModelFacts
from headrace.perf.calibration import is_within
from headrace.perf.config import EngineConfig


class AttentionKernel(BaseModel):
    """One kernel in decode steps, and where it is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    """By vLLM's names in lower case; auto: what it takes unasked."""
    gpu: str
    kv_dtype: KvDtype
    head_dim: int
    drafts: bool = True
    """Whether it is taken for sequences with drafted tokens too."""
    versions: tuple[str, str] = ("0.0", "9.0")
    """First and last version of vLLM, both included."""
    launch_s: float = Field(0.0, ge=0)
    """What it takes in each layer before it reads anything."""
    bandwidth: float = Field(gt=0, le=1)
    """Share of the GPU's bandwidth at which it reads the cache, all its processors busy."""
    processors: int | None = Field(None, gt=0)
    """Of the GPU, where each takes a head of a sequence to its end: a last wave that occupies few
    of them takes as long as a full one. None: the reading alone counts."""
    source: str

    def fits(self, facts: ModelFacts, gpu: str, version: str) -> bool:
        """Whether an engine with this model on this GPU has it."""
        heads = {attention.head_dim for attention in facts.attention}
        return gpu == self.gpu and heads == {self.head_dim} and is_within(version, self.versions)

    def serves(self, config: EngineConfig) -> bool:
        """Whether it reads the cache of this configuration, where its backend is asked for."""
        return config.kv_dtype == self.kv_dtype and (self.drafts or config.mtp_depth == 0)


@cache
def load_attention_kernels() -> tuple[AttentionKernel, ...]:
    """The packaged kernels."""
    text = resources.files("headrace.perf").joinpath("attention_kernels.toml").read_text("utf-8")
    return tuple(map(AttentionKernel.model_validate, tomllib.loads(text)["kernel"]))


def attention_kernel(facts: ModelFacts, gpu: str, config: EngineConfig) -> AttentionKernel | None:
    """The kernel that a configuration takes; None: the tables' own.

    Of a backend that was not measured there the model knows no better than vLLM's own choice.
    """
    kernels = attention_kernels(facts, gpu, config.version)
    found = {kernel.backend: kernel for kernel in kernels if kernel.serves(config)}
    return found.get(config.attention_backend) or found.get("auto")


def attention_backends(facts: ModelFacts, gpu: str, version: str) -> tuple[str, ...]:
    """What there is to choose from: vLLM's own choice first, then others that were measured."""
    kernels = attention_kernels(facts, gpu, version)
    return tuple(dict.fromkeys(("auto", *(kernel.backend for kernel in kernels))))


def attention_kernels(facts: ModelFacts, gpu: str, version: str) -> list[AttentionKernel]:
    """Those that an engine with this model on this GPU has."""
    return [kernel for kernel in load_attention_kernels() if kernel.fits(facts, gpu, version)]
