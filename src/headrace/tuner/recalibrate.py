"""The performance model fitted to a search's own trials, as `headrace calibrate` would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import InputError
from headrace.perf.calibration import Calibration
from headrace.perf.constants import Constants
from headrace.tuner.trial import Trial
from headrace.validation.calibrate import Key, calibrate, key_of
from headrace.validation.predict import Case
from headrace.validation.runs import case_of_run

USABLE = ("measured", "goal missed")


def recalibrated(constants: Constants, folder: Path, trials: Sequence[Trial]) -> Constants:
    """`constants` with a calibration before them for each kind of weights that trials can carry.

    Trials that say too little (one alone, all alike) change nothing. Those of simulated GPUs count
    as well: what is learned stays inside the search.
    """
    groups: defaultdict[Key, list[Case]] = defaultdict(list)
    for trial in trials:
        if trial.status in USABLE:
            case = case_of_run(folder / trial.folder, constants, simulated=True)
            groups[key_of(case)].append(case)
    fitted = tuple(one for cases in groups.values() for one in _fitted(cases, constants))
    return constants.with_calibrations(fitted)


def _fitted(cases: list[Case], constants: Constants) -> list[Calibration]:
    try:
        return [found.calibration for found in calibrate(cases, constants)]
    except InputError:
        return []
