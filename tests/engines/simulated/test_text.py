from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.simulated.text import SLACK_TOKENS, WORDS, Tokenizer, word, word_id

tokenizer_of = cache(Tokenizer)


@given(st.integers(0, WORDS - 1))
def test_a_word_is_four_characters_and_names_its_token(token: int) -> None:
    assert len(word(token)) == 4
    assert word_id(word(token)) == token


@pytest.mark.parametrize("text", ["", " ab", "abcd", " aB1", " abcd"])
def test_other_text_is_no_word(text: str) -> None:
    assert word_id(text) is None


@given(st.text(max_size=60), st.sampled_from([50, 512, 248_320]))
def test_a_text_has_a_token_for_every_four_characters(text: str, vocab_size: int) -> None:
    tokenizer = tokenizer_of(vocab_size)
    tokens = tokenizer.encode(text)
    assert len(tokens) == tokenizer.count(text) == -(-len(text) // 4)
    assert all(0 <= token < vocab_size for token in tokens)
    assert tokens == tokenizer.encode(text)


@given(st.integers(0, 40_000), st.integers(0, SLACK_TOKENS), st.sampled_from([50, 512, 248_320]))
def test_generated_text_encodes_back_to_the_generated_ids(
    start: int, count: int, vocab_size: int
) -> None:
    tokenizer = tokenizer_of(vocab_size)
    text = tokenizer.output(start, start + count).decode()
    assert text == tokenizer.long_output(start, start + count)
    assert tokenizer.encode(text) == tokenizer.output_ids(start, start + count)


def test_decoding_gives_a_word_for_any_id() -> None:
    tokenizer = Tokenizer(248_320)
    assert len(tokenizer.decode([0, 5, 248_319])) == 12
