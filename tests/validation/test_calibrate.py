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

pytestmark = pytest.mark.compute

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


def test_two_constants_are_told_apart_by_enough_rows(llama: list[Case]) -> None:
    rows = [slowed(c, 1.2, 0.006) for c in llama]
    (fitted,) = calibrate(rows, CONSTANTS, ("kernel_time", "step_s"))
    assert fitted.calibration.kernel_time == pytest.approx(1.2, rel=0.02)
    assert fitted.calibration.step_s == pytest.approx(0.006, rel=0.05)


@pytest.mark.compute
def test_left_alone_it_fits_as_many_as_the_rows_carry(llama: list[Case]) -> None:
    (few,) = calibrate([slowed(c, 1.2) for c in llama[:2]], CONSTANTS)
    (many,) = calibrate([slowed(c, 1.2) for c in llama], CONSTANTS)
    assert few.constants == ("kernel_time",)
    assert len(many.constants) > 2


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
