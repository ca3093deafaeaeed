"""A request as the scheduler follows it: one small mutable object from arrival to last token."""

from __future__ import annotations

from typing import Any


class Sequence:
    """One request. Made by its owner, changed only by the scheduler; lengths are in tokens.

    `payload` is the owner's own: the scheduler never looks at it. `length` is the prompt and all
    output so far, `end` the length at which it is done. `new_tokens` is what the last finished
    step produced. While it is in prefill, `computed` of `target` tokens are in the cache; after a
    preemption `target` includes the output that must be computed again. `hit_tokens`, where its
    owner knows them, are the prompt tokens in the cache already; else the spec's hit rate counts.
    `known` says whether the next step was put together after it came (`SchedulerSpec.steps_ahead`).
    """

    __slots__ = (
        "aborted",
        "cached_tokens",
        "computed",
        "end",
        "finished",
        "hit_tokens",
        "known",
        "length",
        "new_tokens",
        "pages",
        "payload",
        "preemptions",
        "prompt_tokens",
        "room",
        "running",
        "target",
    )

    def __init__(
        self,
        prompt_tokens: int,
        output_tokens: int,
        payload: Any = None,
        hit_tokens: int | None = None,
    ) -> None:
        self.hit_tokens = hit_tokens
        self.prompt_tokens = prompt_tokens
        self.payload = payload
        self.length = prompt_tokens
        self.end = prompt_tokens + output_tokens
        self.target = prompt_tokens
        self.new_tokens = 0
        self.computed = 0
        self.cached_tokens = 0
        self.pages = 0
        self.room = 0
        self.preemptions = 0
        self.known = True
        self.running = False
        self.finished = False
        self.aborted = False

    @property
    def generated(self) -> int:
        """Output tokens so far."""
        return self.length - self.prompt_tokens

    @property
    def is_first_output(self) -> bool:
        """Whether the last step's tokens hold the first one."""
        return self.length - self.new_tokens == self.prompt_tokens
