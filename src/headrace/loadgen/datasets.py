"""Reads datasets and traces of other tools into samples.

ShareGPT conversations (JSON), Mooncake traces (JSONL), BurstGPT (CSV), and any JSONL whose fields
have usual names or are named. What is wrong with a file is said with its line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from io import StringIO
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from headrace.errors import InputError
from headrace.loadgen.samples import Sample

FORMATS = ("sharegpt", "mooncake", "burstgpt", "jsonl")
TEXT_FIELDS = ("prompt", "text", "question", "instruction", "input")
INPUT_FIELDS = ("input_tokens", "input_length", "prompt_tokens", "prompt_len", "isl")
OUTPUT_FIELDS = (
    *("output_tokens", "output_length", "completion_tokens", "output_len", "max_tokens", "osl"),
)
TIME_FIELDS = ("at_s", "timestamp_s", "timestamp", "arrival_time")
Count = Callable[[str], int]


def load_dataset(path: Path, kind: str, count: Count | None) -> list[Sample]:
    """The samples of a file. `count` counts a text's tokens; without it lengths stay unknown.

    Raises InputError that names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--dataset {path}: {_why(error)}", hint="expected a text file") from error
    chosen = _guess(text) if kind == "auto" else kind
    samples = list(READERS[chosen](path, text, count))
    if not samples:
        raise InputError(f"--dataset {path}: no usable sample in it", hint=f"read as {chosen}")
    return _from_zero(samples)


def _why(error: Exception) -> str:
    return error.strerror or "not readable" if isinstance(error, OSError) else "not UTF-8"


def _guess(text: str) -> str:
    """The format, from the first bytes."""
    head = text.lstrip()[:4096]
    if head.startswith("["):
        return "sharegpt"
    if not head.startswith("{"):
        return "burstgpt"
    first = head.splitlines()[0]
    if '"hash_ids"' in first:
        return "mooncake"
    return "sharegpt" if '"conversations"' in first else "jsonl"


def _from_zero(samples: list[Sample]) -> list[Sample]:
    """Times count from the first request, in order."""
    ordered = sorted(samples, key=lambda sample: sample.at_s)
    start_s = ordered[0].at_s
    return [Sample(**{**vars(s), "at_s": s.at_s - start_s}) for s in ordered]


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"{path}:{number}: expected an object")
        yield number, found


def _whole(path: Path, number: int, found: dict[str, Any], name: str) -> int:
    return int(_number(path, number, found, name))


def _number(path: Path, number: int, found: dict[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InputError(f"{path}:{number}: {name}: expected a number, got {value!r}")
    return float(value)


def _sharegpt(path: Path, text: str, count: Count | None) -> Iterator[Sample]:
    """Conversations as `{"conversations": [{"from": "human", "value": ...}, ...]}`."""
    if text.lstrip().startswith("["):
        try:
            entries = list(enumerate(orjson.loads(text), 1))
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}: not JSON: {error}") from error
    else:
        entries = list(_objects(path, text))
    for number, entry in entries:
        turns = entry.get("conversations", entry.get("conversation", []))
        if not isinstance(turns, list):
            raise InputError(f"{path}: entry {number}: conversations: expected a list")
        sample = _conversation(turns, count)
        if sample is not None:
            yield sample


def _conversation(turns: list[Any], count: Count | None) -> Sample | None:
    before: list[dict[str, Any]] = []
    said: list[str] = []
    answers: list[int] = []
    for turn in turns:
        who = str(turn.get("from", turn.get("role", ""))).lower()
        words = turn.get("value", turn.get("content", ""))
        if not isinstance(words, str) or not words.strip():
            continue
        if who in ("human", "user") and len(said) == len(answers):
            said.append(words)
        elif who in ("gpt", "assistant", "chatgpt", "bing", "bard") and len(answers) < len(said):
            answers.append(count(words) if count else 0)
        elif who == "system" and not said:
            before.append({"role": "system", "content": words})
    said = said[: len(answers)]
    if not said:
        return None
    return Sample(
        prompt_tokens=count(said[0]) if count and not before else 0,
        answer_tokens=answers,
        said=said,
        messages=before,
    )


def _mooncake(path: Path, text: str, count: Count | None) -> Iterator[Sample]:  # noqa: ARG001
    """`{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}` a line."""
    for number, found in _objects(path, text):
        prompt = _whole(path, number, found, "input_length")
        answer = _whole(path, number, found, "output_length")
        blocks = found.get("hash_ids", [])
        if not isinstance(blocks, list) or not all(isinstance(b, int) for b in blocks):
            raise InputError(f"{path}:{number}: hash_ids: expected a list of numbers")
        if prompt and answer:
            at_s = _whole(path, number, found, "timestamp") / 1e3
            yield Sample(prompt_tokens=prompt, answer_tokens=[answer], at_s=at_s, blocks=blocks)


BURST_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def _burstgpt(path: Path, text: str, count: Count | None) -> Iterator[Sample]:  # noqa: ARG001
    """CSV with the columns Timestamp, Request tokens and Response tokens; failures have 0."""
    rows = csv.reader(StringIO(text))
    names = next(rows, [])
    missing = [name for name in BURST_COLUMNS if name not in names]
    if missing:
        raise InputError(
            f"{path}:1: no column {missing[0]!r}",
            hint=f"expected a BurstGPT CSV, or name the format: --dataset-format {FORMATS}",
        )
    columns = itemgetter(*map(names.index, BURST_COLUMNS))
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            at_s, prompt, answer = map(float, columns(row))
        except (IndexError, ValueError) as error:
            raise InputError(f"{path}:{number}: expected numbers in {BURST_COLUMNS}") from error
        if prompt >= 1 and answer >= 1:
            yield Sample(prompt_tokens=int(prompt), answer_tokens=[int(answer)], at_s=at_s)


def _jsonl(path: Path, text: str, count: Count | None) -> Iterator[Sample]:
    """A prompt, messages or an input length a line; perhaps an output length and a time."""
    for number, found in _objects(path, text):
        answer = _first(found, OUTPUT_FIELDS)
        answers = [_whole(path, number, found, answer)] if answer else []
        clock = _first(found, TIME_FIELDS)
        at_s = (
            float(_whole(path, number, {clock: found[clock] * 1000}, clock)) / 1e3 if clock else 0.0
        )
        yield _line(path, number, found, count, answers, at_s)


def _line(
    path: Path,
    number: int,
    found: dict[str, Any],
    count: Count | None,
    answers: list[int],
    at_s: float,
) -> Sample:
    known = _first(found, INPUT_FIELDS)
    length = _whole(path, number, found, known) if known else 0
    messages = found.get("messages")
    if isinstance(messages, list) and messages:
        return Sample(length, answers, at_s, messages=messages)
    name = _first(found, TEXT_FIELDS)
    prompt = found[name] if name else None
    if isinstance(prompt, str) and prompt:
        return Sample(count(prompt) if count else 0, answers, at_s, said=[prompt])
    if isinstance(prompt, list) and prompt and all(isinstance(token, int) for token in prompt):
        return Sample(len(prompt), answers, at_s, ids=prompt)
    if not length:
        raise InputError(
            f"{path}:{number}: neither a prompt nor a length in it",
            hint=f"expected one of {', '.join((*TEXT_FIELDS, 'messages', *INPUT_FIELDS))}",
        )
    return Sample(length, answers, at_s)


def _first(found: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if found.get(name) is not None), None)


READERS: dict[str, Callable[[Path, str, Count | None], Iterator[Sample]]] = {
    "sharegpt": _sharegpt,
    "mooncake": _mooncake,
    "burstgpt": _burstgpt,
    "jsonl": _jsonl,
}


def check_samples(samples: list[Sample], path: Path, *, chat: bool) -> None:
    """Whether samples can be sent as asked. Raises InputError that says how they can."""
    if not chat and any(sample.messages for sample in samples):
        raise InputError(f"--dataset {path}: it holds chats", hint="pass --endpoint chat")
    if chat and any(sample.ids for sample in samples):
        raise InputError(
            f"--dataset {path}: a chat takes no token ids", hint="pass --endpoint completions"
        )
