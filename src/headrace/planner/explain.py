"""The plan in words: what bounds it, what each lever was worth, and what was turned down."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from headrace.models.facts import ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.refill import Refill
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.planner.find import Found
from headrace.planner.plan import Rejected
from headrace.planner.search import DRAFTING_GAIN, INDIFFERENCE, Searched

REFILLS = (2, 3, 4, 6)
REFILL_GAIN = 0.05
"""What a client that sends requests together must gain to be told of."""
BOUND_BY: dict[str, str] = {
    "gemm": "matrix multiplication",
    "head": "LM head and sampling",
    "attention": "KV-cache reads and attention",
    "state": "recurrent-state updates",
    "elementwise": "element-wise kernels",
    "collective": "all-reduce between GPUs",
    "draft": "drafting",
    "launch": "launches of kernels outside of CUDA graphs",
    "host": "host overhead",
}

LEVER_WORDS: dict[str, str] = {
    "tensor_parallel": "tensor parallel",
    "kv_dtype": "KV cache",
    "state_dtype": "recurrent state",
    "mtp_depth": "MTP depth",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "captured": "CUDA graphs",
    "attention_backend": "kernel of attention",
    "linear_backend": "kernels of linear layers",
}


def bound_by(candidate: Candidate) -> str:
    """The largest part of a mean step, with its share."""
    parts = candidate.steady.parts
    name = max(parts, key=lambda part: parts[part])
    return f"{BOUND_BY[name]} ({100 * parts[name] / sum(parts.values()):.0f} % of a step)"


def why(found: Found) -> list[str]:
    """Reasons for the choice, the weightiest first."""
    chosen, evaluator, fixed = found.chosen, found.evaluator, found.fixed
    lines = [_bottleneck(chosen), _capacity(chosen, evaluator), *_prefixes(chosen, evaluator)]
    planned = evaluator.fleet.engine.planned
    given_by = "set by the file" if planned else "the file's, or vLLM's default"
    for lever in LEVER_WORDS:
        if lever in fixed:
            own = _value(getattr(chosen.config, lever))
            lines.append(f"{LEVER_WORDS[lever]} {own}: {given_by}")
        else:
            lines += _lever(lever, found.full, found.searched)
    if chosen.config.state_dtype == "bfloat16":
        lines.append(
            "bfloat16 state rounds the recurrence; check your own accuracy metric before keeping it"
        )
    if chosen.config.attention_backend == "flashinfer":
        lines.append(
            "FlashInfer compiles its attention with nvcc when an engine first starts, for minutes; "
            "it rounds queries of prompts to FP8"
        )
    lines += _refilled(evaluator, chosen) + _confidence(evaluator, chosen)
    return found.reasons + lines + _host(evaluator, chosen)


def _bottleneck(chosen: Candidate) -> str:
    parts = sorted(chosen.steady.parts.items(), key=lambda part: -part[1])
    total = sum(chosen.steady.parts.values())
    shares = ", ".join(f"{BOUND_BY[n]} {100 * s / total:.0f} %" for n, s in parts[:4])
    return f"a mean step takes {chosen.steady.step_s * 1e3:.1f} ms: {shares}"


def _capacity(chosen: Candidate, evaluator: Evaluator) -> str:
    holds = evaluator.sequences(chosen.config)
    word = f"the cache holds {holds:,} sequences{_lengths(evaluator)}"
    if chosen.concurrency >= holds:
        return f"{word}: memory bounds the batch"
    slots = f"max_num_seqs {chosen.config.max_num_seqs}"
    if chosen.config.max_num_seqs > chosen.concurrency:
        slots += ", the rest for imbalance between replicas"
    if evaluator.request_s is not None:
        return f"{word}; the rate holds {chosen.concurrency} in flight ({slots})"
    if evaluator.goals and evaluator.fleet.workload.concurrency == "auto":
        return f"{word}; {chosen.concurrency} in flight keep the SLO ({slots})"
    return f"{word}; {chosen.concurrency} are in flight ({slots})"


def _prefixes(chosen: Candidate, evaluator: Evaluator) -> list[str]:
    """What becomes of prompts that begin as others did."""
    if not evaluator.demand.hits_follow:
        return []
    if not chosen.config.prefix_caching:
        return ["the prefix cache is off: every turn computes all that was said before"]
    found, kept = chosen.serving.load.prefix_hit_rate, chosen.serving.kept
    page = chosen.memory.cache.page_tokens
    words = (
        f"{100 * found:.0f} % of prompt tokens are found in the prefix cache (pages of {page}); "
        f"{100 * kept:.0f} % of {_followers(evaluator)}"
    )
    return [words, *_scattered(chosen, evaluator)]


def _followers(evaluator: Evaluator) -> str:
    talk = evaluator.fleet.workload.conversation
    if talk is None:
        return "the prompts that follow another one still find it"
    return f"conversations are still there after a mean think time of {talk.think_time_s:g} s"


def _scattered(chosen: Candidate, evaluator: Evaluator) -> list[str]:
    """What a gateway costs that sends the next turn anywhere."""
    at_home = evaluator.at_home(chosen.replicas)
    if at_home == 1.0:
        return []
    policy = evaluator.fleet.gateway.policy
    words = (
        f"gateway.policy {policy} sends 1 in {chosen.replicas} following prompts to the replica "
        "that has their beginning; prefix-affinity sends all"
    )
    return [words]


def _refilled(evaluator: Evaluator, chosen: Candidate) -> list[str]:
    """What prompts that share a step would gain, where the client may send them so.

    A goal for latencies or a rate leaves the client no choice.
    """
    workload = evaluator.fleet.workload
    if workload.refill > 1 or evaluator.goals or evaluator.request_s is not None:
        return []
    state = (chosen.config, chosen.concurrency, chosen.running, chosen.replicas)
    request_s = {1: chosen.steady.request_s} | {
        refill: evaluator.serving(*state, Refill(refill)).steady.request_s
        for refill in REFILLS
        if refill < chosen.concurrency
    }
    best = max(request_s, key=lambda refill: request_s[refill])
    gain = request_s[best] / request_s[1] - 1
    if gain < REFILL_GAIN:
        return []
    words = (
        f"a client that follows requests {best} at a time at each replica (workload.refill "
        f"{best * chosen.replicas}) lets their prompts share a step: +{100 * gain:.0f} % tok/s"
    )
    return [words]


def _lengths(evaluator: Evaluator) -> str:
    demand = evaluator.demand
    if demand.fixed:
        return f" of {demand.longest_tokens:,} tokens"
    p50, p90, p99 = (demand.context_percentile(share) for share in (0.50, 0.90, 0.99))
    return f" 99 % of the time (context p50 {p50:,}, p90 {p90:,}, p99 {p99:,} tokens)"


def _lever(lever: str, chosen: Candidate, searched: Searched) -> list[str]:
    """What the best configuration with each other value of one lever would reach.

    Beside a choice that drafts nothing the others draft nothing: that is a lever of its own.
    """
    best: dict[Any, float] = {}
    drafts = lever == "mtp_depth" or chosen.config.mtp_depth > 0
    for candidate in searched.feasible:
        if candidate.config.mtp_depth and not drafts:
            continue
        value = getattr(candidate.config, lever)
        best[value] = max(best.get(value, 0.0), candidate.total_tok_s_per_gpu)
    own = getattr(chosen.config, lever)
    others = {v: t / chosen.total_tok_s_per_gpu - 1 for v, t in best.items() if v != own}
    if not others:
        return []
    ranked = sorted(others.items(), key=lambda other: -other[1])
    words = ", ".join(f"{_value(value)} {100 * change:+.1f} %" for value, change in ranked)
    return [f"{LEVER_WORDS[lever]} {_value(own)}; tok/s at best with {words}"]


def _value(value: Any) -> str:
    return _graphs(value) if isinstance(value, tuple) else str(value)


def _graphs(captured: tuple[int, ...]) -> str:
    return f"{len(captured)} sizes up to {captured[-1]} tokens" if captured else "vLLM's own"


def _confidence(evaluator: Evaluator, chosen: Candidate) -> list[str]:
    calibration, width = evaluator.calibration, band(evaluator)
    ground = calibration.ground(evaluator.gpu.name, evaluator.facts.weights_dtype)
    rests_on = f"calibration {calibration.name}: {calibration.source}"
    lines = [f"band {1 - width:.2f} to {1 + width:.2f} of the prediction: {ground}; {rests_on}"]
    if calibration.zeros and not chosen.config.dummy_weights:
        lines.append(_weights(calibration.real_gemm))
    if evaluator.fleet.goal != "throughput" and evaluator.request_s is not None and width:
        least = math.ceil((chosen.replicas - evaluator.fleet.spare_replicas) / (1 - width))
        lines.append(f"at the low end of the band the rate would take {least} replicas")
    if chosen.config.mtp_depth:
        acceptance = evaluator.fleet.workload.acceptance.get("mtp", 0.0)
        lines.append(f"acceptance {acceptance:g} per drafted token is the file's, not measured")
    return lines


def _weights(real_gemm: float) -> str:
    if real_gemm == 1:
        return (
            "that was measured with weights that FP8 rounds to zeros, which GPUs multiply faster: "
            "expect up to a sixth less with a checkpoint"
        )
    return (
        f"multiplying a checkpoint's weights is taken to last {real_gemm:.2f} times as long as "
        "weights that FP8 rounds to zeros, since the GPU reaches its limit of power and lowers its "
        "clock: measured on an H200 with random weights of realistic size"
    )


def _host(evaluator: Evaluator, chosen: Candidate) -> list[str]:
    """Where the host may well be slower than the GPU, and nobody measured it."""
    other = evaluator.constants.host_beside_others(evaluator.calibration)
    if other is None:
        return []
    host = other.on_host(evaluator.gpu.host_time, evaluator.facts.layers)
    steady, step = chosen.steady, evaluator.step_model(chosen.config)
    covered = step.covers(steady.decoding * step.verified + steady.mixed_tokens)
    host_ms = (host.piecewise_s if covered else host.launch_s) * 1e3
    step_ms = steady.mixed_step_s * 1e3
    if step_ms >= host_ms:
        return []
    known = f"hosts beside Hopper GPUs take {host_ms:.0f} ms to launch one"
    words = f"steps with prompts count {step_ms:.0f} ms, by their kernels; {known}"
    return [f"{words}, which was not measured here: it may be slower than planned"]


def band(evaluator: Evaluator) -> float:
    """Half-width of the band, as a share; wider away from what was measured."""
    return evaluator.calibration.band_of(evaluator.gpu.name, evaluator.facts.weights_dtype)


def rejected(chosen: Candidate, searched: Searched, facts: ModelFacts) -> list[Rejected]:
    """The slower layouts first; then one row per reason and layout, the nearest miss of each."""
    rows: dict[tuple[object, ...], Rejected] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    ordered = sorted(
        searched.refused,
        key=lambda r: (r.candidate is not None, r.candidate.steady.tpot_s if r.candidate else 0.0),
    )
    for refusal in ordered:
        c = refusal.config
        kind = refusal.reason.split(" ")[0] if refusal.candidate else refusal.reason.split(":")[0]
        key = (kind, c.tensor_parallel, c.mtp_depth, c.state_dtype if refusal.candidate else None)
        counts[key] += 1
        rows.setdefault(key, Rejected(config=shown(c, facts), reason=refusal.reason))
    listed = [
        Rejected(config=row.config, reason=f"{row.reason} ({counts[key]} alike)")
        if counts[key] > 1
        else row
        for key, row in rows.items()
    ]
    return _slower(chosen, searched, facts) + listed[:40]


def _slower(chosen: Candidate, searched: Searched, facts: ModelFacts) -> list[Rejected]:
    """The best configuration of every other layout, and how far behind it is."""
    best: dict[tuple[object, ...], Candidate] = {}
    for candidate in searched.feasible:
        c = candidate.config
        key = (c.tensor_parallel, c.mtp_depth, c.state_dtype, c.kv_dtype)
        if key not in best or candidate.total_tok_s_per_gpu > best[key].total_tok_s_per_gpu:
            best[key] = candidate
    c = chosen.config
    best.pop((c.tensor_parallel, c.mtp_depth, c.state_dtype, c.kv_dtype), None)
    own = chosen.total_tok_s_per_gpu
    ranked = sorted(best.values(), key=lambda x: -x.total_tok_s_per_gpu)
    return [
        Rejected(
            config=shown(x.config, facts),
            reason=_slower_words(x, chosen, x.total_tok_s_per_gpu / own - 1),
        )
        for x in ranked[:20]
    ]


def _slower_words(candidate: Candidate, chosen: Candidate, change: float) -> str:
    words = f"{100 * change:+.1f} % tok/s, TPOT {candidate.steady.tpot_s * 1e3:.1f} ms"
    if change < -INDIFFERENCE:
        return words
    if candidate.config.mtp_depth and not chosen.config.mtp_depth:
        return f"{words}: drafting must gain {100 * DRAFTING_GAIN:.0f} %"
    return f"{words}: as quick, less plain"


def shown(config: EngineConfig, facts: ModelFacts) -> dict[str, Any]:
    """The levers of a configuration, those left out that the model has not."""
    levers: dict[str, Any] = {
        "tensor_parallel": config.tensor_parallel,
        "kv_dtype": config.kv_dtype,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "max_model_len": config.max_model_len,
    }
    if facts.linear_attention:
        levers["state_dtype"] = config.state_dtype
    if facts.mtp_layers:
        levers["mtp_depth"] = config.mtp_depth
    if config.captured:
        levers["captured"] = config.captured[-1]
    if config.attention_backend != "auto":
        levers["attention_backend"] = config.attention_backend
    if config.linear_backend != "auto":
        levers["linear_backend"] = config.linear_backend
    return levers
