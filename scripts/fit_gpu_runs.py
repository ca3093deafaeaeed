"""Fit the calibrations of H100 to the loads under benchmarks/gpu/results, and leave each one out.

    python scripts/fit_gpu_runs.py

Row-wise and block-wise FP8 share the host's and the kernels' constants; what steps outside of CUDA
graphs cost the block-wise kernel is its own. Prints the figures as they stand in
`perf/calibrations.toml`, then for every load the errors of the fit and those of constants that were
fitted without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from headrace.errors import InputError
from headrace.perf.constants import Constants, load_constants
from headrace.perf.fit import fit
from headrace.perf.gemm import Floats
from headrace.validation.predict import Case
from headrace.validation.runs import case_of_run

RESULTS = Path(__file__).parents[1] / "benchmarks/gpu/results"
MODELS = {
    "qwen35-27b-fp8": "Qwen/Qwen3.5-27B-FP8",
    "qwen35-27b-fp8-rowwise": "headrace/Qwen3.5-27B-FP8-rowwise",
}
"""The sittings' folders of configs, and the packaged ones."""
CHANNEL, BLOCK = "vllm-0.26-hybrid-H100-fp8_channel", "vllm-0.26-hybrid-H100-fp8_block"
START = np.array([1.0, 1.0, 1.0, 2.0])
"""kernel_time, mixed_s in 10 ms, launch_s in 100 ms, unpadded_gemm."""


def loads(constants: Constants) -> Iterator[Case]:
    """All valid loads of Qwen3.5-27B."""
    for folder in sorted(RESULTS.glob("*/*/load-*")):
        fleet = yaml.safe_load((folder / "fleet.yaml").read_text(encoding="utf-8"))
        try:
            case = case_of_run(folder, constants, model=MODELS[Path(fleet["model"]).name])
        except (InputError, KeyError):
            continue
        yield replace(case, id="/".join(folder.parts[-3:]))


def measured_cases(constants: Constants) -> list[Case]:
    """Those that the two calibrations cover."""
    covered = (CHANNEL, BLOCK)
    return [case for case in loads(constants) if case.calibration(constants).name in covered]


def with_values(constants: Constants, values: Floats) -> Constants:
    """The packaged constants with these in the two calibrations."""
    kernel_time, mixed, launch, unpadded = (float(value) for value in values)
    shared = {"kernel_time": kernel_time, "mixed_s": mixed / 100, "launch_s": launch / 10}
    own = {CHANNEL: shared, BLOCK: {**shared, "unpadded_gemm": max(unpadded, 1.0)}}
    changed = tuple(one.model_copy(update=own.get(one.name, {})) for one in constants.calibration)
    return constants.model_copy(update={"calibration": changed})


def errors(cases: list[Case], constants: Constants) -> Floats:
    """Relative errors of TPOT and throughput, two per case."""
    found: list[float] = []
    for case in cases:
        predicted, measured = case.predict(constants), case.measured
        assert measured.tpot_ms is not None
        assert measured.total_tok_s is not None
        found.append(predicted.tpot_ms / measured.tpot_ms - 1)
        found.append(predicted.total_tok_s / measured.total_tok_s - 1)
    return np.array(found)


def fitted(cases: list[Case], constants: Constants, start: Floats) -> Floats:
    """The constants for these cases."""
    return fit(lambda values: errors(cases, with_values(constants, values)), start)


def main() -> None:
    constants = load_constants()
    cases = measured_cases(constants)
    values = fitted(cases, constants, START)
    names = ("kernel_time", "mixed_s", "launch_s", "unpadded_gemm")
    for name, value in zip(names, values / np.array([1, 100, 10, 1]), strict=True):
        print(f"{name} = {value:.4g}")
    of_fit = errors(cases, with_values(constants, values)).reshape(-1, 2)
    print(f"residual = {np.abs(of_fit[:, 0]).mean():.3f}\n")
    print(f"{'fit TPOT':>62s}   tok/s | left out TPOT   tok/s")
    for index, case in enumerate(cases):
        rest = cases[:index] + cases[index + 1 :]
        without = with_values(constants, fitted(rest, constants, values))
        (tpot, rate), (left_tpot, left_rate) = of_fit[index], errors([case], without)
        print(f"{case.id:54s} {tpot:+7.1%} {rate:+7.1%} |  {left_tpot:+11.1%} {left_rate:+7.1%}")


if __name__ == "__main__":
    main()
