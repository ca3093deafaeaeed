"""A Grafana dashboard of a fleet, as the JSON that Grafana imports and sidecars load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.monitoring import metrics as m
from headrace.monitoring.queries import quantile, rate, selected, share, total

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39
"""Grafana 10 and later; later versions migrate it when they load it."""
WIDTH, HEIGHT = 8, 8
COLUMNS = 24 // WIDTH


@dataclass(frozen=True)
class Panel:
    """A chart: its title, Grafana's unit, and (legend, PromQL) per line."""

    title: str
    unit: str
    lines: Sequence[tuple[str, str]]
    text: str = ""


def panels(
    labels: Mapping[str, str], *, by: str = "pod", gateway: Mapping[str, str] | None = None
) -> list[Panel]:
    """What to look at, in the order in which one looks. `by` is the label that names a replica.

    `gateway` selects Envoy's series; None leaves its panels out.
    """
    found = [*_throughput(labels), *_latency(labels), *_batch(labels, by), *_caches(labels, by)]
    return found + (_gateway(gateway) if gateway is not None else [])


def dashboard(title: str, uid: str, shown: Sequence[Panel]) -> dict[str, Any]:
    """The whole document. `uid` keeps links when it is imported again."""
    return {
        "title": title,
        "uid": uid,
        "tags": ["headrace", "vllm"],
        "timezone": "browser",
        "editable": True,
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource_variable()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(shown)],
    }


def _throughput(labels: Mapping[str, str]) -> list[Panel]:
    both = f"{rate(m.PROMPT_TOKENS, labels)} + {rate(m.OUTPUT_TOKENS, labels)}"
    return [
        Panel(
            "Tokens per second",
            "short",
            [
                ("input + output", both),
                ("input", rate(m.PROMPT_TOKENS, labels)),
                ("output", rate(m.OUTPUT_TOKENS, labels)),
            ],
            "Of the whole fleet, counted by the engines. A request that fails later counts too.",
        ),
        Panel(
            "Requests ended per second",
            "reqps",
            [("{{finished_reason}}", rate(m.FINISHED, labels, by="finished_reason"))],
        ),
    ]


def _latency(labels: Mapping[str, str]) -> list[Panel]:
    rows = [("TTFT", m.TTFT), ("TPOT", m.TPOT), ("Time in the queue", m.QUEUE), ("E2E", m.E2E)]
    return [
        Panel(
            title,
            "s",
            [(f"p{100 * q:g}", quantile(q, metric, labels)) for q in (0.5, 0.9, 0.99)],
            f"{metric.text}, measured by the engine: without network and gateway.",
        )
        for title, metric in rows
    ]


def _batch(labels: Mapping[str, str], by: str) -> list[Panel]:
    return [
        Panel("Running, per replica", "short", [(f"{{{{{by}}}}}", total(m.RUNNING, labels, by))]),
        Panel("Waiting, per replica", "short", [(f"{{{{{by}}}}}", total(m.WAITING, labels, by))]),
        Panel("Preemptions per second", "short", [("preemptions", rate(m.PREEMPTIONS, labels))]),
    ]


def _caches(labels: Mapping[str, str], by: str) -> list[Panel]:
    return [
        Panel(
            "KV cache in use, per replica",
            "percentunit",
            [(f"{{{{{by}}}}}", total(m.KV_USAGE, labels, by))],
        ),
        Panel(
            "Prefix cache hits",
            "percentunit",
            [("share of tokens", share(m.PREFIX_HITS, m.PREFIX_QUERIES, labels))],
        ),
        Panel(
            "Drafted tokens accepted",
            "percentunit",
            [("acceptance", share(m.ACCEPTED, m.DRAFTED, labels))],
            "Empty without drafting.",
        ),
    ]


def _gateway(labels: Mapping[str, str]) -> list[Panel]:
    by_class = rate(m.GATEWAY_REQUESTS, labels, by="envoy_response_code_class")
    return [
        Panel(
            "Gateway: answers per second",
            "reqps",
            [("{{envoy_response_code_class}}xx", by_class)],
        ),
        Panel(
            "Gateway: in flight",
            "short",
            [
                ("in flight", total(m.GATEWAY_ACTIVE, labels)),
                ("retries/s", rate(m.GATEWAY_RETRIES, labels)),
            ],
        ),
        Panel(
            "Gateway: replicas",
            "short",
            [
                ("healthy", f"min({selected(m.GATEWAY_HEALTHY, labels)})"),
                ("known", f"max({selected(m.GATEWAY_TOTAL, labels)})"),
            ],
        ),
    ]


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": {
            "x": number % COLUMNS * WIDTH,
            "y": number // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for index, (legend, expression) in enumerate(panel.lines)
        ],
    }


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
    }
