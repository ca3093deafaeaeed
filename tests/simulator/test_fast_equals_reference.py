"""The quick core against the simulation around the real schedulers: the same, row for row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.perf.step import StepBatch, StepModel
from headrace.simulator.reference import ReferenceFleet
from headrace.simulator.scenario import POLICIES, Client, Gateways, Scenario, Transfer, uniform
from headrace.simulator.workload import Closed, Curve, Open, Shape, Talk, Workload
from headrace.spec.lengths import AnyLengths, Uniform
from tests.simulator.fleets import STEP, Script, model, run

pytestmark = pytest.mark.compute

core = pytest.importorskip("headrace.simulator.fast.core", reason="numba is not installed")


def assert_same(scenario: Scenario, load: Workload, until_s: float, script: Script) -> None:
    slow = run(ReferenceFleet, scenario, load, until_s, script)
    fast = run(core.FastFleet, scenario, load, until_s, script)
    assert fast.requests.sent == slow.requests.sent
    theirs = slow.requests.used().columns()
    for name, column in fast.requests.used().columns().items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, theirs[name], rtol=1e-12, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(column, theirs[name], err_msg=name)
    np.testing.assert_array_equal(fast.in_flight(), slow.in_flight())
    np.testing.assert_array_equal(fast.free_pages(), slow.free_pages())
    assert fast.held() == slow.held()
    assert fast.warm_s == pytest.approx(slow.warm_s)
    for name, column in vars(fast.tally()).items():
        np.testing.assert_allclose(column, vars(slow.tally())[name], err_msg=name)


models = st.builds(
    model,
    pages=st.integers(10, 80),
    page_tokens=st.sampled_from([8, 16, 48]),
    groups=st.integers(1, 2),
    state_pages=st.integers(0, 3),
    max_num_seqs=st.integers(1, 12),
    max_num_batched_tokens=st.integers(8, 200),
    mtp_depth=st.integers(0, 3),
    acceptance=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    prefix_hit_rate=st.sampled_from([0.0, 0.5]),
    stream_interval=st.integers(1, 3),
    steps_ahead=st.integers(0, 1),
)
gateways = st.builds(
    Gateways,
    policy=st.sampled_from(POLICIES),
    count=st.integers(1, 3),
    workers=st.integers(1, 2),
    choices=st.integers(-1, 5),
    stale_s=st.sampled_from([0.0, 0.05]),
    requests_per_connection=st.integers(0, 3),
    pick_s=st.sampled_from([0.0, 0.004]),
    chunk_s=st.sampled_from([0.0, 0.0005]),
    refused_s=st.sampled_from([0.0, 0.1]),
)
clients = st.builds(Client, chunk_s=st.sampled_from([0.0, 0.0003]))
turns = st.sampled_from([1, 3, Uniform(low=1, high=5)])
shared = st.sampled_from([0, 20])
arrivals = st.one_of(
    st.builds(
        Closed,
        concurrency=st.integers(1, 60),
        together=st.booleans(),
        requests=st.sampled_from([0, 80]),
        talk=st.one_of(st.none(), st.builds(Talk, turns, st.sampled_from([0.0, 0.2]), shared)),
        refill=st.sampled_from([1, 1, 2, 5]),
    ),
    st.builds(Open, rate=st.floats(0.5, 60), variation=st.sampled_from([1.0, 3.0])),
    st.just(Curve((0.0, 2.0, 4.0), (5.0, 60.0, 1.0))),
)
acts = st.tuples(
    st.floats(0.0, 4.0), st.sampled_from(["fail", "start", "out", "in"]), st.integers(0, 3)
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    spec = draw(gateways)
    replicas = 4
    split = draw(st.booleans())
    roles = np.array([0, 0, 1, 1]) if split else np.zeros(replicas, np.int64)
    several = [draw(models), draw(models)]
    delay_s = draw(st.sampled_from([0.0, 0.03]))
    groups = draw(st.sampled_from([0, 0, 5]))
    return Scenario(
        models=tuple(several),
        model_of=np.array([0, 1, 0, 1]),
        gateways=spec,
        client=draw(clients),
        role_of=roles,
        speed=np.array([1.0, 0.9, 1.05, 1.0]),
        delay_s=np.outer(np.arange(1, spec.count + 1), np.arange(replicas)) * delay_s,
        transfer=Transfer(0.01, 1e4, 1e8) if split else None,
        prefix_groups=groups,
        cached_groups=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 100)),
    )


def lengths(most: int) -> st.SearchStrategy[AnyLengths | int]:
    return st.integers(1, most).flatmap(
        lambda high: st.sampled_from([high, Uniform(low=(high + 1) // 2, high=high)])
    )


@st.composite
def workloads(draw: st.DrawFn, groups: int) -> Workload:
    shape = Shape(
        draw(lengths(120)),
        draw(lengths(60)),
        prefix_groups=groups,
        prefix_share=0.6,
    )
    return Workload(draw(arrivals), shape, seed=draw(st.integers(0, 100)))


@settings(max_examples=120)
@given(st.data())
def test_both_implementations_agree(data: st.DataObject) -> None:
    scenario = data.draw(scenarios())
    load = data.draw(workloads(scenario.prefix_groups))
    script = Script(data.draw(st.lists(acts, max_size=6)))
    assert_same(scenario, load, 5.0, script)


def test_an_answer_longer_than_sixteen_bits_count():
    brief = StepModel.of_length(0.001)
    long = model(brief, pages=2, page_tokens=40_000, max_model_len=40_000, mtp_depth=0)
    load = Workload(Closed(1, together=True), Shape(10, 33_000))
    assert_same(uniform(long, 1), load, 40.0, Script())


@pytest.mark.parametrize("make", [ReferenceFleet, core.FastFleet])
@pytest.mark.parametrize(("fleets_groups", "loads_groups"), [(3, 0), (0, 3), (3, 5)])
def test_shared_prefixes_are_the_fleets_and_the_loads(make, fleets_groups, loads_groups):
    load = Workload(Open(20.0), Shape(10, 20, prefix_groups=loads_groups, prefix_share=0.5))
    with pytest.raises(ValueError, match="prefix groups"):
        make(uniform(model(), 1, prefix_groups=fleets_groups), load.requests(5.0))


@given(
    st.integers(0, 600), st.integers(0, 10**6), st.integers(0, 8192), st.integers(0, 50),
    st.floats(0, 1e9), st.sampled_from([0.0, 0.01, 1.0]),
)  # fmt: skip
def test_step_times_are_the_models_own(decoding, context, prompt, prompts, prompt_context, spare):
    from headrace.simulator.fast.step_time import step_s, step_times

    figures = [float(x) for x in (decoding, context, prompt, prompts, prompt_context)]
    batch = StepBatch(*figures)
    expected = STEP.step_s(batch, spare), STEP.spare_s(batch)
    found = step_s(step_times([STEP]), 0, *figures, spare)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_every_field_of_the_step_model_is_in_the_arrays():
    from headrace.simulator.fast.step_time import CURVES, SCALARS

    assert {*SCALARS, *CURVES, "captured"} == set(vars(STEP))
