"""Fit the calibrations of Hopper GPUs to the loads of the sittings, and leave each one out.

    python scripts/fit_gpu_runs.py

The loads are those under benchmarks/gpu/results. The host's constants are shared by all, in
machines whose cores differ (`HOSTS`). Each GPU has its kernels' time over the tables'; on the H200
states of drafted sequences have their own, which comes out as a profile of the H100 has it, and so
have GEMMs of weights that are not near zero, under which it reaches its limit of power. What steps
outside of CUDA graphs cost CUTLASS's block-wise kernel is its own. Prints the figures as
they stand in `perf/calibrations.toml`, then for every load the errors of the fit and those of
constants that were fitted without it; last the loads of models without recurrent states and of one
data-parallel server, to which nothing is fitted.
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
from headrace.perf.refill import Refill
from headrace.validation.predict import Case
from headrace.validation.runs import case_of_run

RESULTS = Path(__file__).parents[1] / "benchmarks/gpu/results"
MODELS = {
    "qwen35-27b-fp8": "Qwen/Qwen3.5-27B-FP8",
    "qwen35-27b-fp8-rowwise": "headrace/Qwen3.5-27B-FP8-rowwise",
    "qwen35-27b-fp8-tensor": "headrace/Qwen3.5-27B-FP8-tensor",
    "qwen3-32b-fp8": "Qwen/Qwen3-32B-FP8",
    "qwen3-30b-a3b-fp8": "Qwen/Qwen3-30B-A3B-FP8",
}
"""The sittings' folders of configs, and the packaged ones."""
HOSTS = {
    "2026-11-29-h200": 1.57,
    "2026-11-29-2xh200": 1.57,
    "2026-11-30-4xh200": 1.34,
    "2026-11-30-2xh200": 1.19,
    "2026-11-30-2xh200-rest": 1.5,
    "2026-11-30-4xh200-weights": 1.0,
}
"""host_time by sitting: a GDN layer's operator with prompts took the host 3.70 ms in a profile
there (2xh200, tensor-again) and 2.35 ms beside the H100s (2xh100, tuned): profiler_out_0.txt. 1.34
and 1.19 are as far apart as a loop of Python on their cores (machine.json, 12.2 and 10.9 ms), and
make the errors of their loads small together. 1.5 is by a profile again (3.36 ms, and 3.51 with the
same kernel at 1.57), though a loop of Python took 12.2 ms there too. 1.0 makes the errors of its
loads of 64 and 128 in flight small, which wait for the host. Models without recurrent states launch
little between the pieces of graphs, and their constants are other machines'."""
ONE_SERVER = "command.json"
"""Beside a configuration that was one server with data-parallel ranks, whose own balance a plan of
independent replicas does not describe."""
BLOCK = "vllm-0.26-hybrid-H100-fp8_block"
H100 = ("vllm-0.26-hybrid-H100-fp8_channel", BLOCK)
H200 = ("vllm-0.26-hybrid-H200-fp8_tensor", "vllm-0.26-hybrid-H200-fp8_block-deep_gemm")
OTHERS = ("vllm-0.26-H200-fp8_block",)
UNITS = {
    "kernel_time": 1.0,
    "launch_s": 1e-1,
    "piecewise_s": 1e-1,
    "unpadded_gemm": 1.0,
    "kernel_time, H200": 1.0,
    "drafted_state, H200": 1.0,
    "real_gemm, H200": 1.0,
}
"""What a unit of each unknown stands for."""
START = np.array([1.0, 1.2, 0.8, 2.0, 1.0, 1.0, 1.3])


def loads(constants: Constants, *, one_server: bool = False) -> Iterator[Case]:
    """All valid loads, and the trials of `headrace tune`."""
    for folder in sorted([*RESULTS.glob("*/*/load-*"), *RESULTS.glob("*/*/trial-*")]):
        if (folder.parent / ONE_SERVER).exists() != one_server:
            continue
        fleet = yaml.safe_load((folder / "fleet.yaml").read_text(encoding="utf-8"))
        try:
            case = case_of_run(folder, constants, model=MODELS[Path(fleet["model"]).name])
        except (InputError, KeyError):
            continue
        host_time = HOSTS.get(folder.parts[-3], 1.0) if case.facts.linear_attention else 1.0
        gpu = replace(case.gpu, host_time=host_time)
        # a load past the gateway has the fleet file of one through it
        refill = Refill(case.refill.size) if folder.name.endswith("-direct") else case.refill
        yield replace(case, id="/".join(folder.parts[-3:]), gpu=gpu, refill=refill)


def measured_cases(constants: Constants) -> list[Case]:
    """Those that these calibrations cover."""
    return _covered(constants, (*H100, *H200))


def unfitted_cases(constants: Constants) -> list[Case]:
    """Those of models without recurrent states: no constant is fitted to them."""
    return _covered(constants, OTHERS)


def one_server_cases(constants: Constants) -> list[Case]:
    """Those of one data-parallel server."""
    return list(loads(constants, one_server=True))


def _covered(constants: Constants, names: tuple[str, ...]) -> list[Case]:
    return [case for case in loads(constants) if case.calibration(constants).name in names]


def with_values(constants: Constants, values: Floats) -> Constants:
    """The packaged constants with these in the calibrations."""
    h100, launch_s, piecewise_s, unpadded, h200, drafted, real = (
        float(value * unit) for value, unit in zip(values, UNITS.values(), strict=True)
    )
    shared = {"launch_s": launch_s, "piecewise_s": piecewise_s}
    own = {name: {**shared, "kernel_time": h100} for name in H100}
    both = {"drafted_state": max(drafted, 1.0), "real_gemm": max(real, 1.0)}
    own |= {name: {**shared, **both, "kernel_time": h200} for name in H200}
    own[BLOCK]["unpadded_gemm"] = max(unpadded, 1.0)
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


def ttft_error(case: Case, constants: Constants) -> float:
    """Relative error of the mean TTFT, which nothing is fitted to."""
    assert case.measured.ttft_ms is not None
    return case.predict(constants).ttft_ms / case.measured.ttft_ms - 1


def fitted(cases: list[Case], constants: Constants, start: Floats) -> Floats:
    """The constants for these cases."""
    return fit(lambda values: errors(cases, with_values(constants, values)), start)


def main() -> None:
    constants = load_constants()
    cases = measured_cases(constants)
    values = fitted(cases, constants, START)
    for (name, unit), value in zip(UNITS.items(), values, strict=True):
        print(f"{name} = {value * unit:.4g}")
    of_fit = errors(cases, with_values(constants, values)).reshape(-1, 2)
    print(f"residual = {np.abs(of_fit[:, 0]).mean():.3f}\n")
    print(f"{'fit TPOT':>62s}   tok/s    TTFT | left out TPOT   tok/s")
    for index, case in enumerate(cases):
        rest = cases[:index] + cases[index + 1 :]
        without = with_values(constants, fitted(rest, constants, values))
        (tpot, rate), (left_tpot, left_rate) = of_fit[index], errors([case], without)
        ttft = ttft_error(case, with_values(constants, values))
        own = f"{tpot:+7.1%} {rate:+7.1%} {ttft:+7.1%}"
        print(f"{case.id:54s} {own} |  {left_tpot:+11.1%} {left_rate:+7.1%}")
    print("\nnothing fitted")
    for case in [*unfitted_cases(constants), *one_server_cases(constants)]:
        tpot, rate = errors([case], constants)
        print(f"{case.id:54s} {tpot:+7.1%} {rate:+7.1%} {ttft_error(case, constants):+7.1%}")


if __name__ == "__main__":
    main()
