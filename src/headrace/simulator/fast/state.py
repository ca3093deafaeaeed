"""Everything that the quick core knows, as arrays: replicas and requests are indices."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.perf.replica import ReplicaModel
from headrace.simulator.chance import hashed, keys, thresholds
from headrace.simulator.fast import columns as c
from headrace.simulator.fast.memory import LINE_BYTES
from headrace.simulator.fast.step_time import StepTimes, step_times
from headrace.simulator.replica import ACCEPTANCE_KEYS
from headrace.simulator.requests import Requests
from headrace.simulator.router import ROUTING_KEYS, WORKER_KEYS
from headrace.simulator.scenario import POLICIES, Scenario
from headrace.simulator.workload import Closed

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I4 = NDArray[np.int32]
I2 = NDArray[np.int16]
I1 = NDArray[np.int8]

MOST_DRAFTED = 16


ASKED = {
    "input_tokens": c.INPUT,
    "output_tokens": c.OUTPUT,
    "replica": c.REPLICA,
    "lane": c.LANE,
    "group": c.GROUP,
    "prefix_tokens": c.PREFIX,
    "hit_tokens": c.HIT,
    "turns": c.TURNS,
}
WHEN = {"sent_s": c.SENT_S, "first_s": c.FIRST_S, "done_s": c.DONE_S}
MARKS = {"status": c.STATUS, "phase": c.PHASE}


class State(NamedTuple):
    """`columns` says what stands where."""

    seconds: F8
    counts: I8
    times: StepTimes
    limits: I8  # model x ..
    hit_rate: F8  # model
    thresholds: I8  # model x draft position
    heap_s: F8
    heap_order: I8
    heap_what: I8
    of: I8  # replica x ..
    pace: F8  # replica x ..
    left: I2  # replica x slot
    seat: I2  # replica x slot
    seated: I4  # replica x seat x ..
    gateway: I8  # gateway x ..
    gateway_free_s: F8  # gateway
    backends: I8  # role x gateway x (list, is one) x replica
    ring: I8  # role x gateway x (hash, owner) x point
    sent_by: I8  # gateway x replica
    refusals: I8  # gateway x replica
    turns: I8  # role x gateway x worker
    delay_s: F8  # gateway x replica
    lanes: I8  # lane x ..
    free: I8  # server x ..
    prefixes: I4  # replica x (before, after) x group or user, then the anchor of the list
    contexts: I4  # replica x user x ..
    asked: I4  # request x ..
    when: F8  # request x ..
    marks: I1  # request x ..


def new_state(
    scenario: Scenario, requests: Requests, closed: Closed | None, warm_lengths: I4
) -> State:
    """Empty, alive, at time 0. The table's columns become views into the state."""
    gateways, replicas = scenario.gateways, scenario.replicas
    limits = _limits(scenario)
    slots = max(most_running(model) for model in scenario.models) + 1
    heap = 4 * (replicas + (closed.concurrency if closed else 0)) + 8 * slots + 1024
    key, other = keys(scenario.seed, WORKER_KEYS, 1)[0].tolist()
    turns = [hashed(key, other, n) for n in range(2 * gateways.count * gateways.workers)]
    groups = _groups(scenario, closed)
    users = groups if closed and closed.talk else 0
    of_gateway = np.zeros((gateways.count, c.OF_GATEWAY), np.int64)
    of_gateway[:, c.GATEWAY_KEYS : c.GATEWAY_KEYS + 2] = keys(
        scenario.seed, ROUTING_KEYS, gateways.count
    )
    return State(
        seconds=_seconds(scenario, closed),
        counts=_counts(scenario, closed),
        times=step_times([model.step for model in scenario.models]),
        limits=limits,
        hit_rate=np.array([m.scheduler.prefix_hit_rate for m in scenario.models]),
        thresholds=_thresholds(scenario),
        heap_s=np.zeros(heap),
        heap_order=np.zeros(heap, np.int64),
        heap_what=np.zeros(heap, np.int64),
        of=_of_replicas(scenario, limits),
        pace=np.pad(scenario.speed[:, None], ((0, 0), (0, c.OF_PACE - 1))),
        left=aligned((replicas, whole_lines(slots)), np.int16),
        seat=_seats(replicas, whole_lines(slots)),
        seated=aligned((replicas, slots, c.OF_SEAT), np.int32),
        gateway=of_gateway,
        gateway_free_s=np.zeros(gateways.count),
        backends=np.zeros((2, gateways.count, 2, replicas), np.int64),
        ring=np.zeros((2, gateways.count, 2, 0), np.int64),
        sent_by=np.zeros((gateways.count, replicas), np.int64),
        refusals=np.zeros((gateways.count, replicas), np.int64),
        turns=np.array(turns, np.int64).reshape(2, gateways.count, gateways.workers),
        delay_s=np.ascontiguousarray(scenario.delay_s, dtype=np.float64),
        lanes=_lanes(closed, warm_lengths),
        free=_free(closed, scenario.addresses),
        prefixes=np.full((replicas, 2, groups + 1 if groups else 0), -1, np.int32),
        contexts=np.zeros((replicas, users, 2), np.int32),
        **_of_requests(requests),
    )


def with_requests(state: State, requests: Requests) -> State:
    """The state over a table that has grown."""
    grown = _of_requests(requests)
    rows = len(state.asked)
    own = [c.NEXT, c.PROGRESS]
    grown["asked"][:rows, own] = state.asked[:, own]
    grown["marks"][:rows, c.STAGE :] = state.marks[:, c.STAGE :]
    return state._replace(asked=grown["asked"], when=grown["when"], marks=grown["marks"])


def _of_requests(requests: Requests) -> dict[str, np.ndarray]:
    """Three arrays for the table; its columns are moved into them one by one, to save memory."""
    rows = requests.capacity
    width = c.LANE + (len(requests.lane) > 0)
    if len(requests.group):
        width = c.TURNS + (len(requests.turns) > 0)
    made: dict[str, np.ndarray] = {
        "asked": np.zeros((rows, width), np.int32),
        "when": np.zeros((rows, 3)),
        "marks": np.zeros((rows, 4), np.int8),
    }
    for array, places in (("asked", ASKED), ("when", WHEN), ("marks", MARKS)):
        for name, place in places.items():
            if len(getattr(requests, name)):
                made[array][:, place] = getattr(requests, name)
                setattr(requests, name, made[array][:, place])
    made["asked"][:, c.NEXT] = -1
    return made


def _of_replicas(scenario: Scenario, limits: I8) -> I8:
    table = aligned((scenario.replicas, c.OF_REPLICA), np.int64)
    table[:, c.ALIVE] = 1
    table[:, c.MODEL_OF] = scenario.model_of
    table[:, c.FREE_PAGES] = limits[scenario.model_of, c.PAGES]
    table[:, c.KEYS : c.KEYS + 2] = keys(scenario.seed, ACCEPTANCE_KEYS, scenario.replicas)
    for place in (c.DUE, c.PARTIAL, c.QUEUE_HEAD, c.QUEUE_TAIL):
        table[:, place] = -1
    return table


def aligned(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Zeros that begin where a line of the cache does: 64 bytes of a row then take one, not two."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE_BYTES, np.uint8)
    first = -raw.ctypes.data % LINE_BYTES
    return raw[first : first + size].view(dtype).reshape(shape)


def whole_lines(slots: int) -> int:
    """So many 16-bit numbers or more, in whole lines."""
    each = LINE_BYTES // 2
    return -(-slots // each) * each


def _seats(replicas: int, slots: int) -> I2:
    table = aligned((replicas, slots), np.int16)
    table[:] = np.arange(slots)
    return table


def _groups(scenario: Scenario, closed: Closed | None) -> int:
    """Lists of the prefix caches: shared prefixes, or users in conversation."""
    return closed.concurrency if closed and closed.talk else scenario.prefix_groups


def _lanes(closed: Closed | None, warm_lengths: I4) -> I8:
    table = np.zeros((closed.concurrency if closed else 0, c.OF_LANE), np.int64)
    table[:, c.WARM_LENGTH] = warm_lengths
    table[:, c.CONNECTED : c.CONNECTED + 2] = -1
    return table


def _free(closed: Closed | None, servers: int) -> I8:
    pools = closed.pools(servers) if closed else [1]
    table = np.zeros((len(pools), c.FIRST_FREE + max(pools)), np.int64)
    table[:, c.POOL] = pools
    return table


def most_running(model: ReplicaModel) -> int:
    """Sequences that can hold pages at once; a bound that keeps a replica's slots together."""
    spec = model.scheduler
    return min(spec.max_num_seqs, spec.cache.pages // spec.cache.pages_for(1))


def _limits(scenario: Scenario) -> I8:
    rows = []
    for model in scenario.models:
        spec, cache = model.scheduler, model.scheduler.cache
        row = [spec.max_num_seqs, spec.max_num_batched_tokens, spec.max_model_len, cache.pages]
        row += [cache.page_tokens, cache.token_groups, cache.state_pages, spec.mtp_depth]
        rows.append([*row, spec.stream_interval, spec.steps_ahead])
    return np.array(rows, np.int64)


def _thresholds(scenario: Scenario) -> I8:
    table = np.zeros((len(scenario.models), MOST_DRAFTED), np.int64)
    for row, model in zip(table, scenario.models, strict=True):
        found = thresholds(model.scheduler.mtp_depth, model.scheduler.acceptance)
        row[: len(found)] = found
    return table


def _seconds(scenario: Scenario, closed: Closed | None) -> F8:
    gateways, client, transfer = scenario.gateways, scenario.client, scenario.transfer
    table = np.zeros(c.SECONDS)
    table[c.WARM_S] = 0.0 if closed is None or closed.together else np.nan
    table[c.PICK_S], table[c.GATEWAY_CHUNK_S] = gateways.pick_s, gateways.chunk_s
    table[c.CLIENT_CHUNK_S], table[c.TURNAROUND_S] = client.chunk_s, client.turnaround_s
    table[c.RETRY_S], table[c.REFUSED_S] = client.retry_s, gateways.refused_s
    if closed is not None and closed.talk is not None:
        table[c.THINK_S] = closed.talk.think_s
    table[c.STALE_S], table[c.BOUND] = gateways.stale_s, gateways.bound
    if transfer is not None:
        table[c.LATENCY_S], table[c.STATE_BYTES] = transfer.latency_s, transfer.state_bytes
        table[c.TOKEN_BYTES], table[c.BYTES_S] = transfer.bytes_per_token, transfer.bytes_s
    return table


def _counts(scenario: Scenario, closed: Closed | None) -> I8:
    gateways = scenario.gateways
    table = np.zeros(c.COUNTS, np.int64)
    table[c.CLOSED] = closed is not None
    table[c.LIMIT] = closed.requests if closed and closed.requests else 2**62
    table[c.LANES] = closed.concurrency if closed else 0
    table[c.WARM_LEFT] = 0 if closed is None or closed.together else closed.concurrency
    table[c.AHEAD] = -1
    table[c.POLICY] = POLICIES.index(gateways.policy)
    table[c.GATEWAYS], table[c.WORKERS] = gateways.count, gateways.workers
    table[c.PER_CONNECTION] = gateways.requests_per_connection
    table[c.ATTEMPTS], table[c.TRANSFER] = gateways.attempts, scenario.transfer is not None
    table[c.GROUPS], table[c.CACHED_GROUPS] = _groups(scenario, closed), scenario.cached_groups
    if closed is not None and closed.talk is not None:
        table[c.TALKS], table[c.SHARED_TOKENS] = 1, closed.talk.shared_tokens
    return table
