"""Continuous batching as vLLM V1 does it. It has no clock: the caller knows when a step ends.

Running sequences go first, in the order of their admission; each decoding one takes 1 + draft
depth tokens of the budget. Waiting sequences follow, first come first served, with as large a
chunk of their prompt as is left of the budget. A sequence takes pages as it grows. When there are
none, the newest running one gives up its own, goes back to the head of the queue and later
computes everything again; nothing is admitted in such a step.

Since prompts are computed in order of admission, `_decoding` is always older than `_prefilling`,
so that no step has to look at every sequence to find out what it must do: the cost of `schedule`
does not depend on the number of sequences that decode, and `finish` passes over them once.
"""

from __future__ import annotations

from collections import deque

from headrace.perf.step import StepBatch
from headrace.scheduler.acceptance import Acceptance
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import SchedulerSpec
from headrace.scheduler.step import Counters, Step

FORGOTTEN_LIMIT = 64
"""Aborted sequences that may linger in the queue, over the number of live ones."""


class Scheduler:
    """One replica's queue, running batch and pages. Call `schedule` and `finish` in turn."""

    def __init__(
        self, spec: SchedulerSpec, seed: int = 0, acceptance: Acceptance | None = None
    ) -> None:
        self.spec = spec
        self.counters = Counters(accepted_per_position=[0] * spec.mtp_depth)
        self.free_pages = spec.cache.pages
        self.waiting = 0
        self._verified = 1 + spec.mtp_depth
        if spec.max_num_batched_tokens < self._verified or spec.max_num_seqs < 1:
            raise ValueError(f"no sequence can decode within {spec}")
        self._acceptance = acceptance or Acceptance(spec.mtp_depth, spec.acceptance, seed)
        self._queue: deque[Sequence] = deque()
        self._unknown: list[Sequence] = []
        """Those that came while a step ran, after the next one had been put together."""
        self._decoding: list[Sequence] = []
        """Never changed in place: a step in flight holds this very list."""
        self._prefilling: list[Sequence] = []
        self._growing: list[Sequence] = []
        """Decoding sequences whose next step may outgrow their pages, oldest first."""
        self._context_tokens = 0
        """Sum of the lengths of all decoding sequences."""
        self._batch_before: StepBatch | None = None
        """Of the last step: a prompt that filled it goes on in the next."""

    @property
    def running(self) -> int:
        """Sequences that hold pages."""
        return len(self._decoding) + len(self._prefilling)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do until a sequence is added."""
        return self.waiting == 0 and self.running == 0

    @property
    def cache_usage(self) -> float:
        """Share of the pages in use."""
        pages = self.spec.cache.pages
        return 1.0 - self.free_pages / pages if pages else 0.0

    def rejection(self, sequence: Sequence) -> str | None:
        """Why this sequence could never finish here, or None."""
        if sequence.prompt_tokens < 1 or sequence.end <= sequence.prompt_tokens:
            return "a sequence needs at least one prompt token and one output token"
        if sequence.end > self.spec.max_model_len:
            return f"{sequence.end} tokens exceed the context of {self.spec.max_model_len}"
        if self.spec.cache.pages_for(sequence.end) > self.spec.cache.pages:
            return f"{sequence.end} tokens need more cache than the {self.spec.cache.pages} pages"
        return None

    def add(self, sequence: Sequence) -> None:
        """Put it at the end of the queue. Raises ValueError for one that could never finish."""
        reason = self.rejection(sequence)
        if reason is not None:
            raise ValueError(reason)
        self._queue.append(sequence)
        self.waiting += 1
        if self.spec.steps_ahead:
            sequence.known = False
            self._unknown.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence wherever it is, also between `schedule` and `finish`."""
        if sequence.aborted or sequence.finished:
            return
        sequence.aborted = True
        if sequence.running:
            self._remove(sequence)
        else:
            self.waiting -= 1
            self._forget_aborted()

    def schedule(self) -> Step | None:
        """The next step; None when idle."""
        if not self.running:
            self._get_to_know()
        preempted = self._grow_decoding()
        fitting = self.spec.max_num_batched_tokens // self._verified
        decoding = self._decoding
        if len(decoding) > fitting:
            decoding = decoding[:fitting]
        budget = self.spec.max_num_batched_tokens - len(decoding) * self._verified
        prefills: list[tuple[Sequence, int]] = []
        if self._prefilling:
            budget, preempted = self._continue_prefills(budget, prefills, preempted)
        before = self._batch_before if prefills and self.spec.steps_ahead else None
        if self.waiting and not preempted:
            self._admit(budget, prefills)
        self._get_to_know()
        if not decoding and not prefills:
            return None
        self._batch_before = batch = self._batch(decoding, prefills)
        return Step(batch, decoding, prefills, self._verified, before)

    def _get_to_know(self) -> None:
        """Of whom came so far; the next step is put together with them."""
        for sequence in self._unknown:
            sequence.known = True
        self._unknown.clear()

    def finish(self, step: Step) -> list[Sequence]:
        """The step's end: the sequences that got tokens, oldest first.

        Each says how many in `new_tokens`, and `finished` when they were its last.
        """
        self.counters.steps += 1
        decoding = step.decoding
        if self._decoding is not decoding:
            decoding = [sequence for sequence in decoding if sequence.running]
        ended = self._decode(decoding)
        started = self._end_prefills(step.prefills)
        if ended:
            self._leave_decoding([sequence for sequence in decoding if sequence.finished])
        if started:
            self._start_decoding(started)
        return decoding + started

    def _decode(self, decoding: list[Sequence]) -> int:
        """Give each its token and its accepted drafts; returns how many ended. The hot loop."""
        drafted = self._verified - 1
        draws = self._acceptance.draw(len(decoding))
        produced = ended = 0
        grow = self._growing.append
        for sequence, accepted in zip(decoding, draws, strict=True):
            before = sequence.length
            length = before + 1 + accepted
            if length >= sequence.end:
                length = sequence.end
                sequence.finished = True
                ended += 1
            elif length + drafted > sequence.room:
                grow(sequence)
            sequence.length = length
            sequence.new_tokens = length - before
            produced += length - before
        self._context_tokens += produced
        self.counters.generated_tokens += produced
        if drafted:
            self._count_drafts(draws)
        return ended

    def _count_drafts(self, draws: list[int]) -> None:
        self.counters.drafts += len(draws)
        per_position = self.counters.accepted_per_position
        beyond = 0
        for position in range(len(per_position), 0, -1):
            beyond += draws.count(position)
            per_position[position - 1] += beyond

    def _end_prefills(self, prefills: list[tuple[Sequence, int]]) -> list[Sequence]:
        """Book the computed chunks; returns the sequences whose prompt is done: one token each."""
        started = []
        for sequence, chunk in prefills:
            sequence.computed += chunk
            if sequence.running and sequence.computed >= sequence.target:
                sequence.length += 1
                sequence.new_tokens = 1
                sequence.finished = sequence.length >= sequence.end
                started.append(sequence)
        self.counters.generated_tokens += len(started)
        return started

    def _start_decoding(self, started: list[Sequence]) -> None:
        self._prefilling = [s for s in self._prefilling if s.computed < s.target]
        self._decoding = self._decoding + started
        self._context_tokens += sum(sequence.length for sequence in started)
        drafted = self._verified - 1
        self._growing += [s for s in started if s.length + drafted > s.room]
        ended = [sequence for sequence in started if sequence.finished]
        if ended:
            self._leave_decoding(ended)

    def _grow_decoding(self) -> bool:
        """Pages for the decoding sequences that need more; whether one had to give up its own."""
        if not self._growing:
            return False
        growing, self._growing = self._growing, []
        before = self.counters.preemptions
        for sequence in growing:
            if sequence.running:
                drafted_length = sequence.length + self._verified - 1
                self._grow(sequence, min(drafted_length, sequence.end))
        return self.counters.preemptions > before

    def _continue_prefills(
        self, budget: int, prefills: list[tuple[Sequence, int]], preempted: bool
    ) -> tuple[int, bool]:
        """The next chunk of admitted prompts, as far as the budget goes."""
        for sequence in list(self._prefilling):
            chunk = min(budget, sequence.target - sequence.computed)
            if chunk == 0:
                break
            if not self._grow(sequence, sequence.computed + chunk):
                return budget, True
            prefills.append((sequence, chunk))
            budget -= chunk
        return budget, preempted

    def _admit(self, budget: int, prefills: list[tuple[Sequence, int]]) -> None:
        """Take sequences from the queue while budget, slots and pages for the whole prompt last."""
        queue, cache = self._queue, self.spec.cache
        while queue and budget > 0 and self.running < self.spec.max_num_seqs:
            sequence = queue[0]
            if sequence.aborted:
                queue.popleft()
                continue
            if not sequence.known or cache.pages_for(sequence.target) > self.free_pages:
                return
            queue.popleft()
            self._start(sequence)
            chunk = min(budget, sequence.target - sequence.computed)
            self._grow(sequence, sequence.computed + chunk)
            prefills.append((sequence, chunk))
            budget -= chunk

    def _start(self, sequence: Sequence) -> None:
        """Skip what the prefix cache holds.

        The hit rate is the share of tokens found, so it is not rounded to pages once more; the
        last prompt token is always computed, for it yields the first output. Shared pages count
        for every sequence that uses them, as in the planner's memory model.
        """
        hit = sequence.hit_tokens
        if hit is None:
            hit = int(sequence.prompt_tokens * self.spec.prefix_hit_rate)
        sequence.computed = min(hit, sequence.target - 1)
        sequence.running = True
        self.waiting -= 1
        self._prefilling.append(sequence)
        if sequence.preemptions == 0:
            sequence.cached_tokens = sequence.computed
            self.counters.prompt_tokens += sequence.prompt_tokens
            self.counters.cached_tokens += sequence.computed

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Pages for so many tokens, the newest sequences' if need be. False: it lost its own."""
        cache = self.spec.cache
        missing = cache.pages_for(tokens) - sequence.pages
        if missing <= 0:
            return True
        while missing > self.free_pages:
            newest = self._prefilling[-1] if self._prefilling else self._decoding[-1]
            self._preempt(newest)
            if newest is sequence:
                return False
        self.free_pages -= missing
        sequence.pages += missing
        sequence.room = -(-tokens // cache.page_tokens) * cache.page_tokens
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the head of the queue, without pages, all of it to be computed again."""
        self._remove(sequence)
        sequence.preemptions += 1
        sequence.target = sequence.length
        self.counters.preemptions += 1
        self._queue.appendleft(sequence)
        self.waiting += 1

    def _remove(self, sequence: Sequence) -> None:
        """Take one out of the running batch. Linear in the batch, as it seldom happens."""
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
            self._free(sequence)
        else:
            self._leave_decoding([sequence])

    def _leave_decoding(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            self._free(sequence)
            self._context_tokens -= sequence.length
        self._decoding = [sequence for sequence in self._decoding if sequence.running]

    def _free(self, sequence: Sequence) -> None:
        self.free_pages += sequence.pages
        sequence.pages = sequence.room = 0
        sequence.running = False

    def _forget_aborted(self) -> None:
        if len(self._queue) > 2 * self.waiting + FORGOTTEN_LIMIT:
            self._queue = deque(sequence for sequence in self._queue if not sequence.aborted)

    def _batch(self, decoding: list[Sequence], prefills: list[tuple[Sequence, int]]) -> StepBatch:
        whole = decoding is self._decoding
        context = self._context_tokens if whole else sum(s.length for s in decoding)
        if not prefills:
            return StepBatch(len(decoding), context)
        return StepBatch(
            decode_sequences=len(decoding),
            decode_context_tokens=context,
            prefill_tokens=sum(chunk for _, chunk in prefills),
            prefill_sequences=len(prefills),
            prefill_context_tokens=sum(c * (s.computed + c / 2) for s, c in prefills),
        )
