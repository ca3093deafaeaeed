"""Calibration: it finds a hidden factor, refuses what the rows do not carry, and plans use it."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.perf.constants import load_constants
from headrace.perf.load import current_constants, read_calibrations, write_calibrations
from headrace.validation.calibrate import calibrate
from headrace.validation.cells import cases_of
from headrace.validation.points import load_points
from headrace.validation.predict import Case, Measured
from headrace.validation.runs import case_of_run

pytestmark = pytest.mark.compute

RESULTS = Path(__file__).parents[2] / "benchmarks/gpu/results"
POINTS = Path(__file__).parent.parent / "data" / "points.csv"
CONSTANTS = load_constants()


@pytest.fixture(scope="module")
def llama() -> list[Case]:
    cases, _ = cases_of(load_points(POINTS), CONSTANTS)
    return [c for c in cases if c.gpu.name == "H200" and "Llama" in c.facts.name]


def slowed(case: Case, kernel_time: float, step_s: float = 0.00138) -> Case:
    """The case as another machine would have measured it, exactly as the model says."""
    base = case.calibration(CONSTANTS)
    moved = base.model_copy(update={"kernel_time": kernel_time, "step_s": step_s})
    predicted = case.predict(CONSTANTS.with_calibrations((moved,)))
    measured = Measured(predicted.tpot_ms, predicted.ttft_ms, predicted.total_tok_s)
    return replace(case, measured=measured)


def test_a_hidden_factor_is_found(llama: list[Case]) -> None:
    (fitted,) = calibrate([slowed(c, 1.3) for c in llama[:3]], CONSTANTS, ("kernel_time",))
    assert fitted.calibration.kernel_time == pytest.approx(1.3, rel=0.01)
    assert fitted.after < 0.01 < fitted.before
    assert fitted.calibration.gpus == ("H200",)
    assert fitted.calibration.rows == 3


def test_dummy_weights_among_the_rows_are_kept_in_mind(llama: list[Case], tmp_path: Path) -> None:
    rows = llama[:3]
    (real,) = calibrate(rows, CONSTANTS, ("kernel_time",))
    made_up = replace(rows[0], config=replace(rows[0].config, dummy_weights=True))
    (zeros,) = calibrate([made_up, *rows[1:]], CONSTANTS, ("kernel_time",))
    assert not real.calibration.zeros
    assert zeros.calibration.zeros
    path = tmp_path / "calibrations.toml"
    write_calibrations(path, [zeros.calibration])
    assert read_calibrations(path) == [zeros.calibration]


def test_two_constants_are_told_apart_by_enough_rows(llama: list[Case]) -> None:
    rows = [slowed(c, 1.2, 0.006) for c in llama]
    (fitted,) = calibrate(rows, CONSTANTS, ("kernel_time", "step_s"))
    assert fitted.calibration.kernel_time == pytest.approx(1.2, rel=0.02)
    assert fitted.calibration.step_s == pytest.approx(0.006, rel=0.05)


@pytest.mark.compute
def test_left_alone_it_fits_as_many_as_the_rows_carry(llama: list[Case]) -> None:
    (few,) = calibrate([slowed(c, 1.2) for c in llama[:2]], CONSTANTS)
    (many,) = calibrate([slowed(c, 1.2) for c in llama], CONSTANTS)
    assert list(few.constants) == ["kernel_time"]
    assert len(many.constants) > 2
    assert "host_time" not in many.constants  # nothing that overlaps with kernels is known there


def test_a_slow_host_is_told_from_slow_kernels() -> None:
    """One real load on an H200, as other loads on a slower machine would have come out."""
    run = RESULTS / "2026-11-29-2xh200/tensor/load-1024-512-c256"
    case = case_of_run(run, CONSTANTS, model="headrace/Qwen3.5-27B-FP8-tensor")
    base = case.calibration(CONSTANTS)
    there = CONSTANTS.with_calibrations(
        (base.on_host(1.8).model_copy(update={"kernel_time": 1.2 * base.kernel_time}),)
    )
    rows = []
    for concurrency in (32.0, 128.0, 256.0, 512.0):
        load = replace(case, id=f"c{concurrency:.0f}", concurrency=concurrency)
        as_there = load.predict(there)
        measured = Measured(as_there.tpot_ms, None, as_there.total_tok_s)
        rows.append(replace(load, measured=measured))
    (fitted,) = calibrate(rows, CONSTANTS)
    assert list(fitted.constants) == ["kernel_time", "host_time"]
    assert fitted.constants["host_time"] == pytest.approx(1.8, rel=0.02)
    assert fitted.calibration.kernel_time == pytest.approx(1.2 * base.kernel_time, rel=0.02)
    assert fitted.calibration.piecewise_s == pytest.approx(1.8 * base.piecewise_s, rel=0.02)
    assert fitted.after < 0.01


def test_too_few_rows_are_refused_by_name(llama: list[Case]) -> None:
    with pytest.raises(InputError, match=r"1 row\(s\) cannot carry 1 constant"):
        calibrate(llama[:1], CONSTANTS)
    with pytest.raises(InputError, match=r"2 row\(s\) cannot carry 3") as caught:
        calibrate(llama[:2], CONSTANTS, ("kernel_time", "step_s", "mixed_s"))
    assert llama[0].id in str(caught.value)


def test_rows_that_are_alike_do_not_tell_constants_apart(llama: list[Case]) -> None:
    with pytest.raises(InputError, match="do not tell these constants apart"):
        calibrate([llama[0]] * 9, CONSTANTS, ("kernel_time", "step_s", "sequence_s"))


def test_the_file_comes_back_and_wins(llama: list[Case], tmp_path: Path) -> None:
    (fitted,) = calibrate([slowed(c, 1.3) for c in llama[:6]], CONSTANTS, ("kernel_time",))
    path = tmp_path / "deep" / "calibrations.toml"
    write_calibrations(path, [fitted.calibration])
    assert read_calibrations(path) == [fitted.calibration]
    own = current_constants(path)
    assert llama[0].calibration(own).name == "vllm-0.18-dense-H200-fp8_tensor"
    assert llama[0].predict(own).tpot_ms > 1.2 * llama[0].predict(CONSTANTS).tpot_ms


def test_a_broken_file_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "calibrations.toml"
    path.write_text("[[calibration]]\nname = 'a'\n")
    with pytest.raises(InputError, match=r"calibrations.toml: versions: Field required"):
        current_constants(path)
    path.write_text("[[calibration")
    with pytest.raises(InputError, match=r"calibrations.toml: "):
        current_constants(path)
