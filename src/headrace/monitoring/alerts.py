"""Alert rules as Prometheus reads them; the same groups serve a file and a PrometheusRule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.monitoring import metrics as m
from headrace.monitoring.queries import quantile, rate, selected, share, total

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Alert:
    """One rule. `text` says what it means and what to do; it may use Prometheus' templates."""

    name: str
    expression: str
    hold: str
    severity: Severity
    summary: str
    text: str


@dataclass(frozen=True)
class Goals:
    """What the alerts are measured against. A goal of None makes no alert."""

    ttft_p99_ms: float | None = None
    tpot_p99_ms: float | None = None
    replicas: int | None = None
    acceptance: float | None = None
    """Acceptance that the plan counts on, 0 to 1; None without drafting."""


def alerts(labels: Mapping[str, str], goals: Goals) -> list[Alert]:
    """The rules of a fleet whose engine series carry `labels`."""
    return [*_serving(labels), *_capacity(labels, goals), *_slo(labels, goals)]


def rule_groups(
    labels: Mapping[str, str], goals: Goals, *, name: str = "headrace", also: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """`groups` of a Prometheus rule file, and of a PrometheusRule's spec.

    `also` are labels that every alert carries beside its severity.
    """
    rules = [_rule(alert, also) for alert in alerts(labels, goals)]
    return [{"name": name, "rules": rules}]


def _rule(alert: Alert, also: Mapping[str, str]) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.hold,
        "labels": {"severity": alert.severity, **also},
        "annotations": {"summary": alert.summary, "description": alert.text},
    }


def _serving(labels: Mapping[str, str]) -> list[Alert]:
    running = total(m.RUNNING, labels)
    return [
        Alert(
            "HeadraceNoTokens",
            f"{running} > 0 and {rate(m.OUTPUT_TOKENS, labels)} == 0",
            "5m",
            "critical",
            "Requests are in the batch, but no token is generated",
            "An engine hangs: look at the logs of the replicas that have requests running, then "
            "restart them.",
        ),
        Alert(
            "HeadraceErrors",
            f"{rate(m.FINISHED, {**labels, 'finished_reason': 'error'})} > 0.01 * "
            f"{rate(m.FINISHED, labels)}",
            "10m",
            "warning",
            "More than 1 % of requests end in an error",
            "Look at the engines' logs for tracebacks and out-of-memory messages.",
        ),
    ]


def _capacity(labels: Mapping[str, str], goals: Goals) -> list[Alert]:
    found = [
        Alert(
            "HeadraceQueueing",
            f"{total(m.WAITING, labels)} > 0.25 * {total(m.RUNNING, labels)}",
            "15m",
            "warning",
            "The queue is longer than a quarter of the batch",
            "The fleet is over its planned load: add replicas, or send less.",
        ),
        Alert(
            "HeadracePreempting",
            f"{rate(m.PREEMPTIONS, labels)} > 0.1",
            "15m",
            "warning",
            "Requests are preempted: the KV cache is too small for the load",
            "Preempted requests are computed again. Lower max_num_seqs, or plan again with the "
            "request lengths that are really seen.",
        ),
    ]
    if goals.replicas:
        found.append(_missing(labels, goals.replicas))
    if goals.acceptance:
        found.append(_acceptance(labels, goals.acceptance))
    return found


def _missing(labels: Mapping[str, str], replicas: int) -> Alert:
    return Alert(
        "HeadraceReplicasMissing",
        f"(count({selected(m.RUNNING, labels)}) or vector(0)) < {replicas}",
        "15m",
        "critical",
        f"Fewer than {replicas} replicas report metrics",
        "Replicas are down, still loading, or not scraped: headrace status shows which.",
    )


def _acceptance(labels: Mapping[str, str], planned: float) -> Alert:
    """Drafting that is accepted far less than planned costs more than it brings."""
    return Alert(
        "HeadraceDraftsRejected",
        f"{share(m.ACCEPTED, m.DRAFTED, labels)} < {0.75 * planned:.3g}",
        "30m",
        "warning",
        f"Fewer drafted tokens are accepted than three quarters of the planned {planned:g}",
        "Measure the acceptance of this traffic, put it into workload.acceptance and plan again.",
    )


def _slo(labels: Mapping[str, str], goals: Goals) -> list[Alert]:
    rows = [("Ttft", m.TTFT, goals.ttft_p99_ms), ("Tpot", m.TPOT, goals.tpot_p99_ms)]
    return [
        Alert(
            f"Headrace{name}OverSlo",
            f"{quantile(0.99, metric, labels)} > {limit_ms / 1000:g}",
            "10m",
            "warning",
            f"{name.upper()} p99 is over its goal of {limit_ms:g} ms",
            "Measured by the engine, without network and gateway. Compare the load with the plan.",
        )
        for name, metric, limit_ms in rows
        if limit_ms
    ]
