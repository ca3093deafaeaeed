"""Continuous batching over arrays, step for step as `headrace.scheduler` does it.

Two facts keep it small: after a step at most one sequence is in the middle of its prompt, since
all before it got as much of the budget as they needed; and the pages of a sequence follow from the
tokens that they have room for.
"""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.memory import LINE_BYTES, close_gap
from headrace.simulator.fast.step_time import step_s

LINE = LINE_BYTES // 2
"""Sequences in a line of `left`."""


@compiled
def pages_for(limits, tokens):
    """As `CacheSpec.pages_for`."""
    each = limits[c.PAGE_TOKENS]
    return (tokens + each - 1) // each * limits[c.TOKEN_GROUPS] + limits[c.STATE_PAGES]


@compiled
def room_for(limits, tokens):
    """Tokens that fit into the pages for so many."""
    each = limits[c.PAGE_TOKENS]
    return (tokens + each - 1) // each * each


@compiled
def held_pages(limits, room):
    """Pages of a sequence with that room."""
    return pages_for(limits, room) if room > 0 else 0


@compiled
def length_of(s, r, i):
    """Tokens of a decoding sequence."""
    return np.int64(s.seated[r, s.seat[r, i], c.STOP]) - s.left[r, i]


@compiled
def next_stopped(left, first, count):
    """The first from there on that is at its stop; `count` without one. A line at a time."""
    block = first // LINE * LINE
    while block < count:
        found = False
        for i in range(LINE):
            found |= left[block + i] <= 0
        if found:
            for i in range(max(block, first), min(block + LINE, count)):
                if left[i] <= 0:
                    return i
        block += LINE
    return count


@compiled
def set_stop(s, r, i, length, drafted):
    """Where to look at it again: at its end, or when drafts may outgrow its pages."""
    seated = s.seated[r, s.seat[r, i]]
    last = np.int64(seated[c.END])
    stop = min(last, np.int64(seated[c.ROOM]) - drafted + 1)
    if stop <= length and seated[c.ROOM] >= last:
        stop = last
    stop = min(stop, length + c.MOST_LEFT)
    seated[c.STOP] = stop
    s.left[r, i] = stop - length


@compiled
def close_up(s, r, gap, last):
    """Those behind the gap move up by one; its seat is free."""
    free = s.seat[r, gap]
    close_gap(s.left, r, gap, last)
    close_gap(s.seat, r, gap, last)
    s.seat[r, last] = free


@compiled
def schedule(s, r):
    """Put the next step together; its length in seconds, or -1 when there is nothing to do."""
    model = s.of[r, c.MODEL_OF]
    limits = s.limits[model]
    verified = limits[c.DRAFTED] + 1
    if limits[c.DECIDED] > 0 and s.of[r, c.DECODING] == 0 and s.of[r, c.PARTIAL] < 0:
        s.of[r, c.KNOWN] = s.of[r, c.QUEUE_TAIL]
    preempted = s.of[r, c.GROWING] > 0 and _grow_decoding(s, r, limits)
    decoding = min(s.of[r, c.DECODING], limits[c.BATCHED] // verified)
    budget = limits[c.BATCHED] - decoding * verified
    s.of[r, c.STEP_DECODING] = decoding
    s.of[r, c.STEP_PROMPTS] = 0
    s.of[r, c.STEP_PROMPT_TOKENS] = 0
    context = 0.0
    if s.of[r, c.PARTIAL] >= 0:
        budget, failed, context = _continue_prompt(s, r, limits, budget)
        preempted = preempted or failed
    goes_on = limits[c.DECIDED] > 0 and s.of[r, c.STEP_PROMPTS] > 0
    if s.of[r, c.QUEUE_HEAD] >= 0 and not preempted:
        context = _admit(s, r, limits, s.hit_rate[model], budget, context)
    if limits[c.DECIDED] > 0:
        s.of[r, c.KNOWN] = s.of[r, c.QUEUE_TAIL]
    if decoding == 0 and s.of[r, c.STEP_PROMPTS] == 0:
        return -1.0
    seconds, s.pace[r, c.SPARE_S] = step_s(
        s.times,
        model,
        float(decoding),
        float(_decode_context(s, r, decoding)),
        float(s.of[r, c.STEP_PROMPT_TOKENS]),
        float(s.of[r, c.STEP_PROMPTS]),
        context,
        s.pace[r, c.SPARE_S] if goes_on else 0.0,
    )
    return seconds / s.pace[r, c.SPEED]


@compiled
def _decode_context(s, r, decoding):
    if decoding == s.of[r, c.DECODING]:
        return s.of[r, c.CONTEXT]
    context = 0
    for i in range(decoding):
        context += length_of(s, r, i)
    return context


@compiled
def _grow_decoding(s, r, limits):
    """Pages for those that need more, oldest first; whether one had to give up its own."""
    i = next_stopped(s.left[r], s.of[r, c.GROWING] - 1, s.of[r, c.DECODING])
    s.of[r, c.GROWING] = 0
    preempted = False
    while i < s.of[r, c.DECODING]:
        seated = s.seated[r, s.seat[r, i]]
        length, last = length_of(s, r, i), np.int64(seated[c.END])
        tokens = min(length + limits[c.DRAFTED], last)
        room = np.int64(seated[c.ROOM])
        if tokens > room:
            missing = pages_for(limits, tokens) - pages_for(limits, room)
            while missing > s.of[r, c.FREE_PAGES] and i < s.of[r, c.DECODING]:
                _preempt_newest(s, r, limits)
                preempted = True
            if i >= s.of[r, c.DECODING]:
                break
            s.of[r, c.FREE_PAGES] -= missing
            seated[c.ROOM] = room_for(limits, tokens)
        set_stop(s, r, i, length, limits[c.DRAFTED])
        i = next_stopped(s.left[r], i + 1, s.of[r, c.DECODING])
    return preempted


@compiled
def _preempt_newest(s, r, limits):
    """Back to the head of the queue, without pages, all of it to be computed again."""
    if s.of[r, c.PARTIAL] >= 0:
        request = s.of[r, c.PARTIAL]
        s.of[r, c.PARTIAL] = -1
        room = s.of[r, c.PARTIAL_ROOM]
    else:
        last = s.of[r, c.DECODING] - 1
        s.of[r, c.DECODING] = last
        seated = s.seated[r, s.seat[r, last]]
        request = np.int64(seated[c.REQUEST])
        length = length_of(s, r, last)
        s.of[r, c.CONTEXT] -= length
        s.asked[request, c.PROGRESS] = length - s.asked[request, c.INPUT]
        room = np.int64(seated[c.ROOM])
    s.of[r, c.FREE_PAGES] += held_pages(limits, room)
    s.of[r, c.PREEMPTED] += 1
    s.asked[request, c.NEXT] = s.of[r, c.QUEUE_HEAD]
    s.of[r, c.QUEUE_HEAD] = request
    if s.of[r, c.QUEUE_TAIL] < 0:
        s.of[r, c.QUEUE_TAIL] = request


@compiled
def _continue_prompt(s, r, limits, budget):
    """The next chunk of the partial prompt: budget left, whether it was preempted, context."""
    request = s.of[r, c.PARTIAL]
    computed = s.of[r, c.PARTIAL_COMPUTED]
    target = np.int64(s.asked[request, c.INPUT]) + s.asked[request, c.PROGRESS]
    chunk = min(budget, target - computed)
    if chunk == 0:
        return budget, False, 0.0
    missing = pages_for(limits, computed + chunk) - held_pages(limits, s.of[r, c.PARTIAL_ROOM])
    if missing > s.of[r, c.FREE_PAGES]:
        _preempt_newest(s, r, limits)
        return budget, True, 0.0
    if missing > 0:
        s.of[r, c.FREE_PAGES] -= missing
        s.of[r, c.PARTIAL_ROOM] = room_for(limits, computed + chunk)
    _add_prompt(s, r, request, computed, chunk, target)
    return budget - chunk, False, chunk * (computed + chunk / 2)


@compiled
def _add_prompt(s, r, request, computed, chunk, target):
    s.asked[request, c.NEXT] = -1
    if s.of[r, c.STEP_PROMPTS] == 0:
        s.of[r, c.STEP_HEAD] = request
    else:
        s.asked[s.of[r, c.STEP_TAIL], c.NEXT] = request
    s.of[r, c.STEP_TAIL] = request
    s.of[r, c.STEP_PROMPTS] += 1
    s.of[r, c.STEP_PROMPT_TOKENS] += chunk
    if computed + chunk < target:
        s.of[r, c.PARTIAL] = request
        s.of[r, c.PARTIAL_COMPUTED] = computed + chunk
    else:
        s.of[r, c.PARTIAL] = -1


@compiled
def _admit(s, r, limits, hit_rate, budget, context):
    """Take requests from the queue while budget, slots and pages for the whole prompt last."""
    running = s.of[r, c.DECODING] + s.of[r, c.STEP_PROMPTS]
    if s.of[r, c.PARTIAL] >= 0 and s.of[r, c.STEP_PROMPTS] == 0:
        running += 1
    known = limits[c.DECIDED] == 0 or s.of[r, c.KNOWN] >= 0
    while known and s.of[r, c.QUEUE_HEAD] >= 0 and budget > 0 and running < limits[c.SEQS]:
        request = s.of[r, c.QUEUE_HEAD]
        target = np.int64(s.asked[request, c.INPUT]) + s.asked[request, c.PROGRESS]
        if pages_for(limits, target) > s.of[r, c.FREE_PAGES]:
            break
        known = limits[c.DECIDED] == 0 or request != s.of[r, c.KNOWN]
        s.of[r, c.QUEUE_HEAD] = s.asked[request, c.NEXT]
        if s.of[r, c.QUEUE_HEAD] < 0:
            s.of[r, c.QUEUE_TAIL] = -1
        computed = min(_hit(s, request, hit_rate), target - 1)
        chunk = min(budget, target - computed)
        s.of[r, c.FREE_PAGES] -= pages_for(limits, computed + chunk)
        s.of[r, c.PARTIAL_ROOM] = room_for(limits, computed + chunk)
        _add_prompt(s, r, request, computed, chunk, target)
        context += chunk * (computed + chunk / 2)
        budget -= chunk
        running += 1
    return context


@compiled
def _hit(s, request, hit_rate):
    """Prompt tokens in the cache."""
    prompt = np.int64(s.asked[request, c.INPUT])
    if s.marks[request, c.STAGE] == 1:
        return prompt - 1
    if s.counts[c.GROUPS] > 0:
        return np.int64(s.asked[request, c.HIT])
    return np.int64(prompt * hit_rate)
