"""The list of metrics against what engines expose; alerts and dashboards against the list."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from headrace.engines.simulated.exposition import metrics_page
from headrace.engines.simulated.metrics import ReplicaMetrics
from headrace.monitoring.alerts import Goals, rule_groups
from headrace.monitoring.dashboard import dashboard, panels
from headrace.monitoring.metrics import GONE, METRICS, gone_names

LABELS = {"namespace": "inference", "model_name": "m"}
GOALS = Goals(ttft_p99_ms=10000, tpot_p99_ms=60, replicas=96, acceptance=0.8)
NAME = re.compile(r"(?:vllm:|envoy_cluster_)\w+")


def exposed() -> set[str]:
    counters = SimpleNamespace(
        preemptions=0,
        prompt_tokens=0,
        generated_tokens=0,
        cached_tokens=0,
        drafts=0,
        accepted_tokens=0,
        accepted_per_position=[0],
    )
    scheduler = SimpleNamespace(running=0, waiting=0, cache_usage=0.0, counters=counters)
    replica: Any = SimpleNamespace(
        scheduler=scheduler,
        metrics=ReplicaMetrics(4096),
        model=SimpleNamespace(scheduler=SimpleNamespace(mtp_depth=1)),
        clock=SimpleNamespace(steps=0, lag_sum_s=0.0, lag_max_s=0.0, given_up_s=0.0),
    )
    text = metrics_page(replica, "m").decode()
    return {sample.name for f in text_string_to_metric_families(text) for sample in f.samples}


def used(text: str) -> set[str]:
    suffixes = ("_bucket", "_sum", "_count")
    histograms = {
        f"{m.name}{s}": m.name for m in METRICS if m.kind == "histogram" for s in suffixes
    }
    return {histograms.get(name, name) for name in NAME.findall(text)}


def test_an_engine_exposes_every_engine_metric_of_the_list() -> None:
    names = exposed()
    for metric in METRICS:
        if metric.source == "engine":
            series = f"{metric.name}_bucket" if metric.kind == "histogram" else metric.name
            assert series in names, metric


def test_alerts_and_panels_use_only_metrics_of_the_list() -> None:
    text = json.dumps([rule_groups(LABELS, GOALS), _dashboard()])
    assert used(text) <= {metric.name for metric in METRICS}
    assert gone_names(text) == {}


def test_no_present_metric_is_called_gone() -> None:
    assert not set(GONE) & {metric.name for metric in METRICS}
    assert gone_names("max(vllm:gpu_cache_usage_perc)") == {
        "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc"
    }


def test_goals_that_are_not_stated_make_no_alert() -> None:
    names = {rule["alert"] for rule in rule_groups(LABELS, Goals())[0]["rules"]}
    assert not names & {"HeadraceTtftOverSlo", "HeadraceTpotOverSlo", "HeadraceReplicasMissing"}
    all_names = [rule["alert"] for rule in rule_groups(LABELS, GOALS)[0]["rules"]]
    assert len(set(all_names)) == len(all_names) == 8


def test_panels_lie_side_by_side_and_have_ids_of_their_own() -> None:
    shown = _dashboard()["panels"]
    assert len({panel["id"] for panel in shown}) == len(shown)
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in shown}) == len(shown)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in shown)


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not here"
)
def test_prometheus_accepts_the_rules(tmp_path) -> None:
    queries = [
        {"record": f"panel:q{n}", "expr": target["expr"]}
        for n, target in enumerate(t for p in _dashboard()["panels"] for t in p["targets"])
    ]
    groups = [*rule_groups(LABELS, GOALS), {"name": "panels", "rules": queries}]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _dashboard() -> dict[str, Any]:
    shown = panels(LABELS, gateway={"namespace": "inference"})
    return dashboard("Fleet qwen", "headrace-qwen", shown)
