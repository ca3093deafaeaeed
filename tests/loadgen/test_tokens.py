"""A real tokenizer from a folder, made here."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from headrace.errors import HeadraceError, InputError
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.spec import BenchSpec, make_spec
from headrace.loadgen.tokens import counter, find_words
from headrace.loadgen.words import COMMON
from tests.loadgen.test_input import VALUES

NOWHERE = Endpoint("127.0.0.1", 9, False, "", "127.0.0.1")


def spec(folder: Path, words: tuple[str, ...]) -> BenchSpec:
    vocabulary = {word: place for place, word in enumerate(["?", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("e", "isolated")]
        if len(words) < 50
        else [pre_tokenizers.WhitespaceSplit()]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return make_spec(**{**VALUES, "tokenizer": str(folder)})


def test_words_and_counts_of_a_local_tokenizer(tmp_path: Path) -> None:
    told = spec(tmp_path, COMMON)
    count = counter(told, NOWHERE, None)
    assert count is not None
    assert count("time year  people") == 3
    words = find_words(told, NOWHERE, None)
    assert words is not None
    assert len(words.words) == len(COMMON)


def test_words_of_several_tokens_are_left_out(tmp_path: Path) -> None:
    words = find_words(spec(tmp_path, COMMON[:40]), NOWHERE, None)
    assert words is not None
    assert "year" not in words.words
    assert "day" in words.words


def test_no_tokenizer_there(tmp_path: Path) -> None:
    told = make_spec(**{**VALUES, "tokenizer": str(tmp_path)})
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        counter(told, NOWHERE, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="no tokenizer"):
        counter(told, NOWHERE, None)


def test_a_server_without_tokenize_says_so() -> None:
    told = make_spec(**{**VALUES, "tokenizer": "server"})
    count = counter(told, NOWHERE, None)
    assert count is not None
    with pytest.raises(HeadraceError, match="cannot reach"):
        count("x")
