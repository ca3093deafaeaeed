"""Workloads of many lengths: what the plan makes of them, against the scheduler in virtual time."""

import heapq
import itertools
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.cli.plan import plan_for
from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.planner.demand import SAMPLE, Demand
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.spec.fleet import Fleet
from headrace.spec.slo import Goal
from headrace.spec.workload import Workload

pytestmark = pytest.mark.compute

QWEN = "Qwen/Qwen3.5-27B-FP8"
LONG = {"distribution": "lognormal", "mean_tokens": 3000, "stdev_tokens": 4000, "high": 32000}
SHORT = {"distribution": "lognormal", "mean_tokens": 200, "stdev_tokens": 200, "high": 2000}
EVEN = {"distribution": "uniform", "low": 100, "high": 3000}


def evaluator(workload: dict[str, Any]) -> Evaluator:
    parts = {"model": QWEN, "hardware": {"gpu": "B200"}, "workload": workload}
    fleet = Fleet.model_validate(parts)
    return Evaluator(fleet, load_model(QWEN), load_gpu("B200"), load_constants())


def config(sequences: int, mtp_depth: int = 0, **more: Any) -> EngineConfig:
    return EngineConfig(
        version="0.33.0",
        tensor_parallel=1,
        kv_dtype="fp8",
        state_dtype="float32",
        mtp_depth=mtp_depth,
        max_num_seqs=sequences,
        max_num_batched_tokens=8192,
        max_model_len=262_144,
        **more,
    )


def judged(judge: Evaluator, wanted: EngineConfig) -> Candidate:
    verdict = judge.judge(wanted)
    assert isinstance(verdict, Candidate)
    return verdict


def virtual_time(judge: Evaluator, candidate: Candidate, count: int) -> np.ndarray:
    """Rows of end, TTFT, TPOT, e2e: a closed loop with lengths drawn at random.

    What is sent while the first requests are under way does not count: they all began at once.
    """
    wanted, workload = candidate.config, judge.fleet.workload
    spec = SchedulerSpec(
        wanted.max_num_seqs,
        wanted.max_num_batched_tokens,
        wanted.max_model_len,
        candidate.memory.cache,
        wanted.mtp_depth,
        candidate.serving.load.acceptance,
    )
    scheduler, model, source = Scheduler(spec), judge.step_model(wanted), random.Random(5)
    arrivals: list[tuple[float, int, Sequence]] = []
    order, clock_s = itertools.count(), 0.0
    rows: list[tuple[float, float, float, float]] = []

    def send(at_s: float) -> None:
        lengths = (workload.inputs, workload.outputs)
        prompt, output = (each.quantile(source.uniform(1e-6, 1 - 1e-6)) for each in lengths)
        heapq.heappush(arrivals, (at_s, next(order), Sequence(prompt, output, [at_s, 0.0, output])))

    for place in range(candidate.concurrency):
        send(place * 0.01)
    while len(rows) < count + 5 * candidate.concurrency:
        while arrivals and arrivals[0][0] <= clock_s:
            scheduler.add(heapq.heappop(arrivals)[2])
        step = scheduler.schedule()
        if step is None:
            clock_s = arrivals[0][0]
            continue
        clock_s += step.length_s(model)
        for sequence in scheduler.finish(step):
            times = sequence.payload
            if sequence.is_first_output:
                times[1] = clock_s
            if sequence.finished:
                sent_s, first_s, output = times
                tpot_s = (clock_s - first_s) / max(1, output - 1)
                rows.append((clock_s, first_s - sent_s, tpot_s, clock_s - sent_s))
                send(clock_s + 0.003)
    seen, begun_s = np.array(rows), rows[3 * candidate.concurrency][0]
    return seen[seen[:, 0] - seen[:, 3] > begun_s]


@pytest.mark.parametrize(
    ("inputs", "outputs", "sequences", "mtp_depth"),
    [(LONG, SHORT, 64, 0), (EVEN, {"distribution": "uniform", "low": 50, "high": 400}, 128, 1)],
)
def test_percentiles_are_those_of_the_scheduler(
    inputs: dict[str, Any], outputs: dict[str, Any], sequences: int, mtp_depth: int
) -> None:
    judge = evaluator({"input_tokens": inputs, "output_tokens": outputs})
    candidate = judged(judge, config(sequences, mtp_depth))
    seen = virtual_time(judge, candidate, 2500)
    steady = seen[len(seen) // 4 :, 0]
    request_s = (len(steady) - 1) / (steady[-1] - steady[0])
    assert candidate.steady.request_s == pytest.approx(request_s, rel=0.05)
    latencies = judge.latencies(candidate)
    for percentile, tolerance in ((50, 0.04), (90, 0.06), (99, 0.12)):
        predicted = latencies.tpot.at_s[percentile], latencies.e2e.at_s[percentile]
        tpot_s, e2e_s = np.percentile(seen[:, 2], percentile), np.percentile(seen[:, 3], percentile)
        assert predicted == pytest.approx((tpot_s, e2e_s), rel=tolerance)
    assert latencies.ttft.mean_s == pytest.approx(seen[:, 1].mean(), rel=0.08)
    for percentile, tolerance in ((50, 0.1), (90, 0.1), (99, 0.2)):
        ttft_s = np.percentile(seen[:, 1], percentile)
        assert latencies.ttft.at_s[percentile] == pytest.approx(ttft_s, rel=tolerance)


def test_equal_lengths_are_one_request_and_a_distribution_keeps_its_mean() -> None:
    fixed = Demand(Workload(input_tokens=1000, output_tokens=100))
    assert (fixed.fixed, fixed.longest_tokens) == (True, 1100)
    wide = Demand(Workload.model_validate({"input_tokens": EVEN, "output_tokens": 100}))
    assert len(wide.requests) == SAMPLE
    assert wide.input_tokens == pytest.approx(1550, rel=0.001)
    assert wide.longest_tokens == 3100


def test_the_cache_is_filled_by_what_is_in_it_and_not_by_the_longest() -> None:
    """Twice as long at most, in a uniform distribution; long answers are met more often."""
    cache = CacheSpec(pages=10_000, page_tokens=16)
    whole = {"distribution": "uniform", "low": 1, "high": 2000}
    wide = Demand(Workload.model_validate({"input_tokens": 1000, "output_tokens": whole}))
    mean = Demand(Workload(input_tokens=1000, output_tokens=1000))
    longest = Demand(Workload(input_tokens=1000, output_tokens=2000))
    held = [demand.sequences(cache, shared=False) for demand in (longest, wide, mean)]
    assert held == sorted(held)
    assert held[0] < held[1] < held[2]


def test_a_conversation_grows_and_finds_what_it_said_before() -> None:
    talk = {"turns": 4, "shared_tokens": 300}
    workload = {"input_tokens": 100, "output_tokens": 50, "conversation": talk}
    demand = Demand(Workload.model_validate(workload))
    first = demand.requests[:4]
    assert [r.prompt for r in first] == [400, 550, 700, 850]
    assert [r.known for r in first] == [300, 450, 600, 750]
    assert demand.longest_tokens == 900
    assert demand.hits(16, 1.0)[:2].tolist() == [288, 448]
    assert demand.hits(16, 0.0)[:2].tolist() == [288, 288]


def test_hits_follow_from_think_time_and_room() -> None:
    talk = {"turns": 8, "shared_tokens": 1000}
    lengths = {"input_tokens": 300, "output_tokens": 200}
    rates = {}
    for think_s in (0.0, 30.0, 3000.0):
        judge = evaluator(lengths | {"conversation": talk | {"think_time_s": think_s}})
        candidate = judged(judge, config(128, prefix_caching=True))
        rates[think_s] = candidate.serving.load.prefix_hit_rate
    assert rates[0.0] >= rates[30.0] > rates[3000.0] > 0
    judge = evaluator(lengths | {"conversation": talk})
    assert judged(judge, config(128)).serving.load.prefix_hit_rate == 0.0


def plan(**workload: Any) -> Any:
    args = {"max_num_batched_tokens": 8192, "tensor_parallel_size": 1}
    parts = {
        "model": QWEN,
        "hardware": {"gpu": "B200"},
        "workload": workload,
        "engine": {"args": args},
        "slo": {"e2e_p95_ms": 60_000, "tpot_p50_ms": 40},
    }
    return plan_for(Fleet.model_validate(parts)).chosen


def test_a_plan_for_conversations_caches_prefixes_and_keeps_goals_at_percentiles() -> None:
    chosen = plan(input_tokens=SHORT, output_tokens=SHORT, conversation={"turns": 5})
    assert chosen.engine_args["enable_prefix_caching"] is True
    assert 0.2 < chosen.prediction.prefix_hit_rate < 1
    assert chosen.prediction.latency_ms["e2e"].p95 <= 60_000
    assert chosen.prediction.latency_ms["tpot"].p50 <= 40


@pytest.mark.parametrize("talk", [None, {"turns": 5, "think_time_s": 5.0}])
def test_what_is_surely_within_a_goal_is_within_it(talk: Any) -> None:
    """What the search tells at a glance is what the whole sample says."""
    judge = evaluator({"input_tokens": LONG, "output_tokens": SHORT, "conversation": talk})
    told = set()
    for sequences, budget in itertools.product((16, 96, 256), (2048, 8192, 32768)):
        wanted = replace(config(sequences, prefix_caching=True), max_num_batched_tokens=budget)
        latencies = judge.latencies(judged(judge, wanted))
        for metric, percentile in itertools.product(("ttft", "tpot", "e2e"), (50, 99)):
            exact_s = latencies.of(metric).at_s[percentile]
            assert latencies.at(metric, percentile) == pytest.approx(exact_s)
            for share in (0.999, 2.0, 30.0):
                sure = latencies.surely_within(Goal(metric, percentile, exact_s * 1e3 * share))
                assert not (sure and share < 1)
                told.add(sure)
    assert told == {True, False}
