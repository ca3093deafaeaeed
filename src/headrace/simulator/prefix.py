"""What a replica's prefix cache still holds, written to be read. The quick core does the same.

Two kinds: prefixes that prompts share (a count of them is kept), and the conversations of users (as
many as the running sequences leave pages for). The least recently used goes first.
"""

from __future__ import annotations

from collections import OrderedDict

from headrace.scheduler.spec import CacheSpec


class SharedPrefixes:
    """Prefixes of groups; `most` of them, 0 for all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[int, None] = OrderedDict()

    def find(self, group: int) -> bool:
        """Whether the replica has it; it has it now."""
        found = group in self._kept
        self._kept[group] = None
        self._kept.move_to_end(group)
        if self._most and len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found


class Contexts:
    """What users have said and were answered: the pages of sequences that have ended.

    They lie in pages that no running sequence holds, and are given up when one needs them. That is
    looked at when a request comes in, not at every step between.
    """

    def __init__(self, cache: CacheSpec) -> None:
        self._cache = cache
        self._kept: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """By user: of which conversation, and how many tokens."""
        self._pages = 0

    def take(self, user: int, conversation: int, free_pages: int) -> int:
        """Tokens of this conversation in the cache; they are the coming request's now."""
        while self._pages > free_pages:
            _, (_, tokens) = self._kept.popitem(last=False)
            self._pages -= self._cache.pages_for(tokens)
        of, tokens = self._kept.get(user, (-1, 0))
        if of != conversation:
            return 0
        self._drop(user)
        return tokens

    def keep(self, user: int, conversation: int, tokens: int) -> None:
        """A sequence has ended; its pages are free, and still hold what they held."""
        self._drop(user)
        self._kept[user] = conversation, tokens
        self._pages += self._cache.pages_for(tokens)

    def _drop(self, user: int) -> None:
        if user in self._kept:
            self._pages -= self._cache.pages_for(self._kept.pop(user)[1])
