"""Counts tokens as the model does: by a tokenizer in a local folder, or by the server itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from headrace.errors import HeadraceError, InputError
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.preflight import post
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.words import COMMON, Words

SERVER = "server"
INSTALL = "install it: pip install 'headrace[tokenizer]', or pass --tokenizer server"
FEWEST = 20
"""Words of one token each that a vocabulary must have for prompts to differ."""


def counter(spec: BenchSpec, endpoint: Endpoint, key: str | None) -> Callable[[str], int] | None:
    """Counts a text's tokens; None without a tokenizer. Raises InputError when it has none."""
    if spec.tokenizer is None:
        return None
    if spec.tokenizer == SERVER:
        return lambda text: _asked(spec, endpoint, key, {"prompt": text})
    return local_counter(Path(spec.tokenizer))


def local_counter(folder: Path) -> Callable[[str], int]:
    """Counts by the tokenizer.json of a folder. Raises InputError when it has none."""
    tokenizer = _local(folder)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def find_words(spec: BenchSpec, endpoint: Endpoint, key: str | None) -> Words | None:
    """Words of one token each, and what the server adds to a prompt; None without a tokenizer.

    Raises InputError when the tokenizer cannot be read, HeadraceError when the server has no
    /tokenize.
    """
    count = counter(spec, endpoint, key)
    if count is None:
        return None
    with ThreadPoolExecutor(max_workers=8) as pool:
        alone = pool.map(lambda word: _is_single(word, count), COMMON)
        singles = [word for word, single in zip(COMMON, alone, strict=True) if single]
    if len(singles) < FEWEST:
        raise HeadraceError(
            f"--tokenizer {spec.tokenizer}: only {len(singles)} of {len(COMMON)} common words are "
            "one token",
            hint="leave the option out: prompts are then sent as token ids",
        )
    return Words(singles, _overhead(spec, endpoint, key, singles))


def _is_single(word: str, count: Callable[[str], int]) -> bool:
    """One token more for each further occurrence, wherever it stands."""
    return count(f"{word} {word} {word}") == 3 and count(word) == 1


def _overhead(spec: BenchSpec, endpoint: Endpoint, key: str | None, words: list[str]) -> int:
    """Tokens that the chat template or a leading special token adds."""
    if spec.tokenizer != SERVER:
        return 0
    text = " ".join(words[:8])
    body: dict[str, Any] = {"prompt": text}
    if spec.endpoint == "chat":
        body = {"messages": [{"role": "user", "content": text}]}
    return max(0, _asked(spec, endpoint, key, body) - 8)


def _asked(spec: BenchSpec, endpoint: Endpoint, key: str | None, body: dict[str, Any]) -> int:
    status, answer = post(endpoint, "/tokenize", {"model": spec.model, **body}, key)
    try:
        found = orjson.loads(answer)["count"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = None
    if status != 200 or not isinstance(found, int):
        raise HeadraceError(
            f"{endpoint.origin}/tokenize does not count tokens (status {status})",
            hint="name a folder that holds the model's tokenizer.json with --tokenizer",
        )
    return found


def _local(folder: Path) -> Any:
    path = folder / "tokenizer.json" if folder.is_dir() else folder
    if not path.is_file():
        raise InputError(f"--tokenizer {folder}: no tokenizer.json there")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError("--tokenizer: the tokenizers package is missing", hint=INSTALL) from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises Exception itself
        raise InputError(f"{path}: no tokenizer: {error}") from error
