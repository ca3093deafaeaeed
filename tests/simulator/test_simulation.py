"""Laws that a simulation must keep, and formulas that it must meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.perf.step import StepModel
from headrace.scheduler.spec import CacheSpec
from headrace.simulator.autoscaling import ScalingPolicy
from headrace.simulator.control import Course, Failure, RollingUpdate, Scaling, Spot, Timing
from headrace.simulator.prefix import Contexts
from headrace.simulator.reference import ReferenceFleet
from headrace.simulator.requests import DONE, FAILED, PENDING
from headrace.simulator.result import figures
from headrace.simulator.scenario import POLICIES, Client, Gateways, Scenario, Transfer, uniform
from headrace.simulator.simulation import Outcome, Setup, simulate
from headrace.simulator.workload import Closed, Curve, Open, Shape, Talk, Trace, Workload
from tests.simulator.fleets import Script, model, run

pytestmark = pytest.mark.compute

ONE_STEP = StepModel.of_length(0.1)
"""With one output token, a request is one step: a server of deterministic time."""


def served(rate: float, replicas: int, duration_s: float, **more) -> Outcome:
    spec = {"max_num_seqs": 1, "mtp_depth": 0, "max_num_batched_tokens": 64}
    scenario = uniform(model(ONE_STEP, **spec), replicas, gateways=Gateways("round-robin"), **more)
    load = Workload(Open(rate), Shape(16, 1), seed=3)
    return simulate(Setup(scenario, load, duration_s, warmup_s=200.0))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_replica_of_one_slot_is_m_d_1(load):
    service_s = 0.1
    found = served(load / service_s, 1, 40_000.0)
    expected_s = service_s + load * service_s / (2 * (1 - load))
    assert found.ttft_s().mean() == pytest.approx(expected_s, rel=0.03)


def test_a_picker_is_m_d_1_before_idle_replicas():
    pick_s = 0.01
    gateways = Gateways("round-robin", pick_s=pick_s)
    spec = {"max_num_seqs": 64, "mtp_depth": 0, "pages": 1000}
    scenario = uniform(model(StepModel.of_length(1e-6), **spec), 8, gateways=gateways)
    load = Workload(Open(70.0), Shape(16, 1), seed=1)
    found = simulate(Setup(scenario, load, 4_000.0, warmup_s=10.0))
    expected_s = pick_s + 0.7 * pick_s / (2 * 0.3)
    assert found.ttft_s().mean() == pytest.approx(expected_s, rel=0.03)


def test_a_picker_bounds_the_throughput():
    gateways = Gateways("round-robin", pick_s=0.02)
    scenario = uniform(model(StepModel.of_length(0.01)), 8, gateways=gateways)
    found = simulate(Setup(scenario, Workload(Closed(64), Shape(16, 4)), 60.0))
    assert found.completed.sum() / found.duration_s == pytest.approx(50.0, rel=0.01)


def test_little_holds_in_a_closed_loop():
    scenario = uniform(model(pages=400), 4, client=Client(turnaround_s=0.05))
    found = simulate(Setup(scenario, Workload(Closed(24), Shape(40, 30)), 300.0))
    rate = found.completed.sum() / found.duration_s
    assert rate * (found.e2e_s().mean() + 0.05) == pytest.approx(24, rel=0.01)


def test_steps_without_drafts_have_the_models_length():
    spec = {"mtp_depth": 0, "pages": 400}
    scenario = uniform(model(StepModel.of_length(0.02), **spec), 1)
    found = simulate(Setup(scenario, Workload(Closed(4), Shape(16, 21)), 30.0))
    assert found.tpot_s() == pytest.approx(0.02)


@pytest.mark.parametrize("acceptance", [0.3, 0.8])
def test_drafts_are_accepted_as_often_as_was_said(acceptance):
    spec = {"mtp_depth": 2, "acceptance": acceptance, "pages": 400}
    scenario = uniform(model(StepModel.of_length(0.02), **spec), 2)
    found = simulate(Setup(scenario, Workload(Closed(16), Shape(16, 200)), 600.0))
    per_step = 1 + acceptance + acceptance**2
    assert found.tpot_s().mean() == pytest.approx(0.02 / per_step, rel=0.01)


policies = st.sampled_from(POLICIES)


@settings(max_examples=40)
@given(
    policy=policies,
    arrivals=st.sampled_from([Closed(30), Open(40.0), Open(20.0, 3.0)]),
    acts=st.lists(
        st.tuples(
            st.floats(0, 8), st.sampled_from(["fail", "start", "out", "in"]), st.integers(0, 3)
        ),
        max_size=5,
    ),
    seed=st.integers(0, 50),
    split=st.booleans(),
)
def test_nothing_is_lost_or_made_up(policy, arrivals, acts, seed, split):
    roles = np.array([0, 0, 1, 1]) if split else np.zeros(4, np.int64)
    scenario = Scenario(
        (model(),),
        np.zeros(4, np.int64),
        Gateways(policy, refused_s=0.05),
        role_of=roles,
        transfer=Transfer(0.01, 1e3, 1e8) if split else None,
        seed=seed,
    )
    load = Workload(arrivals, Shape(40, 20), seed)
    fleet = run(ReferenceFleet, scenario, load, 10.0, Script(acts))
    used = fleet.requests.used()
    # Requests: each is in a replica, on its way, done or failed.
    assert (used.status == PENDING).sum() == fleet.in_flight().sum() + fleet.held()
    # Time: nothing is answered before it is asked.
    done = used.status == DONE
    assert (used.sent_s[done] <= used.first_s[done]).all()
    assert (used.first_s[done] <= used.done_s[done]).all()
    # Memory: no page is lost, and idle replicas have all of theirs.
    pages = scenario.model(0).scheduler.cache.pages
    assert (fleet.free_pages() <= pages).all()
    assert (fleet.free_pages()[fleet.in_flight() == 0] == pages).all()
    # Tokens: all of a done request were generated, and prompts were computed at least once.
    tally = fleet.tally()
    assert tally.generated_tokens.sum() >= used.output_tokens[done].sum()
    assert tally.prompt_tokens.sum() >= used.input_tokens[done].sum()


def test_drained_of_all_load_every_token_is_accounted_for():
    scenario = uniform(model(), 3)
    load = Workload(Closed(20, together=True, requests=100), Shape(40, 20))
    found = simulate(Setup(scenario, load, 500.0))
    assert (found.requests.status == DONE).sum() == found.requests.sent == 100
    assert found.tally.generated_tokens.sum() == found.requests.output_tokens.sum()


def test_a_seed_means_the_same_again_and_another_one_does_not():
    def times(seed: int) -> list[float]:
        scenario = uniform(model(), 4, seed=seed)
        load = Workload(Open(20.0), Shape(40, 20), seed)
        return simulate(Setup(scenario, load, 20.0)).requests.done_s.tolist()

    assert str(times(1)) == str(times(1))
    assert times(1) != times(2)


def long_course(**course) -> Outcome:
    scenario = uniform(model(pages=400), 4, gateways=Gateways(refused_s=0.01))
    return simulate(
        Setup(scenario, Workload(Closed(32), Shape(40, 30)), 120.0, course=Course(**course))
    )


def test_a_failure_breaks_what_ran_there_and_is_noticed_later():
    timing = Timing(start_s=20.0, detect_s=2.0)
    found = long_course(timing=timing, failures=(Failure(30.0, (0,)),))
    failed = found.requests.done_s[found.failed] - found.begin_s
    assert len(failed) > 0
    assert failed.min() == pytest.approx(30.0)
    assert failed.max() < 35.0
    assert [event.ready for event in found.history] == [3, 3, 4]
    again = found.requests.replica[found.completed & (found.requests.sent_s > found.begin_s + 55)]
    assert (again == 0).any()


def test_a_rolling_update_breaks_nothing_when_drains_have_time():
    timing = Timing(start_s=5.0, drain_s=60.0)
    found = long_course(timing=timing, updates=(RollingUpdate(10.0, 1),))
    assert found.failed.sum() == 0
    assert sum("ready" in event.what for event in found.history) == 4


def test_a_drain_without_time_breaks_requests():
    timing = Timing(start_s=5.0, drain_s=0.0)
    found = long_course(timing=timing, updates=(RollingUpdate(10.0, 1),))
    assert found.failed.sum() > 0


def test_reclaimed_machines_are_not_paid_for():
    found = long_course(spot=Spot(60.0, notice_s=1.0, replace_s=20.0), timing=Timing(start_s=5.0))
    assert any("reclaimed" in event.what for event in found.history)
    assert found.paid_replica_s < 4 * 120.0


def test_the_fleet_follows_the_load():
    scenario = uniform(model(pages=400), 8)
    load = Workload(Curve((0.0, 300.0, 600.0), (2.0, 60.0, 2.0)), Shape(40, 30))
    policy = ScalingPolicy(least=1, most=8, target_in_flight=2, hold_down_s=60)
    course = Course(Timing(start_s=10.0), scaling=Scaling(policy, 5.0), initial=1)
    found = simulate(Setup(scenario, load, 600.0, course=course))
    ready = [event.ready for event in found.history]
    assert max(ready) > 3
    assert ready[-1] < max(ready)
    assert found.paid_replica_s < 8 * 600


def test_prompts_and_answers_apart():
    roles = np.array([0, 1])
    transfer = Transfer(0.5, 0.0, 1.0)
    scenario = Scenario(
        (model(pages=400),), np.zeros(2, np.int64), role_of=roles, transfer=transfer
    )
    found = simulate(Setup(scenario, Workload(Closed(4), Shape(40, 30)), 60.0))
    assert set(found.requests.replica[found.completed]) == {1}
    assert found.ttft_s().min() > 0.5
    assert found.tally.prompt_tokens[0] > 20 * found.tally.prompt_tokens[1]


def test_a_near_region_is_preferred_until_it_is_gone():
    delay_s = np.array([[0.0, 0.1]])
    timing = Timing(detect_s=1.0)
    course = Course(timing, failures=(Failure(30.0, (0,), restart=False),))
    scenario = uniform(model(pages=400), 2, delay_s=delay_s, gateways=Gateways("round-robin"))
    found = simulate(Setup(scenario, Workload(Closed(4), Shape(40, 30)), 60.0, course=course))
    sent_s = found.requests.sent_s - found.begin_s
    assert set(found.requests.replica[found.completed & (sent_s < 25)]) == {0}
    late = found.completed & (sent_s > 35)
    assert set(found.requests.replica[late]) == {1}
    ttft_s = found.requests.first_s - found.requests.sent_s
    assert ttft_s[late].min() > 0.2


def test_affinity_finds_prefixes_that_round_robin_does_not():
    def prompts(policy) -> float:
        shape = Shape(100, 10, prefix_groups=40, prefix_share=0.8)
        scenario = uniform(
            model(pages=400, max_num_batched_tokens=256),
            4,
            gateways=Gateways(policy, bound=2.0),
            prefix_groups=40,
            cached_groups=12,
        )
        found = simulate(Setup(scenario, Workload(Open(20.0), shape), 60.0))
        return found.tally.prompt_tokens.sum() / found.requests.sent

    assert prompts("affinity") < 0.6 * prompts("round-robin")


def test_a_trace_is_played_as_recorded():
    trace = Trace(np.array([0.5, 1.5]), np.array([10, 20]), np.array([3, 4]))
    found = simulate(Setup(uniform(model(), 1), Workload(trace, Shape(1, 1)), 10.0))
    assert found.requests.sent_s.tolist() == [0.5, 1.5]
    assert found.tokens() == (30, 7)


def test_bursts_wait_longer_than_poisson_arrivals():
    def mean_s(variation: float) -> float:
        scenario = uniform(model(ONE_STEP, max_num_seqs=1, mtp_depth=0), 1)
        load = Workload(Open(5.0, variation), Shape(16, 1))
        return float(simulate(Setup(scenario, load, 4000.0, warmup_s=10.0)).ttft_s().mean())

    assert mean_s(3.0) > 2 * mean_s(1.0)


def test_too_long_a_request_fails_and_says_so_in_the_count():
    found = simulate(Setup(uniform(model(), 1), Workload(Open(1.0), Shape(399, 2)), 20.0))
    assert found.failed.sum() == found.requests.sent > 0
    assert (found.requests.status == FAILED).all()


def test_whichever_core_runs_is_named():
    found = simulate(
        Setup(uniform(model(), 1), Workload(Open(1.0), Shape(10, 2)), 5.0), quick=False
    )
    assert found.quick is False


def conversing(policy, **more) -> Outcome:
    gateways = Gateways(policy, count=1, requests_per_connection=1)
    scenario = uniform(model(pages=400, max_model_len=2000, **more), 4, gateways=gateways)
    load = Closed(24, talk=Talk(turns=6, think_s=0.5, shared_tokens=16))
    return simulate(Setup(scenario, Workload(load, Shape(20, 12)), 120.0, settle_s=20.0))


def test_a_turn_sends_all_that_was_said_before():
    found = conversing("affinity")
    r = found.requests
    for user in range(24):
        mine = np.flatnonzero(r.lane == user)
        said = r.prefix_tokens[mine]
        begins = said == 16
        assert begins[0]
        before = r.input_tokens[mine][:-1] + r.output_tokens[mine][:-1]
        np.testing.assert_array_equal(said[1:][~begins[1:]], before[~begins[1:]])
        gaps = np.diff(np.flatnonzero(begins))
        assert (gaps[1:] == 6).all()
        pauses_s = r.sent_s[mine][1:] - r.done_s[mine][:-1]
        assert pauses_s[~begins[1:]] == pytest.approx(0.5)
    np.testing.assert_array_equal(r.input_tokens, r.prefix_tokens + 20)
    assert (r.hit_tokens <= np.maximum(r.prefix_tokens, 16)).all()


def test_affinity_finds_what_a_user_has_said_and_a_random_replica_does_not():
    near, far = conversing("affinity"), conversing("random-connection")
    hits = [figures(found).prefix_hit_rate for found in (near, far)]
    assert hits[0] > 0.55 > 0.5 > hits[1]
    assert near.tally.prompt_tokens.sum() < 0.8 * far.tally.prompt_tokens.sum()


def test_contexts_give_way_to_running_sequences():
    cache = CacheSpec(pages=20, page_tokens=16, token_groups=1, state_pages=0)
    kept = Contexts(cache)
    for user in range(3):
        kept.keep(user, 1, 100)
    assert kept.take(1, 2, free_pages=20) == 0
    assert kept.take(2, 1, free_pages=14) == 100
    assert kept.take(0, 1, free_pages=14) == 0, "the least recently used goes first"
    assert kept.take(1, 1, free_pages=14) == 100
    assert kept.take(1, 1, free_pages=14) == 0, "its pages are the running request's now"
