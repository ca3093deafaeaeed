"""One step of continuous batching: what it computes, and what was counted over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.perf.step import StepBatch, StepModel
from headrace.scheduler.sequence import Sequence


@dataclass(slots=True)
class Step:
    """What one step computes.

    `decoding` sequences each verify 1 + draft-depth tokens; `prefills` are the sequences with the
    prompt tokens of theirs that are computed in this step.
    """

    batch: StepBatch
    decoding: list[Sequence]
    prefills: list[tuple[Sequence, int]]
    verified: int
    before: StepBatch | None = None
    """What it was put together beside: the step before, where a prompt filled that and goes on."""

    def length_s(self, model: StepModel) -> float:
        """How long it takes. The host launches it while the step that it goes on from still runs.

        Of other steps that share of the launch is in the model's constants, as they were measured.
        """
        return model.step_s(self.batch, model.spare_s(self.before) if self.before else 0.0)

    @property
    def tokens(self) -> int:
        """Tokens that pass through the model: what max_num_batched_tokens bounds."""
        return len(self.decoding) * self.verified + sum(chunk for _, chunk in self.prefills)


@dataclass(slots=True)
class Counters:
    """Totals since the start, as an engine's metrics report them."""

    steps: int = 0
    preemptions: int = 0
    prompt_tokens: int = 0
    """Of admitted requests, cached ones included; a recomputed prompt counts once."""
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafts: int = 0
    """Verifications: one per decoding sequence and step, when drafting."""
    accepted_per_position: list[int] = field(default_factory=list)
    """Drafted tokens accepted, by their position in the draft."""

    @property
    def accepted_tokens(self) -> int:
        """Drafted tokens accepted, before a request's last step cuts what it does not need."""
        return sum(self.accepted_per_position)
