"""A toy tokenizer, so that what a simulated engine writes can be counted.

Every token is four characters. Generated text is made of words of a space and three letters, one
word per token, and encodes back to the same ids; other text is cut every four characters, and each
piece gets an id by its checksum. A prompt of n characters therefore has ceil(n / 4) tokens.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

CHARACTERS = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = len(LETTERS) ** 3
SLACK_TOKENS = 256
"""Tokens that one slice of the output table can hold wherever it starts."""


def word(token: int) -> str:
    """The word of a token id, which must be below WORDS."""
    rest, first = divmod(token, 26)
    third, second = divmod(rest, 26)
    return f" {LETTERS[first]}{LETTERS[second]}{LETTERS[third]}"


def word_id(text: str) -> int | None:
    """The inverse of `word`; None for any other text."""
    if len(text) != CHARACTERS or text[0] != " ":
        return None
    places = [LETTERS.find(letter) for letter in text[1:]]
    return None if -1 in places else places[0] + 26 * places[1] + 676 * places[2]


class Tokenizer:
    """Ids below `vocab_size`; the i-th generated token of every answer is the same."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.words = min(WORDS, vocab_size)
        period = "".join(map(word, range(self.words))).encode()
        repeats = -(-SLACK_TOKENS // self.words)
        self._output = period * (1 + repeats)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return -(-len(text) // CHARACTERS)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        pieces = (text[i : i + CHARACTERS] for i in range(0, len(text), CHARACTERS))
        return [self._id(piece) for piece in pieces]

    def decode(self, tokens: Iterable[int]) -> str:
        """A word for every token; text that was not made of words does not come back."""
        return "".join(word(token % self.words) for token in tokens)

    def output(self, start: int, end: int) -> bytes:
        """Text of generated tokens start..end, at most SLACK_TOKENS of them."""
        first = start % self.words * CHARACTERS
        return self._output[first : first + (end - start) * CHARACTERS]

    def long_output(self, start: int, end: int) -> str:
        """Text of any number of generated tokens."""
        return self.decode(self.output_ids(start, end))

    def output_ids(self, start: int, end: int) -> list[int]:
        """Ids of generated tokens start..end."""
        return [token % self.words for token in range(start, end)]

    def _id(self, piece: str) -> int:
        known = word_id(piece)
        if known is not None and known < self.words:
            return known
        return zlib.crc32(piece.encode("utf-8", "surrogatepass")) % self.vocab_size
