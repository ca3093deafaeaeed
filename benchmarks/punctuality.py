"""How late an open loop's requests are sent, and how late the steps of a simulated engine end.

`python benchmarks/punctuality.py [--seconds 30]`: both over HTTP on this machine, under the light
Poisson load of `simulator_vs_engine.py`. Latency counts from the time at which a request was due.
"""

from __future__ import annotations

import argparse
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from simulator_vs_engine import Case, cases, running_engine

from headrace.loadgen.parquet import read_parquet
from headrace.loadgen.run import run_bench
from headrace.loadgen.spec import BenchSpec

LAG = "headrace_simulated_lag_seconds"


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    case = next(case for case in cases() if case.name == "Poisson, light")
    with tempfile.TemporaryDirectory() as folder, running_engine(case, Path(folder), 0) as urls:
        _load(case, urls, seconds, Path(folder) / "run")
        for number, url in enumerate(urls, 1):
            steps, late_ms, most_ms = _steps(url)
            print(
                f"replica {number}: {steps} steps, late by {late_ms:.2f} ms, at most {most_ms:.1f}"
            )


def _load(case: Case, urls: list[str], seconds: float, folder: Path) -> None:
    spec = BenchSpec(
        urls=urls,
        model="m",
        input_tokens=case.input_tokens,
        output_tokens=case.output_tokens,
        request_rate=case.rate,
        duration_s=seconds,
    )
    latency = run_bench(spec, folder).latency_ms
    assert latency is not None
    told = read_parquet(folder / "records.parquet", "sent_s, scheduled_s", "true")
    late_ms = 1e3 * (told["sent_s"] - told["scheduled_s"])
    p50, p99 = np.percentile(late_ms, (50, 99))
    print(f"{len(late_ms)} requests, sent late by {p50:.2f} ms at p50, {p99:.2f} at p99")
    print(f"TTFT {latency.ttft.p50:.1f} ms at p50")


def _steps(url: str) -> tuple[int, float, float]:
    """How many steps the replica has run; how late they ended on average and at most, in ms."""
    with urllib.request.urlopen(f"{url}/metrics") as page:
        families = text_string_to_metric_families(page.read().decode())
        told = {sample.name: sample.value for family in families for sample in family.samples}
    steps = told[f"{LAG}_count"]
    return int(steps), 1e3 * told[f"{LAG}_sum"] / steps, 1e3 * told[f"{LAG}_max"]


if __name__ == "__main__":
    main()
