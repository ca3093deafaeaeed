"""One replica of the reference implementation: the real scheduler, and what its cache keeps."""

from __future__ import annotations

from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.step import Step
from headrace.simulator.chance import CountedAcceptance, keys
from headrace.simulator.prefix import Contexts, SharedPrefixes
from headrace.simulator.scenario import Scenario

ACCEPTANCE_KEYS = 1


class Replica:
    """A scheduler with its clock and its totals; a new scheduler for every life."""

    def __init__(self, scenario: Scenario, number: int) -> None:
        model = scenario.model(number)
        self.model, self.spec = model.step, model.scheduler
        self.speed = float(scenario.speed[number])
        key, other = keys(scenario.seed, ACCEPTANCE_KEYS, scenario.replicas)[number].tolist()
        self._acceptance = CountedAcceptance(self.spec.mtp_depth, self.spec.acceptance, key, other)
        self._cached_groups = scenario.cached_groups
        self.alive = True
        self.steps = self.generated = self.prompts = self.preempted = self.decoded = 0
        self.busy_s = 0.0
        self.renew()

    def renew(self) -> None:
        """Empty, without a step in flight."""
        self.scheduler = Scheduler(self.spec, acceptance=self._acceptance)
        self.held: dict[int, Sequence] = {}
        self.step: Step | None = None
        self.due = -1
        """The event that ends the step in flight, by its number; a dead replica's is void."""
        self.prefixes = SharedPrefixes(self._cached_groups)
        self.contexts = Contexts(self.spec.cache)
