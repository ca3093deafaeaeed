"""benchmarks/gpu/comparison.json from the raw summary.json files of sittings.

    python benchmarks/gpu/comparison.py [SITTING ...] [-o FILE]     # all of results/ unless named

A sitting is what `sitting.py` left: one machine, one go. Within it every configuration is compared
with `published` by throughput per GPU, best load against best load of the same input and output
length and the same model; what a client that sends several requests together reaches (`refill`) is
a row of its own, beside the best of the baseline with any client. A best load with half or less
of the requests in flight stands beside none. Several loads of one shape are repetitions, of which
the median counts. Weights near zero and of realistic size are not compared with each other. The
trials of `headrace tune` count as loads, its baseline as `published`. Loads that were not valid are
listed, not used.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from gpu_log import during
from one_server import COMMAND

from headrace.loadgen.summary import Summary
from headrace.planner.plan import Plan

HERE = Path(__file__).parent
BASELINE = "published"
Shape = tuple[int, int, int, int, bool]
"""Input tokens, output tokens, requests in flight, how many follow at a time, past the gateway."""


@dataclass(frozen=True)
class Load:
    """One load of one configuration."""

    folder: Path
    configuration: str
    plan: Plan
    summary: Summary

    @property
    def shape(self) -> Shape:
        """What was asked of it."""
        work = self.plan.fleet.workload
        means = round(work.inputs.mean), round(work.outputs.mean)
        direct = self.folder.name.endswith("-direct")
        return *means, self.summary.concurrency.asked or 0, work.refill, direct

    @property
    def total_tok_s(self) -> float:
        """What it reached."""
        return self.summary.throughput.total_tok_s


def loads_of(sitting: Path) -> Iterator[Load]:
    """All loads of a sitting; profiled ones are none."""
    for path in sorted([*sitting.glob("*/load-*/"), *sitting.glob("*/trial-*/")]):
        if (path / "summary.json").exists():
            yield Load(
                path,
                BASELINE if _is_tunes_baseline(path) else path.parent.name,
                Plan.model_validate_json((path / "plan.json").read_bytes()),
                Summary.model_validate_json((path / "summary.json").read_bytes()),
            )


def _is_tunes_baseline(trial: Path) -> bool:
    outcome = trial.parent / "tune.json"
    if not outcome.exists():
        return False
    baseline = orjson.loads(outcome.read_bytes())["baseline"]
    return baseline is not None and baseline["folder"] == trial.name


def document(sittings: list[Path], root: Path) -> dict[str, Any]:
    """comparison.json. Paths are relative to `root`."""
    found: dict[str, Any] = {"comparisons": [], "points": [], "starts": [], "left_out": []}
    for sitting in sittings:
        loads = list(loads_of(sitting))
        valid = [load for load in loads if load.summary.valid]
        points = _points(valid, root)
        found["comparisons"] += _comparisons(points)
        found["points"] += points
        found["starts"] += list(_starts(sitting, root))
        found["left_out"] += [
            {
                "records": _relative(load.folder, root),
                "reasons": load.summary.invalid_reasons,
                "gpus_used": during(load.folder, load.summary),
            }
            for load in loads
            if not load.summary.valid
        ]
    return found


def _points(loads: list[Load], root: Path) -> list[dict[str, Any]]:
    """Repetitions of one shape become one point, with their spread."""
    groups: defaultdict[tuple[str, str, Shape], list[Load]] = defaultdict(list)
    for load in loads:
        groups[load.configuration, load.plan.gpu, load.shape].append(load)
    return [_point(group, root) for group in groups.values()]


def _point(group: list[Load], root: Path) -> dict[str, Any]:
    first = group[0]
    rates = sorted(load.total_tok_s for load in group)
    middle = median(rates)
    predicted = first.plan.chosen.prediction
    isl, osl, concurrency, refill, direct = first.shape
    tpots = [load.summary.latency_ms.tpot.mean for load in group if load.summary.latency_ms]
    price = first.plan.usd_per_gpu_hour
    gpus = first.plan.fleet.hardware.gpus
    return {
        "configuration": first.configuration,
        "gpu": first.plan.gpu,
        "gpus": gpus,
        "model": first.plan.model,
        "engine": first.summary.engine,
        "stand_ins": first.plan.stand_ins,
        "workload": {"input_tokens": isl, "output_tokens": osl},
        "concurrency": concurrency,
        "refill": refill,
        "direct": direct,
        "one_server": (first.folder.parent / COMMAND).exists(),
        "total_tok_s": middle,
        "total_tok_s_per_gpu": middle / gpus,
        "repetitions": len(rates),
        "spread": (rates[-1] - rates[0]) / middle if len(rates) > 1 else None,
        "tpot_ms": median(tpots),
        "usd_per_gpu_hour": price,
        "usd_per_million_tokens": price * gpus / (middle * 3600) * 1e6 if price else None,
        "predicted_total_tok_s": predicted.total_tok_s,
        "predicted_tpot_ms": predicted.tpot_ms,
        "measured_over_predicted": middle / predicted.total_tok_s,
        "gpus_used": during(first.folder, first.summary),
        "date": str(first.summary.environment.get("date", "")),
        "flags": first.plan.chosen.engine_args,
        "records": [_relative(load.folder, root) for load in group],
    }


def _comparisons(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each configuration's best load beside the baseline's, for every length of request."""
    groups: defaultdict[tuple[str, str, bool, bool], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        together = point["refill"] > 1
        kind = point["configuration"], str(point["workload"]), together, point["direct"]
        groups[kind].append(point)
    found = []
    for (configuration, _, together, _), group in groups.items():
        published = [point for point in points if _is_baseline(point, group[0], together)]
        if configuration != BASELINE and published:
            baseline, tuned = max(published, key=_per_gpu), max(group, key=_per_gpu)
            if 2 * _in_flight_per_gpu(tuned) > _in_flight_per_gpu(baseline):
                found.append(_comparison(baseline, tuned))
    return found


def _is_baseline(point: dict[str, Any], tuned: dict[str, Any], together: bool) -> bool:
    """Whether a point may stand beside that one, whose client sends `together` or one by one."""
    return (
        point["configuration"] == BASELINE
        and _model(point) == _model(tuned)
        and point["workload"] == tuned["workload"]
        and point["stand_ins"].get("weights") == tuned["stand_ins"].get("weights")
        and (together or point["refill"] == 1)
    )


def _per_gpu(point: dict[str, Any]) -> float:
    return float(point["total_tok_s_per_gpu"])


def _in_flight_per_gpu(point: dict[str, Any]) -> float:
    return float(point["concurrency"] / point["gpus"])


def _model(point: dict[str, Any]) -> str:
    """The model whatever its checkpoint: the folders of `models.py` say it before the format."""
    return str(point["model"]).partition("-fp8")[0]


def _comparison(baseline: dict[str, Any], tuned: dict[str, Any]) -> dict[str, Any]:
    shown = ["configuration", "model", "concurrency", "refill", "direct", "gpus", "total_tok_s"]
    shown += ["tpot_ms", "repetitions", "spread"]
    return {
        "gpu": tuned["gpu"],
        "model": tuned["model"],
        "workload": tuned["workload"],
        "baseline": {name: baseline[name] for name in shown},
        "tuned": {name: tuned[name] for name in shown},
        "ratio": _per_gpu(tuned) / _per_gpu(baseline),
        "usd_per_million_tokens": tuned["usd_per_million_tokens"],
        "baseline_usd_per_million_tokens": baseline["usd_per_million_tokens"],
        "engine": tuned["engine"],
        "stand_ins": {**baseline["stand_ins"], **tuned["stand_ins"]},
        "date": tuned["date"],
        "records": [*baseline["records"], *tuned["records"]],
    }


def _starts(sitting: Path, root: Path) -> Iterator[dict[str, Any]]:
    """How long each engine took to start, by phase."""
    for path in sorted(sitting.glob("*/startup.json")):
        phases = orjson.loads(path.read_bytes())
        if phases and phases[-1]["phase"] == "ready":
            ready_s = phases[-1]["at_s"]
            records = _relative(path, root)
            yield {"configuration": path.parent.name, "ready_s": ready_s, "records": records}


def _relative(path: Path, root: Path) -> str:
    return str(path.resolve().relative_to(root.resolve()))


def main() -> int:
    """Write the file, and show the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sittings", type=Path, nargs="*", metavar="SITTING")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "comparison.json")
    options = parser.parse_args()
    sittings = options.sittings or sorted((HERE / "results").glob("*/"))
    root = options.output.parent
    try:
        made = document(sittings, root)
    except ValueError as error:
        print(f"{error}; results must lie below {root}", file=sys.stderr)
        return 2
    options.output.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    for row in made["comparisons"]:
        base, tuned = row["baseline"], row["tuned"]
        print(
            f"{row['gpu']} {row['workload']}: {base['configuration']} {base['total_tok_s']:,.0f}, "
            f"{tuned['configuration']} on {tuned['gpus']}, {tuned['refill']} at a time"
            f"{', past the gateway' if tuned['direct'] else ''} "
            f"{tuned['total_tok_s']:,.0f} total tok/s, {row['ratio']:.2f} times by GPU, "
            f"{row['usd_per_million_tokens'] or 0:.4f} USD/M tokens"
        )
    for point in made["points"]:
        off = point["measured_over_predicted"] - 1
        used = [
            "{busy_percent} % at {clock_mhz} MHz and {power_w} W".format_map(gpu)
            for gpu in point["gpus_used"].values()
        ]
        shown = f", GPUs busy {', '.join(used)}" if used else ""
        print(f"{point['records'][0]}: {off:+.1%} against the plan{shown}")
    print(f"{options.output}: {len(made['points'])} points, {len(made['left_out'])} left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
