"""A finished run in the JSON of other tools, for the scripts that read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np

from headrace.loadgen.past import Past
from headrace.loadgen.records import Floats

SHARES = {
    "p001": 0.1,
    "p01": 1,
    "p05": 5,
    "p10": 10,
    "p25": 25,
    "p50": 50,
    "p75": 75,
    "p90": 90,
    "p95": 95,
    "p99": 99,
    "p999": 99.9,
}


def vllm_json(past: Past) -> dict[str, Any]:
    """What `vllm bench serve --save-result --save-detailed` writes (0.18 to 0.33).

    Generated texts are not kept. `itls` are there when the run has `chunks.parquet`.
    """
    summary, load = past.summary, past.summary.environment.get("load", {})
    date = datetime.fromisoformat(summary.environment["date"])
    rate = load.get("request_rate")
    document: dict[str, Any] = {
        "date": date.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai-chat" if load.get("endpoint") == "chat" else "openai",
        "backend": "openai-chat" if load.get("endpoint") == "chat" else "openai",
        "label": "headrace",
        "model_id": summary.model,
        "tokenizer_id": summary.model,
        "num_prompts": summary.requests.asked,
        "request_rate": "inf" if rate is None else rate,
        "burstiness": load.get("burstiness", 1.0),
        "max_concurrency": summary.concurrency.asked,
        "duration": summary.duration_s,
        "completed": summary.requests.completed,
        "failed": summary.requests.failed,
        "total_input_tokens": summary.tokens.input,
        "total_output_tokens": summary.tokens.output,
        "request_throughput": summary.throughput.request_s,
        "request_goodput": summary.goodput.request_s if summary.goodput else None,
        "output_throughput": summary.throughput.output_tok_s,
        "total_token_throughput": summary.throughput.total_tok_s,
        "max_concurrent_requests": summary.concurrency.max,
        "input_lens": _whole(past.input_tokens),
        "output_lens": _whole(past.output_tokens),
        "ttfts": (past.ttft_ms / 1e3).tolist(),
        "latencies": (past.e2e_ms / 1e3).tolist(),
        "start_times": past.began_s.tolist(),
    }
    series = {"ttft": past.ttft_ms, "tpot": past.tpot_ms, "e2el": past.e2e_ms}
    if past.gaps_s is not None:
        document["itls"] = [gaps.tolist() for gaps in past.gaps_s]
        series["itl"] = np.concatenate(past.gaps_s) * 1e3
    for name, values in series.items():
        document |= _vllm_figures(name, values)
    return document


def _whole(values: Floats) -> list[int]:
    return [int(value) for value in values]


def _vllm_figures(name: str, values: Floats) -> dict[str, float]:
    values = values if len(values) else np.zeros(1)
    figures = {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
    }
    for share in (50, 90, 95, 99):
        figures[f"p{share}_{name}_ms"] = float(np.percentile(values, share))
    return figures


def guidellm_json(past: Past) -> dict[str, Any]:
    """guidellm's report (0.4 to 0.8) as far as its users read it: metrics and requests.

    Every metric has its distribution over the successful requests under `successful` and `total`;
    errored and incomplete ones have counts only, so theirs are empty. Times are seconds from the
    start of the load. Texts, prompts, its scheduler's state and its own delays are left out.
    """
    summary = past.summary
    load = summary.environment.get("load", {})
    held = summary.concurrency.asked
    strategy = (
        {"type_": "concurrent", "streams": held}
        if held is not None
        else {"type_": "poisson", "rate": load.get("request_rate")}
    )
    counts = {
        "successful": summary.requests.completed,
        "errored": summary.requests.failed,
        "incomplete": summary.requests.cut,
    }
    start_s, end_s = past.window_s
    return {
        "metadata": {"version": 2, "written_by": f"headrace {summary.environment['headrace']}"},
        "benchmarks": [
            {
                "type_": "generative_benchmark",
                "config": {"strategy": strategy, "model": summary.model},
                "start_time": start_s,
                "end_time": end_s,
                "duration": summary.duration_s,
                "warmup_duration": 0.0,
                "cooldown_duration": 0.0,
                "requests": {"successful": _requests(past), "errored": [], "incomplete": []},
                "metrics": {
                    "request_totals": {**counts, "total": sum(counts.values())},
                    **{name: _spread(values(past)) for name, values in GUIDELLM.items()},
                    **_rates(past),
                },
            }
        ],
    }


def _requests(past: Past) -> list[dict[str, Any]]:
    """What guidellm says of each successful request, without its texts."""
    itl_ms = (past.last_s - past.first_s) * 1e3 / np.maximum(past.output_tokens - 1, 1)
    columns = {
        "request_start_time": past.began_s,
        "request_end_time": past.done_s,
        "request_latency": past.done_s - past.began_s,
        "time_to_first_token_ms": past.ttft_ms,
        "time_per_output_token_ms": _per_token(past),
        "inter_token_latency_ms": itl_ms,
        "output_tokens_per_second": past.output_tokens / (past.done_s - past.began_s),
    }
    counts = {"prompt_tokens": past.input_tokens, "output_tokens": past.output_tokens}
    lists = {name: values.tolist() for name, values in columns.items()}
    lists |= {name: _whole(values) for name, values in counts.items()}
    lists["request_id"] = [f"{int(place)}" for place in past.request]
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _per_token(past: Past) -> Floats:
    return past.e2e_ms / np.maximum(past.output_tokens, 1)


GUIDELLM: dict[str, Callable[[Past], Floats]] = {
    "request_latency": lambda past: past.e2e_ms / 1e3,
    "prompt_token_count": lambda past: past.input_tokens,
    "output_token_count": lambda past: past.output_tokens,
    "total_token_count": lambda past: past.input_tokens + past.output_tokens,
    "time_to_first_token_ms": lambda past: past.ttft_ms,
    "time_to_first_output_token_ms": lambda past: past.ttft_ms,
    "time_per_output_token_ms": _per_token,
    "inter_token_latency_ms": lambda past: past.tpot_ms,
}
"""guidellm's words: its time per output token includes the first one; its inter-token latency is
what is called TPOT here."""


def _rates(past: Past) -> dict[str, Any]:
    """Rates are one number each here: the mean over the window."""
    rates = past.summary.throughput
    input_tok_s = rates.total_tok_s - rates.output_tok_s
    values = {
        "requests_per_second": rates.request_s,
        "request_concurrency": past.summary.concurrency.mean,
        "prompt_tokens_per_second": input_tok_s,
        "output_tokens_per_second": rates.output_tok_s,
        "tokens_per_second": rates.total_tok_s,
    }
    return {name: _spread(np.array([value])) for name, value in values.items()}


def _spread(values: Floats) -> dict[str, Any]:
    summary = _distribution(values)
    return {"successful": summary, "errored": EMPTY, "incomplete": EMPTY, "total": summary}


def _distribution(values: Floats) -> dict[str, Any]:
    count = len(values)
    values = values if count else np.zeros(1)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "mode": float(np.median(values)),
        "variance": float(values.var()),
        "std_dev": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "count": count,
        "total_sum": float(values.sum()),
        "percentiles": {
            name: float(np.percentile(values, share)) for name, share in SHARES.items()
        },
    }


EMPTY = _distribution(np.zeros(0))
FORMATS: dict[str, Callable[[Past], dict[str, Any]]] = {
    "vllm": vllm_json,
    "guidellm": guidellm_json,
}
