"""Known ways to measure, by name."""

from __future__ import annotations

from headrace.errors import InputError
from headrace.spec.lengths import AnyLengths, Fixed, Uniform

RANGE = 0.8


def inferencemax(
    prompt: AnyLengths, answer: AnyLengths, concurrency: int | None
) -> dict[str, object]:
    """InferenceMAX: lengths evenly from 0.8 of the given ones up to them, ten requests for each
    place of the concurrency, all places filled at once, every answer to its full length.

    Source: the benchmark client configuration in the project's README (range ratio 0.8, prompts =
    10 x concurrency, request rate inf, ignore-eos).
    """
    if concurrency is None:
        raise InputError("--preset inferencemax: expected --concurrency or --sweep")
    if not isinstance(prompt, Fixed) or not isinstance(answer, Fixed):
        raise InputError("--preset inferencemax: it spreads the lengths itself; give numbers")
    return {
        "input_tokens": _spread(prompt.tokens),
        "output_tokens": _spread(answer.tokens),
        "requests": 10 * concurrency,
        "duration_s": None,
        "start": "together",
        "ignore_eos": True,
    }


def _spread(tokens: int) -> Uniform:
    return Uniform(low=max(1, int(RANGE * tokens)), high=tokens)


PRESETS = {"inferencemax": inferencemax}
