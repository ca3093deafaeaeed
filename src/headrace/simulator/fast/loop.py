"""The event loop over arrays: `reference.ReferenceFleet`, function for function."""

from __future__ import annotations

import math

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.chance import below
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.finish import decode, draw_ahead, drawn
from headrace.simulator.fast.heap import AGAIN, DELIVER, KIND, LOOK, ROUTE, SEND, STEP, plan, pop
from headrace.simulator.fast.memory import LINE_BYTES, prefetch
from headrace.simulator.fast.prefix import find_prefix, keep_context, take_context
from headrace.simulator.fast.route import gateway_of, pick
from headrace.simulator.fast.schedule import (
    close_up,
    held_pages,
    next_stopped,
    pages_for,
    room_for,
    schedule,
    set_stop,
)
from headrace.simulator.requests import DONE, FAILED, WARMUP
from headrace.simulator.scenario import EJECT_AFTER, EJECTED
from headrace.simulator.workload import FIRST_TALK

REACHED, REQUESTS_USED_UP, HEAP_FULL = range(3)
"""Why `advance` returns."""


@compiled
def advance(s, until_s):
    """Run to that time, its events included."""
    rows = len(s.when)
    room = len(s.heap_s) - 2 * s.left.shape[1] - 8
    while True:
        arrival_s = math.inf
        if s.counts[c.CLOSED] == 0 and s.counts[c.SENT] < rows:
            arrival_s = s.when[s.counts[c.SENT], c.SENT_S]
        event_s = s.heap_s[0] if s.counts[c.HEAP] > 0 else math.inf
        if min(arrival_s, event_s) > until_s:
            s.seconds[c.NOW_S] = max(s.seconds[c.NOW_S], until_s)
            return REACHED
        if s.counts[c.HEAP] > room:
            return HEAP_FULL
        if arrival_s <= event_s:
            s.seconds[c.NOW_S] = arrival_s
            s.counts[c.SENT] += 1
            _reach_gateway(s, s.counts[c.SENT] - 1)
            continue
        kind, number = divmod(s.heap_what[0], KIND)
        if kind <= AGAIN:
            most = min(s.free.shape[1] - c.FIRST_FREE, s.counts[c.LIMIT] - s.counts[c.SENT])
            if s.counts[c.SENT] + most > rows:
                return REQUESTS_USED_UP
        order = s.heap_order[0]
        s.seconds[c.NOW_S] = event_s
        if kind == STEP:
            if s.of[number, c.DUE] != order:  # of a replica that is dead
                pop(s)
                continue
            accepted, stopped = drawn(s, number)
            _look_ahead(s, pop(s), until_s)
            _end_step(s, number, accepted, stopped)
            continue
        _look_ahead(s, pop(s), until_s)
        _happen(s, kind, number)


@compiled
def _look_ahead(s, entered, until_s):
    """Of the first event's replica the tokens are drawn, before the event that is on has its turn;
    of the one that came close to the top the figures are loaded, and as many sequences.
    """
    if s.counts[c.HEAP] == 0:
        return
    kind, r = divmod(s.heap_what[0], KIND)
    used_bytes = np.int64(0)
    if kind == STEP and s.of[r, c.DUE] == s.heap_order[0]:
        used_bytes = 2 * (s.of[r, c.DECODING] + 1)
        if s.counts[c.AHEAD] < 0 and s.heap_s[0] <= until_s:
            draw_ahead(s, r)
    kind, r = divmod(s.heap_what[entered], KIND)
    if kind == STEP:
        for byte in range(0, 8 * c.OF_STEP, LINE_BYTES):
            prefetch(s.of, r, byte)
        prefetch(s.pace, r, 0)
        for byte in range(0, used_bytes, LINE_BYTES):
            prefetch(s.left, r, byte)
            prefetch(s.seat, r, byte)


@compiled
def _happen(s, kind, number):
    if kind == SEND:
        _send(s, number)
    elif kind == AGAIN:
        _again(s, number)
    elif kind == ROUTE:
        _route(s, number)
    elif kind == DELIVER:
        _deliver(s, number)
    else:
        for r in range(len(s.of)):
            s.of[r, c.SEEN] = s.of[r, c.IN_FLIGHT]
        plan(s, s.seconds[c.NOW_S] + s.seconds[c.STALE_S], LOOK, 0)


@compiled
def _again(s, lane):
    """The lane goes on, with the others that wait for it at its server."""
    pool = lane % len(s.free)
    count = s.free[pool, c.FREE] + 1
    s.free[pool, c.FREE + count] = lane
    s.free[pool, c.FREE] = count
    if count >= s.free[pool, c.POOL]:
        s.free[pool, c.FREE] = 0
        for place in range(count):
            _send(s, s.free[pool, c.FIRST_FREE + place])


@compiled
def _send(s, lane):
    request = s.counts[c.SENT]
    if request >= s.counts[c.LIMIT]:
        return
    s.counts[c.SENT] = request + 1
    s.when[request, c.SENT_S] = s.seconds[c.NOW_S]
    s.asked[request, c.LANE] = lane
    if s.counts[c.TALKS] == 1:
        _say(s, lane, request)
    if s.lanes[lane, c.WARM_LENGTH] > 0:
        s.asked[request, c.OUTPUT] = s.lanes[lane, c.WARM_LENGTH]
        s.marks[request, c.PHASE] = WARMUP
        s.lanes[lane, c.WARM_LENGTH] = 0
    _reach_gateway(s, request)


@compiled
def _say(s, user, request):
    """As `Users.say`."""
    if s.lanes[user, c.TURNS_LEFT] == 0:
        turns = np.int64(s.asked[request, c.TURNS])
        if s.lanes[user, c.WARM_LENGTH] > 0 and s.lanes[user, c.CONVERSATION] == 0:
            turns = 1 + below(FIRST_TALK, FIRST_TALK, user, turns)
        s.lanes[user, c.TURNS_LEFT] = turns
        s.lanes[user, c.CONVERSATION] += 1
        s.lanes[user, c.SAID] = s.counts[c.SHARED_TOKENS]
    s.asked[request, c.GROUP] = user
    s.asked[request, c.PREFIX] = s.lanes[user, c.SAID]
    s.asked[request, c.INPUT] += s.lanes[user, c.SAID]
    s.lanes[user, c.TURNS_LEFT] -= 1


@compiled
def _ramp(s, at_s):
    lane = s.counts[c.UNSENT]
    if lane < s.counts[c.LANES]:
        plan(s, at_s + s.seconds[c.TURNAROUND_S], SEND, lane)
        s.counts[c.UNSENT] = lane + 1


@compiled
def end(s, request, at_s, status):
    """A request is over."""
    s.when[request, c.DONE_S] = at_s
    s.marks[request, c.STATUS] = status
    if s.counts[c.CLOSED] == 0:
        return
    if s.marks[request, c.PHASE] == WARMUP:
        if math.isnan(s.when[request, c.FIRST_S]):
            _ramp(s, at_s)
        s.counts[c.WARM_LEFT] -= 1
        if s.counts[c.WARM_LEFT] == 0:
            s.seconds[c.WARM_S] = at_s
    lane = np.int64(s.asked[request, c.LANE])
    pause_s = s.seconds[c.TURNAROUND_S] if status == DONE else s.seconds[c.RETRY_S]
    if s.counts[c.TALKS] == 1:
        s.lanes[lane, c.SAID] = s.asked[request, c.INPUT] + s.asked[request, c.OUTPUT]
        if status == FAILED:
            s.lanes[lane, c.TURNS_LEFT] = 0
        elif s.lanes[lane, c.TURNS_LEFT] > 0:
            pause_s = s.seconds[c.THINK_S]
    plan(s, at_s + pause_s, AGAIN, lane)


@compiled
def _reach_gateway(s, request):
    s.counts[c.HELD] += 1
    if s.seconds[c.PICK_S] > 0:
        free_s = max(s.seconds[c.PICKER_FREE_S], s.seconds[c.NOW_S]) + s.seconds[c.PICK_S]
        s.seconds[c.PICKER_FREE_S] = free_s
        plan(s, free_s, ROUTE, request)
    else:
        _route(s, request)


@compiled
def _route(s, request):
    gateway = gateway_of(s, request)
    replica = pick(s, request, gateway, np.int64(s.marks[request, c.STAGE]))
    if replica < 0:
        s.counts[c.HELD] -= 1
        end(s, request, s.seconds[c.NOW_S], FAILED)
        return
    if s.marks[request, c.TRIES] > 0:
        s.asked[request, c.REFUSED_BY] = s.asked[request, c.REPLICA]
    s.asked[request, c.REPLICA] = replica
    s.sent_by[gateway, replica] += 1
    s.gateway[gateway, c.SENT_SUM] += 1
    delay_s = s.delay_s[gateway, replica]
    if delay_s > 0:
        plan(s, s.seconds[c.NOW_S] + delay_s, DELIVER, request)
    else:
        _deliver(s, request)


@compiled
def leave_gateway(s, request, replica):
    """Its gateway counts it no longer."""
    gateway = gateway_of(s, request)
    s.sent_by[gateway, replica] -= 1
    s.gateway[gateway, c.SENT_SUM] -= 1


@compiled
def _deliver(s, request):
    r = np.int64(s.asked[request, c.REPLICA])
    if s.of[r, c.ALIVE] == 0:
        _refused(s, request, r)
        return
    if s.counts[c.GROUPS] > 0 and s.marks[request, c.STAGE] == 0:
        s.asked[request, c.HIT] = _found(s, r, request)
    s.counts[c.HELD] -= 1
    if _is_rejected(s, r, request):
        leave_gateway(s, request, r)
        end(s, request, s.seconds[c.NOW_S], FAILED)
        return
    s.asked[request, c.NEXT] = -1
    if s.of[r, c.QUEUE_TAIL] >= 0:
        s.asked[s.of[r, c.QUEUE_TAIL], c.NEXT] = request
    else:
        s.of[r, c.QUEUE_HEAD] = request
    s.of[r, c.QUEUE_TAIL] = request
    s.of[r, c.IN_FLIGHT] += 1
    if s.of[r, c.DUE] < 0:
        _begin_step(s, r)


@compiled
def _found(s, r, request):
    """Tokens of the prompt in the replica's cache."""
    group = np.int64(s.asked[request, c.GROUP])
    if s.counts[c.TALKS] == 0:
        return np.int64(s.asked[request, c.PREFIX]) if find_prefix(s, r, group) else np.int64(0)
    each = s.limits[s.of[r, c.MODEL_OF], c.PAGE_TOKENS]
    return max(take_context(s, r, group), s.counts[c.SHARED_TOKENS]) // each * each


@compiled
def _output(s, request):
    """Tokens to generate in the stage that it is in."""
    if s.counts[c.TRANSFER] == 1 and s.marks[request, c.STAGE] == 0:
        return np.int64(1)
    return np.int64(s.asked[request, c.OUTPUT])


@compiled
def _is_rejected(s, r, request):
    """As `Scheduler.rejection`."""
    limits = s.limits[s.of[r, c.MODEL_OF]]
    prompt, output = np.int64(s.asked[request, c.INPUT]), _output(s, request)
    if prompt < 1 or output < 1 or prompt + output > limits[c.MODEL_LEN]:
        return True
    return pages_for(limits, prompt + output) > limits[c.PAGES]


@compiled
def _refused(s, request, r):
    leave_gateway(s, request, r)
    gateway = gateway_of(s, request)
    s.refusals[gateway, r] += 1
    if s.refusals[gateway, r] == EJECT_AFTER:
        s.sent_by[gateway, r] += EJECTED
    if s.marks[request, c.TRIES] == 0:
        s.asked[request, c.REFUSED_BY] = -1
    s.marks[request, c.TRIES] += 1
    if s.marks[request, c.TRIES] >= s.counts[c.ATTEMPTS]:
        s.counts[c.HELD] -= 1
        end(s, request, s.seconds[c.NOW_S], FAILED)
    else:
        plan(s, s.seconds[c.NOW_S] + s.seconds[c.REFUSED_S], ROUTE, request)


@compiled
def _begin_step(s, r):
    length_s = schedule(s, r)
    if length_s < 0:
        s.of[r, c.DUE] = -1
        return
    s.pace[r, c.BUSY_S] += length_s
    s.of[r, c.DUE] = plan(s, s.seconds[c.NOW_S] + length_s, STEP, r)


@compiled
def _end_step(s, r, accepted, stopped):
    prompts = s.of[r, c.STEP_PROMPTS]
    prompt_tokens = s.of[r, c.STEP_PROMPT_TOKENS]
    started = prompts
    if prompts > 0 and s.of[r, c.PARTIAL] == s.of[r, c.STEP_TAIL]:
        started -= 1
    s.of[r, c.STEPS] += 1
    s.of[r, c.PROMPTS] += prompt_tokens
    ended, first = decode(s, r, accepted, stopped)
    decoding = s.of[r, c.STEP_DECODING]
    out_s = _emitted_s(s, r, decoding + started)
    if ended > 0:
        _leave_decoding(s, r, first, ended, out_s)
    request = s.of[r, c.STEP_HEAD]
    for _ in range(started):
        behind = np.int64(s.asked[request, c.NEXT])
        _start_decoding(s, r, request, out_s)
        request = behind
    _begin_step(s, r)


@compiled
def _emitted_s(s, r, chunks):
    interval = s.limits[s.of[r, c.MODEL_OF], c.INTERVAL]
    out_s = s.seconds[c.NOW_S]
    if s.seconds[c.GATEWAY_CHUNK_S] > 0:
        gateway = r % s.counts[c.GATEWAYS]
        out_s = max(s.gateway_free_s[gateway], out_s)
        out_s = out_s + chunks * s.seconds[c.GATEWAY_CHUNK_S] / interval
        s.gateway_free_s[gateway] = out_s
    if s.seconds[c.CLIENT_CHUNK_S] > 0:
        out_s = max(s.seconds[c.CLIENT_FREE_S], out_s)
        out_s = out_s + chunks * s.seconds[c.CLIENT_CHUNK_S] / interval
        s.seconds[c.CLIENT_FREE_S] = out_s
    return out_s


@compiled
def _leave_decoding(s, r, i, ended, out_s):
    """Take out those that have all their tokens, from the i-th on; the others keep their order."""
    limits = s.limits[s.of[r, c.MODEL_OF]]
    while ended > 0:
        i = next_stopped(s.left[r], i, s.of[r, c.DECODING])
        seated = s.seated[r, s.seat[r, i]]
        if seated[c.STOP] < seated[c.END]:
            i += 1
            continue
        ended -= 1
        s.of[r, c.FREE_PAGES] += pages_for(limits, np.int64(seated[c.ROOM]))
        s.of[r, c.CONTEXT] -= seated[c.END]
        _finished(s, r, np.int64(seated[c.REQUEST]), out_s)
        close_up(s, r, i, s.of[r, c.DECODING] - 1)
        s.of[r, c.DECODING] -= 1


@compiled
def _start_decoding(s, r, request, out_s):
    """A prompt is done: its first token (or the next one, after a preemption)."""
    limits = s.limits[s.of[r, c.MODEL_OF]]
    prompt, progress = np.int64(s.asked[request, c.INPUT]), np.int64(s.asked[request, c.PROGRESS])
    length = prompt + progress + 1
    last = prompt + _output(s, request)
    s.of[r, c.GENERATED] += 1
    if progress == 0 and not (s.counts[c.TRANSFER] == 1 and s.marks[request, c.STAGE] == 0):
        s.when[request, c.FIRST_S] = out_s + s.delay_s[gateway_of(s, request), r]
        if s.counts[c.CLOSED] == 1 and s.marks[request, c.PHASE] == WARMUP:
            _ramp(s, s.when[request, c.FIRST_S])
    room = room_for(limits, length - 1)
    if length >= last:
        s.of[r, c.FREE_PAGES] += held_pages(limits, room)
        _finished(s, r, request, out_s)
        return
    at = s.of[r, c.DECODING]
    s.of[r, c.DECODING] = at + 1
    seated = s.seated[r, s.seat[r, at]]
    seated[c.REQUEST] = request
    seated[c.END] = last
    seated[c.ROOM] = room
    set_stop(s, r, at, length, limits[c.DRAFTED])
    s.of[r, c.CONTEXT] += length
    if length + limits[c.DRAFTED] > room and s.of[r, c.GROWING] == 0:
        s.of[r, c.GROWING] = 1 + at


@compiled
def _finished(s, r, request, out_s):
    s.of[r, c.IN_FLIGHT] -= 1
    leave_gateway(s, request, r)
    if s.counts[c.TRANSFER] == 1 and s.marks[request, c.STAGE] == 0:
        s.marks[request, c.STAGE] = 1
        s.asked[request, c.PROGRESS] = 0
        s.asked[request, c.REFUSED_BY] = -1
        s.counts[c.HELD] += 1
        moved = s.seconds[c.STATE_BYTES] + s.asked[request, c.INPUT] * s.seconds[c.TOKEN_BYTES]
        plan(
            s,
            s.seconds[c.NOW_S] + (s.seconds[c.LATENCY_S] + moved / s.seconds[c.BYTES_S]),
            ROUTE,
            request,
        )
    else:
        if s.counts[c.TALKS] == 1:
            tokens = np.int64(s.asked[request, c.INPUT]) + s.asked[request, c.OUTPUT]
            keep_context(s, r, np.int64(s.asked[request, c.LANE]), tokens)
        end(s, request, out_s + s.delay_s[gateway_of(s, request), r], DONE)
