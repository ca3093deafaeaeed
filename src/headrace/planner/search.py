"""The search: every candidate judged, the best one chosen and refined, the Pareto front drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headrace.models.facts import STATE_BYTES
from headrace.perf.config import EngineConfig
from headrace.planner.evaluate import Candidate, Evaluator, Refusal, trimmed

INDIFFERENCE = 0.01
"""Throughputs this close (as a share) are one: then the plainer configuration is taken."""
DRAFTING_GAIN = 0.05
"""What drafting must gain (as a share): its acceptance is an assumption, and whole runs on an H200
with full memory came out 7 % less in its favour than the model has it (docs/accuracy.md)."""
REFINEMENT = 8
"""max_num_seqs is refined in steps of eight, as CUDA-graph sizes go."""


@dataclass(frozen=True)
class Searched:
    """All that was judged."""

    feasible: list[Candidate]
    refused: list[Refusal]

    @property
    def count(self) -> int:
        """Candidates judged."""
        return len(self.feasible) + len(self.refused)

    def running(self) -> list[Candidate]:
        """All that run at all, goals kept or missed."""
        return self.feasible + [r.candidate for r in self.refused if r.candidate]


def search(evaluator: Evaluator, configs: Iterable[EngineConfig]) -> Searched:
    """Judge every configuration."""
    feasible: list[Candidate] = []
    refused: list[Refusal] = []
    for config in configs:
        verdict = evaluator.judge(config)
        if isinstance(verdict, Candidate):
            feasible.append(verdict)
        else:
            refused.append(verdict)
    return Searched(feasible, refused)


def choose(feasible: list[Candidate], *, per_paid_gpu: bool = False) -> Candidate:
    """The most tokens per GPU, and among equals the plainest (most exact, fewest parts).

    Drafting is taken only where it gains DRAFTING_GAIN.

    `per_paid_gpu` counts the GPUs of the fleet that a layout leaves idle too.
    """
    rated = [(c.total_tok_s if per_paid_gpu else c.total_tok_s_per_gpu, c) for c in feasible]
    undrafted = max((tok_s for tok_s, c in rated if not c.config.mtp_depth), default=0.0)
    asked = undrafted * (1 + DRAFTING_GAIN)
    rated = [(tok_s, c) for tok_s, c in rated if not c.config.mtp_depth or tok_s >= asked]
    enough = max(tok_s for tok_s, _ in rated) * (1 - INDIFFERENCE)
    return min((c for tok_s, c in rated if tok_s >= enough), key=plainness)


def plainness(candidate: Candidate) -> tuple[float, ...]:
    """Order of preference among equally quick configurations."""
    config = candidate.config
    return (
        config.tensor_parallel,
        config.mtp_depth,
        -STATE_BYTES[config.state_dtype],
        config.max_model_len,
        abs(config.max_num_batched_tokens - 8192),
        config.kv_dtype != "bf16",
        len(config.captured),
        config.attention_backend != "auto",
        config.linear_backend != "auto",
        candidate.steady.tpot_s,
        config.max_num_seqs,
    )


def refine(evaluator: Evaluator, chosen: Candidate, fixed: bool, limit: int) -> Candidate:
    """Raise max_num_seqs by eights while goals hold and throughput grows; then make it fit.

    `limit` is the next value of the grid, which is known to miss a goal or not to help.
    """
    best = chosen
    if fixed:
        return best
    for sequences in range(chosen.config.max_num_seqs + REFINEMENT, limit, REFINEMENT):
        verdict = evaluator.judge(replace(chosen.config, max_num_seqs=sequences))
        if isinstance(verdict, Refusal) or verdict.total_tok_s <= best.total_tok_s:
            break
        best = verdict
    verdict = evaluator.judge(trimmed(best))
    # fewer slots are fewer CUDA graphs of vLLM's own, which may have held steps with prompts
    enough = (1 - INDIFFERENCE) * best.total_tok_s
    if isinstance(verdict, Candidate) and verdict.total_tok_s > enough:
        best = verdict
    return with_slack(evaluator, best)


def with_slack(evaluator: Evaluator, best: Candidate) -> Candidate:
    """The same load with an eighth more slots than it fills, where memory has them.

    No gateway spreads requests exactly evenly; at a replica without a free slot they would queue.
    """
    if best.replicas == 1 or best.concurrency < REFINEMENT:
        return best
    slots = -(-best.concurrency * 9 // (8 * REFINEMENT)) * REFINEMENT
    if slots <= best.config.max_num_seqs:
        return best
    verdict = evaluator.judge(replace(best.config, max_num_seqs=slots), best.concurrency)
    roomy = isinstance(verdict, Candidate) and verdict.running > best.running
    return verdict if roomy and isinstance(verdict, Candidate) else best


def pareto(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in both throughput per GPU and TPOT, quickest TPOT first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.steady.tpot_s, -c.total_tok_s_per_gpu)):
        if not front or candidate.total_tok_s_per_gpu > front[-1].total_tok_s_per_gpu * 1.002:
            front.append(candidate)
    return front
