"""The planner's formula against the scheduler in virtual time, on the same step times."""

import heapq
import itertools
import random
from dataclasses import dataclass, replace

import pytest

from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.memory import plan_memory
from headrace.perf.refill import Refill
from headrace.perf.steady import Load, steady_state
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


def simulate(
    model: StepModel, load: Load, concurrency: int, spec: SchedulerSpec, refill: int
) -> Measured:
    """A closed loop with a desynchronised start, six requests for every slot."""
    scheduler = Scheduler(spec)
    loop = ClosedLoop(load, concurrency, scheduler, refill)
    clock_s = 0.0
    while len(loop.ttfts) < 6 * concurrency:
        loop.arrive(clock_s)
        step = scheduler.schedule()
        if step is None:
            clock_s = loop.arrivals[0][0]
            continue
        clock_s += model.step_s(step.batch)
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
) -> None:
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
    model = step_model(facts, gpu, config, CONSTANTS)
    predicted = steady_state(
        model,
        load,
        concurrency,
        running,
        config.max_num_batched_tokens,
        steps_ahead,
        Refill(refill),
    )
    measured = simulate(model, load, concurrency, spec, refill)
    assert predicted.request_s == pytest.approx(measured.request_s, rel=rel)
    assert predicted.tpot_s == pytest.approx(measured.tpot_s, rel=rel)
    if ttft is not None:
        assert predicted.ttft_s == pytest.approx(measured.ttft_s, rel=ttft)
