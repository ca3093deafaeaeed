"""Fit the packaged constants to `tests/data/points.csv`, and show what leaving cells out does.

    python scripts/fit_constants.py

Prints the figures of `[step]` and of the calibrations `vllm` and `sglang-hybrid` as they stand in
`perf/constants.toml` and `perf/calibrations.toml`, then the errors by cell: of the fit, and with
each cell predicted by constants that were fitted without it.
"""

from __future__ import annotations

from pathlib import Path

from headrace.perf.constants import Constants, load_constants
from headrace.validation.cells import Pair, Validation, cases_of, summarize
from headrace.validation.points import load_points
from headrace.validation.predict import Case
from headrace.validation.shared import CALIBRATION, fit_shared, leave_one_cell_out

POINTS = Path(__file__).parents[1] / "tests" / "data" / "points.csv"


def main() -> None:
    constants = load_constants()
    cases, _ = cases_of(load_points(POINTS), constants)
    ours = [c for c in cases if c.calibration(constants).name == CALIBRATION]
    shared = fit_shared(ours, constants)
    for name, value in shared.values.items():
        print(f"{name} = {value:.3g}")
    fitted = shared.into(constants)
    show("fit", summarize(predicted(cases, fitted), []))
    show("left out", summarize(leave_one_cell_out(ours, constants), []))


def predicted(cases: list[Case], constants: Constants) -> list[Pair]:
    return [Pair(case, case.predict(constants)) for case in cases]


def show(title: str, result: Validation) -> None:
    print(f"\n{title}: TPOT mean, TTFT median, tok/s mean, in %; share in the band")
    for cell in result.cells:
        name = f"{cell.engine} {cell.model} {cell.gpu} {cell.weights_dtype or '16 bit'}"
        errors = (cell.mape_tpot, cell.median_ape_ttft, cell.mape_throughput)
        shown = " ".join("    -" if e is None else f"{e:5.1f}" for e in errors)
        print(f"{name:66s} {cell.n:3d} {shown} {cell.in_band or 0:5.2f}")


if __name__ == "__main__":
    main()
