"""The planner's formula against the scheduler in virtual time, on the same step times."""

import heapq
import itertools
import random
import sys
from bisect import bisect_left
from dataclasses import dataclass, replace

import pytest

from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.memory import plan_memory
from headrace.perf.refill import OPEN, Refill
from headrace.perf.steady import Load, SteadyState, steady_state
from headrace.perf.step import StepModel
from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import SchedulerSpec

pytestmark = pytest.mark.compute

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


class ClosedLoop:
    """Requests in virtual time: each finished one is replaced; the first wave is left out."""

    def __init__(self, load: Load, concurrency: int, scheduler: Scheduler, refill: int) -> None:
        self.load, self.scheduler, self.warming = load, scheduler, concurrency
        self.refill, self.free = refill, 0
        self.arrivals: list[tuple[float, int, Sequence]] = []
        self.order = itertools.count()
        self.window_s = 0.0
        self.ttfts: list[float] = []
        self.tpots: list[float] = []
        lengths = [1 + slot * load.output_tokens // concurrency for slot in range(concurrency)]
        random.Random(1).shuffle(lengths)
        for length in lengths:
            self.send(0.0, length)

    def send(self, at_s: float, output_tokens: int) -> None:
        sequence = Sequence(self.load.input_tokens, output_tokens, Times(at_s))
        heapq.heappush(self.arrivals, (at_s, next(self.order), sequence))

    def arrive(self, clock_s: float) -> None:
        while self.arrivals and self.arrivals[0][0] <= clock_s:
            self.scheduler.add(heapq.heappop(self.arrivals)[2])

    def receive(self, sequence: Sequence, clock_s: float) -> None:
        if sequence.is_first_output:
            sequence.payload.first_s = clock_s
        if sequence.finished:
            self.free += 1
            self.count(sequence, clock_s)
        while self.free >= self.refill:
            self.free -= self.refill
            for _ in range(self.refill):
                self.send(clock_s + CLIENT_S, self.load.output_tokens)

    def count(self, sequence: Sequence, clock_s: float) -> None:
        if self.warming:
            self.warming -= 1
            self.window_s = clock_s
        elif sequence.generated == self.load.output_tokens:
            times = sequence.payload
            self.ttfts.append(times.first_s - times.sent_s)
            self.tpots.append((clock_s - times.first_s) / (self.load.output_tokens - 1))


class OpenLoop(ClosedLoop):
    """Requests that come at a rate, by chance (Poisson); the first 400 are left out."""

    def __init__(self, load: Load, rate: float, scheduler: Scheduler, requests: int) -> None:
        super().__init__(load, 0, scheduler, refill=sys.maxsize)  # nobody follows another
        self.warming = 400
        gaps = random.Random(2)
        arrival_s = 0.0
        for _ in range(self.warming + requests):
            arrival_s += gaps.expovariate(rate)
            self.send(arrival_s, load.output_tokens)


def simulate(
    model: StepModel,
    load: Load,
    concurrency: int,
    spec: SchedulerSpec,
    refill: int,
    generations: int,
) -> Measured:
    """A closed loop with a desynchronised start, so many requests for every slot."""
    loop = ClosedLoop(load, concurrency, Scheduler(spec), refill)
    return run(model, loop, generations * concurrency)


def run(model: StepModel, loop: ClosedLoop, requests: int) -> Measured:
    """Until so many were counted."""
    scheduler, clock_s = loop.scheduler, 0.0
    while len(loop.ttfts) < requests:
        loop.arrive(clock_s)
        step = scheduler.schedule()
        if step is None:
            clock_s = loop.arrivals[0][0]
            continue
        clock_s += step.length_s(model)
        for sequence in scheduler.finish(step):
            loop.receive(sequence, clock_s)
    count = len(loop.ttfts)
    return Measured(
        request_s=count / (clock_s - loop.window_s),
        tpot_s=sum(loop.tpots) / count,
        ttft_s=sum(loop.ttfts) / count,
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
# first wave for many requests' time, which a steady state does not know.
CASES = [
    (BASE, 1024, 512, 256, 0.1),
    (replace(BASE, mtp_depth=1), 1024, 512, 256, 0.1),
    (
        replace(BASE, mtp_depth=1, max_num_batched_tokens=2048, max_num_seqs=288),
        1024,
        512,
        288,
        None,
    ),
    (replace(BASE, mtp_depth=3, version="0.18.0"), 1024, 512, 64, 0.1),
    (replace(BASE, max_num_seqs=64), 2048, 128, 64, 0.1),
    (replace(BASE, max_num_seqs=32), 128, 256, 32, 0.2),
    (replace(BASE, max_num_seqs=8, mtp_depth=2), 512, 256, 8, 0.15),
    (replace(BASE, max_num_seqs=64), 512, 128, 96, 0.1),
    (replace(BASE, max_num_batched_tokens=2048, max_num_seqs=128), 3000, 100, 128, 0.1),
]


@pytest.mark.parametrize(("config", "isl", "osl", "concurrency", "ttft"), CASES)
def test_formula_and_scheduler_agree(
    config: EngineConfig, isl: int, osl: int, concurrency: int, ttft: float | None
) -> None:
    agree("B200", config, isl, osl, concurrency, ttft)


@pytest.mark.parametrize(("config", "isl", "osl", "concurrency", "ttft"), CASES[:2] + CASES[4:7])
def test_they_agree_where_launches_bound_steps_with_one_prompt(
    config: EngineConfig, isl: int, osl: int, concurrency: int, ttft: float | None
) -> None:
    """vLLM beside a Hopper GPU: the host is slower than the kernels of a short prompt."""
    agree("H200", config, isl, osl, concurrency, ttft, rel=0.05)


@pytest.mark.parametrize(
    ("config", "isl", "osl", "concurrency", "ttft"),
    [*CASES[:2], *CASES[4:7]],
)
def test_they_agree_where_a_step_is_decided_ahead(
    config: EngineConfig, isl: int, osl: int, concurrency: int, ttft: float | None
) -> None:
    agree("H200", config, isl, osl, concurrency, ttft, rel=0.05, steps_ahead=1)


@pytest.mark.parametrize("steps_ahead", [0, 1])
@pytest.mark.parametrize("refill", [2, 3])
@pytest.mark.parametrize(
    ("config", "isl", "osl", "concurrency", "ttft"), [*CASES[:2], CASES[4], CASES[7]]
)
def test_they_agree_where_prompts_come_together(
    config: EngineConfig,
    isl: int,
    osl: int,
    concurrency: int,
    ttft: float | None,
    refill: int,
    steps_ahead: int,
) -> None:
    agree("H200", config, isl, osl, concurrency, ttft, 0.05, steps_ahead, refill)


@pytest.mark.parametrize("steps_ahead", [0, 1])
@pytest.mark.parametrize("refill", [3, 4])
def test_they_agree_where_prompts_that_come_together_exceed_the_budget(
    refill: int, steps_ahead: int
) -> None:
    config = replace(BASE, max_num_batched_tokens=2048, max_num_seqs=64)
    agree("H200", config, 1024, 256, 64, 0.2, 0.05, steps_ahead, refill)


LONG = replace(BASE, mtp_depth=1, state_dtype="bfloat16", max_model_len=16384)
CHUNKED = replace(LONG, max_num_batched_tokens=2048)


@pytest.mark.parametrize("steps_ahead", [0, 1])
@pytest.mark.parametrize("gpu", ["B200", "H200"])
@pytest.mark.parametrize(
    ("config", "isl", "osl", "concurrency", "ttft"),
    [
        (LONG, 8192, 1024, 16, 0.06),
        (LONG, 8192, 1024, 64, 0.06),
        (LONG, 8192, 256, 32, 0.06),
        (CHUNKED, 8192, 256, 16, 0.06),
        (CHUNKED, 8192, 256, 32, 0.06),
        (CHUNKED, 3000, 100, 24, 0.06),
        (CHUNKED, 3000, 100, 41, 0.06),
        (CHUNKED, 3000, 100, 64, 0.05),
    ],
)
def test_they_agree_where_a_prompt_takes_several_steps(
    config: EngineConfig,
    isl: int,
    osl: int,
    concurrency: int,
    ttft: float,
    gpu: str,
    steps_ahead: int,
) -> None:
    """A prompt of the budget's size takes two steps beside others that decode.

    The first wave's congestion is over after some dozens of requests for every slot.
    """
    agree(gpu, config, isl, osl, concurrency, ttft, 0.04, steps_ahead, generations=60)


@pytest.mark.parametrize("steps_ahead", [0, 1])
@pytest.mark.parametrize("gpu", ["B200", "H200"])
@pytest.mark.parametrize(
    ("config", "isl", "osl", "busy", "ttft"),
    [
        (replace(BASE, mtp_depth=1), 1024, 512, 0.2, 0.05),
        (replace(BASE, mtp_depth=1), 1024, 512, 0.5, 0.05),
        (replace(BASE, mtp_depth=1), 1024, 512, 0.8, 0.05),
        (CHUNKED, 3000, 100, 0.2, 0.25),
        (CHUNKED, 3000, 100, 0.5, 0.25),
    ],
)
def test_they_agree_where_requests_come_at_any_time(
    config: EngineConfig,
    isl: int,
    osl: int,
    busy: float,
    ttft: float,
    gpu: str,
    steps_ahead: int,
) -> None:
    """At a share of what the replica can take. The rest of the step under way is waited out."""
    model, load, running, spec = parts(gpu, config, isl, osl, steps_ahead)

    def held(concurrency: int) -> SteadyState:
        batched = config.max_num_batched_tokens
        return steady_state(model, load, concurrency, running, batched, steps_ahead, OPEN)

    rate = busy * held(running).request_s
    predicted = held(bisect_left(range(1, running), rate, key=lambda n: held(n).request_s) + 1)
    measured = run(model, OpenLoop(load, rate, Scheduler(spec), 4000), 3500)
    assert predicted.ttft_s == pytest.approx(measured.ttft_s, rel=ttft)
    assert predicted.tpot_s == pytest.approx(measured.tpot_s, rel=0.15)


def parts(
    name: str, config: EngineConfig, isl: int, osl: int, steps_ahead: int
) -> tuple[StepModel, Load, int, SchedulerSpec]:
    """One replica of Qwen3.5-27B, its load, and how many run at once."""
    facts, gpu = load_model("Qwen/Qwen3.5-27B-FP8"), load_gpu(name)
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
        steps_ahead=steps_ahead,
    )
    return step_model(facts, gpu, config, CONSTANTS), load, running, spec


def agree(
    name: str,
    config: EngineConfig,
    isl: int,
    osl: int,
    concurrency: int,
    ttft: float | None,
    rel: float = 0.03,
    steps_ahead: int = 0,
    refill: int = 1,
    generations: int = 20,
) -> None:
    model, load, running, spec = parts(name, config, isl, osl, steps_ahead)
    predicted = steady_state(
        model,
        load,
        concurrency,
        running,
        config.max_num_batched_tokens,
        steps_ahead,
        Refill(refill),
    )
    measured = simulate(model, load, concurrency, spec, refill, generations)
    assert predicted.request_s == pytest.approx(measured.request_s, rel=rel)
    assert predicted.tpot_s == pytest.approx(measured.tpot_s, rel=rel)
    if ttft is not None:
        assert predicted.ttft_s == pytest.approx(measured.ttft_s, rel=ttft)
