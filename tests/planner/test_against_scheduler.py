"""The planner's closed formula against the scheduler run in virtual time, on the same step times."""

import heapq
import itertools
import random
from dataclasses import dataclass, replace

import pytest

from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.memory import plan_memory
from headrace.perf.operators import step_model
from headrace.perf.steady import Load, steady_state
from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import SchedulerSpec

CONSTANTS = load_constants()
CLIENT_S = 0.003
"""From a request's last chunk to the arrival of the one that takes its place."""


@dataclass
class Measured:
    request_s: float
    tpot_s: float
    ttft_s: float


@dataclass
class Times:
    sent_s: float
    first_s: float = 0.0


def simulate(
    config: EngineConfig, load: Load, concurrency: int, spec: SchedulerSpec, requests: int
) -> Measured:
    """A closed loop with a desynchronised start; the first wave is left out."""
    step_s = step_model(
        load_model("Qwen/Qwen3.5-27B-FP8"), load_gpu("B200"), config, CONSTANTS
    ).step_s
    scheduler = Scheduler(spec)
    arrivals: list[tuple[float, int, Sequence]] = []
    order = itertools.count()

    def send(at_s: float, output_tokens: int) -> None:
        sequence = Sequence(load.input_tokens, output_tokens, Times(at_s))
        heapq.heappush(arrivals, (at_s, next(order), sequence))

    lengths = [1 + slot * load.output_tokens // concurrency for slot in range(concurrency)]
    random.Random(1).shuffle(lengths)
    for length in lengths:
        send(0.0, length)
    clock_s, warm = 0.0, concurrency
    window_s, ttfts, tpots = 0.0, [], []
    while len(ttfts) < requests:
        while arrivals and arrivals[0][0] <= clock_s:
            scheduler.add(heapq.heappop(arrivals)[2])
        step = scheduler.schedule()
        if step is None:
            clock_s = arrivals[0][0]
            continue
        clock_s += step_s(step.batch)
        for sequence in scheduler.finish(step):
            if sequence.is_first_output:
                sequence.payload.first_s = clock_s
            if not sequence.finished:
                continue
            send(clock_s + CLIENT_S, load.output_tokens)
            if warm:
                warm -= 1
                window_s = clock_s
            elif sequence.generated == load.output_tokens:
                ttfts.append(sequence.payload.first_s - sequence.payload.sent_s)
                tpots.append((clock_s - sequence.payload.first_s) / (load.output_tokens - 1))
    return Measured(
        len(ttfts) / (clock_s - window_s), sum(tpots) / len(tpots), sum(ttfts) / len(ttfts)
    )


BASE = EngineConfig(
    version="0.33.0",
    tensor_parallel=1,
    kv_dtype="fp8",
    state_dtype="float32",
    mtp_depth=0,
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    max_model_len=4096,
)
# The last figure is TTFT's tolerance; None where a tight token budget keeps the congestion of the
# first wave
# for many requests' time, which the formula (a steady state) does not know.
CASES = [
    (BASE, 1024, 512, 256, 0.2),
    (replace(BASE, mtp_depth=1), 1024, 512, 256, 0.2),
    (
        replace(BASE, mtp_depth=1, max_num_batched_tokens=2048, max_num_seqs=288),
        1024,
        512,
        288,
        0.2,
    ),
    (replace(BASE, mtp_depth=3, version="0.18.0"), 1024, 512, 64, 0.2),
    (replace(BASE, max_num_seqs=64), 2048, 128, 64, 0.2),
    (replace(BASE, max_num_seqs=32), 128, 256, 32, 0.2),
    (replace(BASE, max_num_seqs=8, mtp_depth=2), 512, 256, 8, 0.2),
    (replace(BASE, max_num_seqs=64), 512, 128, 96, 0.2),
    (replace(BASE, max_num_batched_tokens=2048, max_num_seqs=128), 3000, 100, 128, 0.2),
]


@pytest.mark.parametrize(("config", "isl", "osl", "concurrency", "ttft"), CASES)
def test_formula_and_scheduler_agree(
    config: EngineConfig, isl: int, osl: int, concurrency: int, ttft: float | None
) -> None:
    facts, gpu = load_model("Qwen/Qwen3.5-27B-FP8"), load_gpu("B200")
    load = Load(isl, osl, 0.0, 0.8 if config.mtp_depth else 0.0, config.mtp_depth)
    memory = plan_memory(facts, gpu, config, CONSTANTS.memory)
    running = min(config.max_num_seqs, memory.sequences(isl + osl))
    spec = SchedulerSpec(
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        max_model_len=config.max_model_len,
        cache=memory.cache,
        mtp_depth=config.mtp_depth,
        acceptance=load.acceptance,
    )
    predicted = steady_state(
        step_model(facts, gpu, config, CONSTANTS),
        load,
        concurrency,
        running,
        config.max_num_batched_tokens,
    )
    measured = simulate(config, load, concurrency, spec, requests=6 * concurrency)
    assert predicted.request_s == pytest.approx(measured.request_s, rel=0.03)
    assert predicted.tpot_s == pytest.approx(measured.tpot_s, rel=0.03)
    if ttft is not None:
        assert predicted.ttft_s == pytest.approx(measured.ttft_s, rel=ttft)
