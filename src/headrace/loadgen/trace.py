"""A file of requests as the workload of a plan: lengths, rate, and what follows what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError
from headrace.loadgen.datasets import load_dataset
from headrace.loadgen.samples import BLOCK_TOKENS, Sample
from headrace.loadgen.tokens import local_counter
from headrace.spec.trace import Traced

SAMPLE = 1024
"""Requests that stand for the file."""
COMMON_SHARE = 0.01
"""Blocks that so many of all requests begin with are in every replica's cache."""
LENGTHS = "add its length in tokens (input_tokens or output_tokens in JSONL)"

Count = Callable[[str], int]


@dataclass(frozen=True)
class _Request:
    prompt: int
    output: int
    known: int
    common: int
    age: float


def read_trace(path: Path, kind: str, model: Path) -> Traced:
    """What a plan needs to know of a file of requests.

    Texts are counted with the `tokenizer.json` of `model`, where that is a folder which has one.
    Raises InputError that names the file and the row.
    """
    count = local_counter(model) if (model / "tokenizer.json").is_file() else None
    samples = load_dataset(path, kind, count)
    requests = list(_followed(samples, path, count))
    return Traced(
        requests=len(requests),
        request_s=_rate(samples, len(requests)),
        chat=any(sample.messages or len(sample.said) > 1 for sample in samples),
        longest_tokens=max(r.prompt + r.output for r in requests),
        **_columns(_evenly(requests)),
    )


def _rate(samples: list[Sample], requests: int) -> float | None:
    """Requests per second from the first to the last; None where the file has no times."""
    span_s = samples[-1].at_s
    return requests * (1 - 1 / len(samples)) / span_s if span_s > 0 else None


def _evenly(requests: list[_Request]) -> list[_Request]:
    """As many as a plan takes, every so-manyth by length, so that means are nearly exact."""
    ordered = sorted(requests, key=lambda r: (r.prompt + r.output, r.prompt))
    if len(ordered) <= SAMPLE:
        return ordered
    return [ordered[int((place + 0.5) * len(ordered) / SAMPLE)] for place in range(SAMPLE)]


def _columns(requests: list[_Request]) -> dict[str, list[int]]:
    names = {"prompts": "prompt", "outputs": "output", "known": "known", "common": "common"}
    names["ages"] = "age"
    return {name: [getattr(r, field) for r in requests] for name, field in names.items()}


def _followed(samples: list[Sample], path: Path, count: Count | None) -> Iterator[_Request]:
    """Every request in order of time, with what was sent before it and how long ago.

    A block is as old as the tokens that were written since a request last had it; the oldest of a
    prompt's known blocks counts for all of them.
    """
    popular = _popular(samples)
    seen: dict[int, float] = {}
    written = 0.0
    for number, sample in enumerate(samples, 1):
        for turn, (prompt, before, output) in enumerate(_turns(sample, path, number, count)):
            run = _leading(sample.blocks, seen)
            known = min(prompt - 1, before + run * BLOCK_TOKENS)
            age = written - seen[sample.blocks[run - 1]] if run else 0.0
            common = min(known, _leading(sample.blocks, popular) * BLOCK_TOKENS)
            yield _Request(prompt, output, known, common if turn == 0 else 0, age)
            written += prompt - known + output
            seen.update(dict.fromkeys(sample.blocks, written))


def _popular(samples: list[Sample]) -> dict[int, int]:
    """Blocks that many requests have, by number."""
    counts = Counter(block for sample in samples for block in set(sample.blocks))
    least = max(2.0, COMMON_SHARE * len(samples))
    return {block: times for block, times in counts.items() if times >= least}


def _leading(blocks: list[int], known: dict[int, float] | dict[int, int]) -> int:
    """How many blocks at the beginning are known."""
    return next((place for place, block in enumerate(blocks) if block not in known), len(blocks))


def _turns(
    sample: Sample, path: Path, number: int, count: Count | None
) -> Iterator[tuple[int, int, int]]:
    """Prompt, what of it was said before, and answer of each turn, in tokens."""
    first = sample.prompt_tokens or _counted(sample, count)
    before = 0
    for turn in range(max(1, len(sample.said))):
        added = first if turn == 0 else count(sample.said[turn]) if count else 0
        output = sample.answer_tokens[turn] if turn < len(sample.answer_tokens) else 0
        if added < 1 or output < 1:
            raise _unknown(path, number, "prompt" if added < 1 else "answer", sample)
        prompt = before + added
        yield prompt, before, output
        before = prompt + output


def _counted(sample: Sample, count: Count | None) -> int:
    """Tokens of the texts that are sent first."""
    if count is None:
        return 0
    texts = [message.get("content") for message in sample.messages] + sample.said[:1]
    return sum(count(text) for text in texts if isinstance(text, str))


def _unknown(path: Path, number: int, which: str, sample: Sample) -> InputError:
    text = sample.said or sample.messages
    hint = f"{LENGTHS}, or name a model folder that has a tokenizer.json" if text else LENGTHS
    said = f"{path}: request {number} in order of time: how long its {which} is, is not known"
    return InputError(said, hint=hint)
