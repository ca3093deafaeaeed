"""The same metrics for those who have Prometheus and Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from headrace.files import replace_file
from headrace.monitoring.alerts import Goals, rule_groups
from headrace.monitoring.dashboard import dashboard, panels
from headrace.planner.plan import Plan
from headrace.targets.deployment import Deployment

SCRAPE = "5s"


def write_monitoring(
    folder: Path, fleet: str, deployment: Deployment | None, plan: Plan | None
) -> list[Path]:
    """Write `grafana.json`, `alerts.yaml` and `prometheus.yaml`; returns their paths.

    The last one names the addresses of now: a fleet that is started anew has others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels, gateway = {"job": fleet}, {"job": f"{fleet}-gateway"}
    shown = panels(labels, by="replica", gateway=gateway)
    files = {
        "grafana.json": json.dumps(dashboard(f"Headrace: {fleet}", fleet, shown), indent=2) + "\n",
        "alerts.yaml": yaml.safe_dump({"groups": rule_groups(labels, _goals(plan))}),
        "prometheus.yaml": yaml.safe_dump(_scraping(fleet, deployment), sort_keys=False),
    }
    for name, text in files.items():
        replace_file(folder / name, text)
    return [folder / name for name in files]


def _goals(plan: Plan | None) -> Goals:
    if plan is None:
        return Goals()
    slo = plan.fleet.slo
    return Goals(slo.ttft_p99_ms, slo.tpot_p99_ms, plan.chosen.layout.replicas)


def _scraping(fleet: str, deployment: Deployment | None) -> dict[str, Any]:
    replicas = deployment.replicas if deployment else []
    gateways = [deployment.gateway, *(n.gateway for n in deployment.nodes)] if deployment else []
    return {
        "global": {"scrape_interval": SCRAPE},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [
            {
                "job_name": fleet,
                "static_configs": [
                    {"targets": [urlsplit(r.url).netloc], "labels": {"replica": r.id}}
                    for r in replicas
                    if r.url
                ],
            },
            {
                "job_name": f"{fleet}-gateway",
                "static_configs": [
                    {"targets": [urlsplit(g.metrics_url).netloc for g in gateways if g]}
                ],
            },
        ],
    }
