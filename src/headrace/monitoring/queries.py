"""PromQL over the list of metrics: rates, quantiles and shares, selected by labels."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.monitoring.metrics import Metric

WINDOW = "5m"
"""Long enough for two scrapes a minute, short enough to see a rollout."""


def selected(metric: Metric | str, labels: Mapping[str, str]) -> str:
    """A metric's series with these labels; a value that starts with `~` is a regular expression."""
    name = metric if isinstance(metric, str) else metric.name
    inner = ",".join(_matcher(label, value) for label, value in labels.items())
    return f"{name}{{{inner}}}" if inner else name


def total(metric: Metric, labels: Mapping[str, str], by: str | None = None) -> str:
    """The sum of a gauge over all series, or per `by`."""
    return f"sum{_by(by)}({selected(metric, labels)})"


def rate(
    metric: Metric, labels: Mapping[str, str], by: str | None = None, window: str = WINDOW
) -> str:
    """A counter's increase per second, summed."""
    return f"sum{_by(by)}(rate({selected(metric, labels)}[{window}]))"


def quantile(
    q: float, metric: Metric, labels: Mapping[str, str], by: str | None = None, window: str = WINDOW
) -> str:
    """A quantile of a histogram; within a bucket Prometheus interpolates."""
    groups = "le" if by is None else f"le,{by}"
    series = selected(f"{metric.name}_bucket", labels)
    return f"histogram_quantile({q:g},sum by ({groups}) (rate({series}[{window}])))"


def share(part: Metric, whole: Metric, labels: Mapping[str, str], window: str = WINDOW) -> str:
    """One counter's rate as a share of another's."""
    return f"{rate(part, labels, window=window)} / {rate(whole, labels, window=window)}"


def _matcher(label: str, value: str) -> str:
    return f'{label}=~"{value[1:]}"' if value.startswith("~") else f'{label}="{value}"'


def _by(by: str | None) -> str:
    return f" by ({by}) " if by else ""
