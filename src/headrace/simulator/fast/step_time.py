"""`StepModel.step_s` over plain arrays: the one place that a new field of it touches.

A test holds it against the model's own method, term by term in the same order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.perf.step import ONE_WAVE, StepModel
from headrace.simulator.fast.compiling import compiled

SCALARS = (
    "verified",
    "sample_s_per_row",
    "attention_s",
    "attention_s_per_context_token",
    "state_s_per_sequence",
    "prefill_attention_s_per_context_token",
    "prefill_state_s_per_token",
    "elementwise_s_per_token",
    "collective_s",
    "collective_s_per_token",
    "draft_s",
    "draft_s_per_sequence",
    "host_s",
    "host_s_per_sequence",
    "mixed_s",
    "launch_s",
    "piecewise_s",
    "unpadded_gemm",
    "mixed_state",
    "attention_waves_per_sequence",
)
(
    VERIFIED,
    SAMPLE,
    ATTENTION,
    ATTENTION_CONTEXT,
    STATE,
    PREFILL_ATTENTION,
    PREFILL_STATE,
    ELEMENTWISE,
    COLLECTIVE,
    COLLECTIVE_TOKEN,
    DRAFT,
    DRAFT_SEQUENCE,
    HOST,
    HOST_SEQUENCE,
    MIXED,
    LAUNCH,
    PIECEWISE,
    UNPADDED_GEMM,
    MIXED_STATE,
    ATTENTION_WAVES,
) = range(len(SCALARS))
"""Where each stands in a row of scalars."""
CURVES = ("grid", "gemm_s", "head_s")


class StepTimes(NamedTuple):
    """The coefficients of all models, a row for each."""

    scalars: NDArray[np.float64]
    curves: NDArray[np.float64]
    """Model x (grid, GEMM, head) x points; shorter grids are filled up by their last piece."""
    points: NDArray[np.int64]
    captured: NDArray[np.float64]
    """Model x sizes of CUDA graphs; shorter lists are filled up with their largest."""


def step_times(models: list[StepModel]) -> StepTimes:
    """The arrays of these models."""
    most = max(len(model.grid) for model in models)
    curves = np.zeros((len(models), len(CURVES), most))
    for row, model in zip(curves, models, strict=True):
        for line, name in zip(row, CURVES, strict=True):
            values = getattr(model, name)
            line[: len(values)] = values
    return StepTimes(
        scalars=np.array([[getattr(model, name) for name in SCALARS] for model in models]),
        curves=curves,
        points=np.array([len(model.grid) for model in models]),
        captured=_captured(models),
    )


def _captured(models: list[StepModel]) -> NDArray[np.float64]:
    """Zero where nothing is captured."""
    most = max([1, *(len(model.captured) for model in models)])
    sizes = np.zeros((len(models), most))
    for row, model in zip(sizes, models, strict=True):
        row[: len(model.captured)] = model.captured
        row[len(model.captured) :] = model.captured[-1] if model.captured else 0.0
    return sizes


@compiled
def interpolated(grid, values, points, x):
    """As `perf.step.interpolated`."""
    if x <= grid[0]:
        return values[0]
    low, high = 0, points
    while low < high:
        middle = (low + high) // 2
        if grid[middle] < x:
            low = middle + 1
        else:
            high = middle
    right = min(low, points - 1)
    left = right - 1
    share = (x - grid[left]) / (grid[right] - grid[left])
    return values[left] + share * (values[right] - values[left])


@compiled
def padded(captured, tokens):
    """As `perf.step.padded`."""
    if tokens > captured[-1]:
        return tokens
    low, high = 0, len(captured)
    while low < high:
        middle = (low + high) // 2
        if captured[middle] < tokens:
            low = middle + 1
        else:
            high = middle
    return captured[low]


@compiled
def step_s(times, model, decoding, context, prompt, prompts, prompt_context, spare):
    """Seconds of a step, and those that it leaves the host to launch the next (`spare_s`).

    The five before `spare` are the fields of a `StepBatch`, in its order.
    """
    c = times.scalars[model]
    grid, points = times.curves[model, 0], times.points[model]
    decoded = decoding * c[VERIFIED]
    sizes = times.captured[model]
    tokens = padded(sizes, decoded + prompt)
    rows = decoded + prompts
    mixed = prompts / (prompts + 0.05)
    total = interpolated(grid, times.curves[model, 1], points, tokens)
    if tokens > sizes[-1]:
        total *= c[UNPADDED_GEMM]
    total += interpolated(grid, times.curves[model, 2], points, rows) + c[SAMPLE] * rows
    waves = decoding * c[ATTENTION_WAVES]
    reading = c[ATTENTION_CONTEXT] * (math.ceil(waves - 1e-9) / waves if waves > ONE_WAVE else 1.0)
    total += c[ATTENTION] + reading * context + c[PREFILL_ATTENTION] * prompt_context
    total += c[STATE] * (1 + (c[MIXED_STATE] - 1) * mixed) * decoding
    total += c[PREFILL_STATE] * prompt
    total += c[ELEMENTWISE] * tokens
    total += c[COLLECTIVE] + c[COLLECTIVE_TOKEN] * tokens
    total += c[DRAFT] + c[DRAFT_SEQUENCE] * decoding
    launching = c[LAUNCH] if tokens > sizes[-1] else c[PIECEWISE] * mixed
    left = max(0.0, total - launching)
    total += max(0.0, launching - spare - total)
    total += c[HOST] + c[HOST_SEQUENCE] * decoding + c[MIXED] * mixed
    return total, left
