"""From a fleet file and what else is to be tried to a search that can begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.errors import InputError
from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu_of
from headrace.models.facts import ModelFacts
from headrace.models.load import load_model
from headrace.perf.constants import Constants
from headrace.perf.load import current_constants
from headrace.planner.checkpoints import Checkpoint
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.spec.fleet import Fleet
from headrace.tuner.session import Planner
from headrace.tuner.space import Option, is_lever, option_of, options

SAME_WORK = ("input_tokens", "output_tokens", "conversation", "prefix_hit_rate")
LOAD = ("concurrency", "refill")
"""How a baseline may be loaded otherwise: as it usually is."""


@dataclass(frozen=True)
class Wanted:
    """What is to be tried beside the planner's levers and the file's checkpoints."""

    extra: dict[str, list[Any]]
    """Options of vLLM and their values; the first values are where the search begins."""
    baseline: Fleet | None = None
    """Measured first, for the comparison."""


@dataclass(frozen=True)
class Setup:
    """The options, those that are tried first, and the levers that the model does not know."""

    options: list[Option]
    first: list[Option]
    unknown: list[str]
    facts: dict[str, ModelFacts]
    """Of every model, by the name or folder in its options' fleets."""
    gpu: Gpu
    constants: Constants

    def by_key(self) -> dict[str, Option]:
        """All options, by what makes them the same configuration."""
        return {option.key: option for option in [*self.options, *self.first]}

    def predictions(self, constants: Constants) -> dict[str, float]:
        """Total tok/s of every option by these constants, by key."""
        judges: dict[str, Evaluator] = {}
        found = {}
        for key, option in self.by_key().items():
            fleet = option.fleet
            around = fleet.model_dump_json(exclude={"engine": {"args"}})
            if around not in judges:
                judges[around] = Evaluator(fleet, self.facts[fleet.model], self.gpu, constants)
            verdict = judges[around].judge(option.config)
            judged = verdict if isinstance(verdict, Candidate) else verdict.candidate
            found[key] = judged.total_tok_s if judged else option.predicted_tok_s
        return found


def prepare(fleet: Fleet, wanted: Wanted, planner: Planner) -> Setup:
    """Load what the files name, and lay out the space. Nothing is started or written.

    Raises InputError for a baseline with other work, and for options that this vLLM has not.
    """
    base = wanted.baseline
    if base is not None:
        _check_same_work(fleet, base)
    models = list(dict.fromkeys([fleet.model, *fleet.checkpoints]))
    several = len(models) > 1 or (base is not None and base.model not in models)
    version = fleet.engine.version
    unknown = [n for n, values in wanted.extra.items() if not is_lever(n, values[0], version)]
    gpu = load_gpu_of(fleet.hardware)

    other = [n for n in LOAD if base and getattr(base.workload, n) != getattr(fleet.workload, n)]

    def beside(of: Fleet) -> dict[str, Any]:
        load = {name: getattr(of.workload, name) for name in other}
        return load | ({"checkpoint": of.model} if several else {})

    def chosen(of: Fleet) -> Option:
        plan = planner(of)
        named = beside(plan.fleet) | {name: of.engine.args.get(name) for name in unknown}
        return option_of(plan, load_model(plan.fleet.model), gpu, named)

    constants = current_constants()
    forms = [Checkpoint(model, load_model(model)) for model in models]
    space = options(fleet, forms, gpu, constants, wanted.extra, beside)
    begin = {name: values[0] for name, values in wanted.extra.items()}
    first = [chosen(_with_args(fleet, begin))]
    if base is not None:
        first.insert(0, chosen(base))
    facts = {model: load_model(model) for model in [*models, *(o.fleet.model for o in first)]}
    return Setup(space, first, unknown, facts, gpu, constants)


def _with_args(fleet: Fleet, args: dict[str, Any]) -> Fleet:
    engine = fleet.engine.model_copy(update={"args": {**fleet.engine.args, **args}})
    return fleet.model_copy(update={"engine": engine})


def _check_same_work(fleet: Fleet, base: Fleet) -> None:
    for name in SAME_WORK:
        ours, theirs = getattr(fleet.workload, name), getattr(base.workload, name)
        if ours != theirs:
            raise InputError(
                f"the baseline's workload.{name} is {theirs}, the fleet's is {ours}",
                hint="give both files the same workload, or nothing can be compared",
            )
