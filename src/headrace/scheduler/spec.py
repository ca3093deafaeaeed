"""What a replica is to the scheduler: its limits, its cache and how often drafts are accepted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CacheSpec:
    """The paged cache of one replica, as vLLM's hybrid allocator lays it out.

    All layers share one pool of `pages`. A sequence holds ceil(tokens / page_tokens) pages for
    each of `token_groups` attention groups and `state_pages` for its recurrent state (0 in models
    without one; (1 + MTP depth) x groups of linear-attention layers in hybrids).
    """

    pages: int
    page_tokens: int
    token_groups: int = 1
    state_pages: int = 0

    def pages_for(self, tokens: int) -> int:
        """Pages that a sequence of so many tokens holds."""
        return -(-tokens // self.page_tokens) * self.token_groups + self.state_pages


@dataclass(frozen=True)
class SchedulerSpec:
    """Continuous batching's limits and the acceptance of drafted tokens."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    cache: CacheSpec
    mtp_depth: int = 0
    acceptance: float = 0.0
    prefix_hit_rate: float = 0.0
    stream_interval: int = 1
    steps_ahead: int = 0
    """1 with asynchronous scheduling: a step is put together while the one before it runs, so that
    who arrives meanwhile joins the one after. 0 or 1."""
