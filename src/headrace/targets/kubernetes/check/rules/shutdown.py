"""The end of a pod: requests in flight finish, and nothing is sent to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.found import Fault, rule
from headrace.targets.kubernetes.check.server import (
    pre_stop_s,
    runs_shell,
    servers,
    shutdown_timeout_s,
    words,
)

MARGIN_S = 10
"""vLLM's own end after its last request."""
DEFAULT_GRACE_S = 30


@rule(
    "drain-missing",
    why="vLLM's default aborts every request in flight at SIGTERM: rollouts lose requests.",
    fix="pass --shutdown-timeout with the seconds that a request may need",
)
def drain_missing(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        if shutdown_timeout_s(container) <= 0:
            yield workload.source, f"container {container.get('name')} aborts requests at its end"


@rule(
    "pre-stop",
    why="SIGTERM comes before the gateways know that the pod leaves: they send it requests that "
    "it refuses.",
    fix="add a preStop hook that sleeps for 10 to 20 seconds",
)
def pre_stop(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        if pre_stop_s(container) is None:
            yield workload.source, f"container {container.get('name')} has no preStop hook"


@rule(
    "grace-period",
    why="The pod is killed before its requests have finished.",
    fix="set terminationGracePeriodSeconds above preStop + shutdown timeout + 10 s",
)
def grace_period(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        grace_s = workload.pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        hook_s, drain_s = pre_stop_s(container) or 0.0, shutdown_timeout_s(container)
        needed_s = hook_s + drain_s + MARGIN_S
        if grace_s < needed_s:
            yield (
                workload.source,
                (
                    f"is killed after {grace_s:g} s; preStop {hook_s:g} + shutdown timeout "
                    f"{drain_s:g} + {MARGIN_S} need {needed_s:g} s"
                ),
            )


@rule(
    "first-process",
    why="A shell is the first process and keeps SIGTERM to itself: the server is killed undrained.",
    fix="run vllm as the command, or write `exec vllm serve` in the script",
)
def first_process(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        if runs_shell(container) and "exec" not in words(container):
            yield workload.source, f"container {container.get('name')} runs vLLM under a shell"
