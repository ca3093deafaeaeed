"""Other checkpoints of the same model as a lever: what each would gain, and at what risk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import InfeasibleError, InputError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.constants import Constants
from headrace.planner.find import Found, find
from headrace.planner.plan import CheckpointRow
from headrace.planner.search import INDIFFERENCE
from headrace.spec.fleet import Fleet

FOUR_BIT = frozenset({"nvfp4", "mxfp4", "int4"})

WORDS: dict[str, str] = {
    "bf16": "BF16",
    "fp16": "FP16",
    "fp8_block": "FP8, scaled by 128 x 128 blocks",
    "fp8_channel": "FP8, scaled by row and token",
    "fp8_tensor": "FP8, one scale per matrix",
    "int8": "INT8",
    "nvfp4": "NVFP4",
    "mxfp4": "MXFP4",
    "int4": "INT4",
}
CAVEATS: dict[str, str] = {
    "fp8_block": "rounds weights and activations to 8 bits",
    "fp8_channel": "rounds to 8 bits, and one outlier coarsens a whole row",
    "fp8_tensor": "rounds to 8 bits, and one outlier coarsens a whole matrix",
    "int8": "rounds to 8 bits",
    "nvfp4": "rounds to 4 bits",
    "mxfp4": "rounds to 4 bits",
    "int4": "rounds to 4 bits",
}
"""What a format does to the numbers. How much a task suffers, only the task's own metric says."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as the fleet file names it."""

    model: str
    facts: ModelFacts


@dataclass(frozen=True)
class Best:
    """The chosen checkpoint's search, and a row for every checkpoint that there was to choose."""

    found: Found
    rows: list[CheckpointRow]


def require_same_model(own: ModelFacts, other: ModelFacts) -> None:
    """Raises InputError for what is not the same model in other numbers."""
    for name in ("architecture", "hidden_size", "layers", "vocab_size", "parameters"):
        mine, its = getattr(own, name), getattr(other, name)
        if mine != its:
            raise InputError(
                f"{other.name} is another model than {own.name}: {name} is {its}, not {mine}",
                hint="checkpoints are the same model in another number format",
            )


def choose(
    fleet: Fleet, own: Checkpoint, others: Sequence[Checkpoint], gpu: Gpu, constants: Constants
) -> Best:
    """The best checkpoint by the fleet's goal; the file's `model` among equals.

    Weights of 4 bits are left out of the choice where none were measured on this GPU: kernels for
    them have run at less than half of the speed that data sheets promise. Raises InfeasibleError
    as `find` where no checkpoint keeps the goals.
    """
    found: dict[str, Found] = {}
    refused: dict[str, str] = {}
    first: InfeasibleError | None = None
    for checkpoint in (own, *others):
        try:
            placed = fleet.model_copy(update={"model": checkpoint.model})
            found[checkpoint.model] = find(placed, checkpoint.facts, gpu, constants)
        except InfeasibleError as error:
            refused[checkpoint.model], first = str(error), first or error
    for checkpoint in others:
        guess = _guess(found.get(checkpoint.model), checkpoint.facts, gpu)
        if guess:
            refused[checkpoint.model] = guess
    allowed = {model: each for model, each in found.items() if model not in refused}
    if not allowed:
        raise first or InfeasibleError("no checkpoint may be chosen")
    chosen = _best(allowed, fleet.goal, own.model)
    rows = [_row(checkpoint, found, refused, own.model, chosen) for checkpoint in (own, *others)]
    return Best(found[chosen], rows if others else [])


def _guess(found: Found | None, facts: ModelFacts, gpu: Gpu) -> str | None:
    """Why a prediction is too much of a guess to decide by."""
    if found is None or facts.weights_dtype not in FOUR_BIT:
        return None
    if f"{gpu.name}/{facts.weights_dtype}" in found.evaluator.calibration.measured:
        return None
    return (
        f"left out of the choice: {WORDS[facts.weights_dtype]} of this model family was not "
        f"measured on {gpu.name}. Data sheets promise a gain where one engine measured less than "
        "half of FP8's speed; run it, and `headrace calibrate` the run"
    )


def _best(allowed: dict[str, Found], goal: str, own: str) -> str:
    worth = {model: _worth(found, goal) for model, found in allowed.items()}
    best = max(worth, key=lambda model: worth[model])
    near = own in worth and worth[own] >= worth[best] * (1 - INDIFFERENCE)
    return own if near else best


def _worth(found: Found, goal: str) -> float:
    """More is better: tokens per GPU, tokens per paid GPU, or fewer GPUs for the rate."""
    if goal == "throughput":
        return found.chosen.total_tok_s_per_gpu
    if found.evaluator.request_s is None:
        return found.chosen.total_tok_s
    gpus = found.chosen.gpus if goal == "fewest-gpus" else found.evaluator.fleet.hardware.gpus
    return 1 / gpus


def _row(
    checkpoint: Checkpoint,
    found: dict[str, Found],
    refused: dict[str, str],
    own: str,
    chosen: str,
) -> CheckpointRow:
    ran = found.get(checkpoint.model)
    speed = ran.full.total_tok_s_per_gpu if ran else None
    base = found[own].full.total_tok_s_per_gpu if own in found else None
    dtype = checkpoint.facts.weights_dtype
    return CheckpointRow(
        model=checkpoint.model,
        weights_dtype=dtype,
        chosen=checkpoint.model == chosen,
        total_tok_s_per_gpu=speed,
        gain=speed / base - 1 if speed and base and checkpoint.model != own else None,
        reason=refused.get(checkpoint.model),
        caveat=CAVEATS.get(dtype),
    )


def reasons(rows: Sequence[CheckpointRow]) -> list[str]:
    """The choice in words, accuracy's risk included."""
    if not rows:
        return []
    chosen = next(row for row in rows if row.chosen)
    lines = [f"checkpoint {chosen.model} ({WORDS[chosen.weights_dtype]}){_gain(chosen)}"]
    lines += [
        f"checkpoint {row.model} ({WORDS[row.weights_dtype]}){_gain(row)}"
        + (f": {row.reason}" if row.reason else "")
        for row in rows
        if not row.chosen
    ]
    if chosen.caveat:
        lines.append(
            f"{WORDS[chosen.weights_dtype]} {chosen.caveat}: check your own accuracy metric "
            "before keeping it"
        )
    return lines


def _gain(row: CheckpointRow) -> str:
    return "" if row.gain is None else f" {100 * row.gain:+.1f} % tok/s per GPU, predicted"
