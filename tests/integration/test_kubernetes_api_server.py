"""Custom resources against a real API server with the projects' CRDs: strict dry runs.

Needs `python scripts/crd_server.py` once, and the projects' CRDs in ~/.cache/headrace/crds (or in
HEADRACE_CRDS), a file each: Gateway API, Inference Extension, LeaderWorkerSet, KEDA, Prometheus
operator. What a CRD is missing for is not tested, and the run says so.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.targets.kubernetes.check.crds import packaged
from headrace.targets.kubernetes.manifests import everything
from headrace.targets.kubernetes.shape import shape_of
from tests.integration.crd_server import CRDS, Server, programs, running, upstream
from tests.targets.kubernetes.fleets import CASES
from tests.targets.kubernetes.mistakes import MISTAKES, broken, by_schema

pytestmark = [pytest.mark.integration, pytest.mark.slow]
KINDS = {kind for api, kind in packaged() if not api.startswith("networking.gke.io/")}
"""GKE's own CRDs are published with its clusters alone."""
Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """The server, and the plural of every kind that it knows."""
    tools, crds = programs(), upstream()
    if tools is None:
        pytest.skip("no API server: run scripts/crd_server.py")
    if not crds:
        pytest.skip(f"no CRDs in {CRDS}")
    with running(tmp_path_factory.mktemp("api"), tools) as made:
        made.install(crds)
        yield made, {crd["spec"]["names"]["kind"]: crd["spec"]["names"]["plural"] for crd in crds}


def custom(objects: list[Object]) -> list[Object]:
    return [value for value in objects if value["kind"] in KINDS]


def say(server: tuple[Server, dict[str, str]], value: Object) -> tuple[int, str]:
    made, plurals = server
    return made.dry_run(value, plurals[value["kind"]])


def test_the_crds_of_every_rendered_kind_are_there(server: tuple[Server, dict[str, str]]) -> None:
    assert set(server[1]) >= KINDS


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_accepted(case: str, server: tuple[Server, dict[str, str]]) -> None:
    objects = custom([manifest.object for manifest in everything(shape_of(CASES[case]))])
    assert objects
    assert [(value["kind"], *say(server, value)) for value in objects] == [
        (value["kind"], 201, "") for value in objects
    ]


CUSTOM_MISTAKES = [m for m in MISTAKES if m.rule == "schema" and m.case != "one-node"]


@pytest.mark.parametrize("seeded", CUSTOM_MISTAKES, ids=lambda seeded: seeded.text)
def test_what_our_schemas_refuse_the_server_refuses(
    seeded: Any, server: tuple[Server, dict[str, str]]
) -> None:
    assert by_schema(seeded)
    answers = [say(server, value) for value in custom(broken(seeded))]
    assert [code for code, _ in answers if code != 201] != []


def changed(case: str, kind: str, path: str, value: Any) -> Object:
    """A rendered object with one field set; `-` as the value takes it out."""
    objects = [manifest.object for manifest in everything(shape_of(CASES[case]))]
    found: Any = copy.deepcopy(next(o for o in objects if o["kind"] == kind))
    *parents, last = path.split(".")
    place = found["spec"]
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return dict(found)


ROUTED, POOL, GROUP = "hyperdisk-canary-route", "inference-pool-hpa", "leader-worker"
BAD = [
    (POOL, "InferencePool", "endpointPickerRef.port", "-"),
    (POOL, "InferencePool", "endpointPickerRef.failureMode", "Open"),
    (POOL, "InferencePool", "targetPorts", [{"number": n} for n in range(8000, 8009)]),
    (POOL, "InferencePool", "targetPorts", [{"number": 70000}]),
    (POOL, "InferencePool", "selector", "-"),
    (ROUTED, "Gateway", "listeners.0.protocol", "HTTP"),
    (ROUTED, "Gateway", "listeners.0.tls.certificateRefs", []),
    (ROUTED, "Gateway", "listeners.0.port", "443"),
    (ROUTED, "Gateway", "gatewayClassName", "-"),
    (ROUTED, "HTTPRoute", "rules.0.timeouts.request", "1 hour"),
    (ROUTED, "HTTPRoute", "rules.0.matches.0.path.value", "v1"),
    (ROUTED, "HTTPRoute", "rules.0.backendRefs.0.weight", -1),
    (ROUTED, "HTTPRoute", "rules.0.backend", []),
    (ROUTED, "HTTPRoute", "rules.0.filters", [{"type": "RequestRedirect", "requestRedirect": {}}]),
    (ROUTED, "ScaledObject", "triggers", []),
    (ROUTED, "ScaledObject", "maxReplicaCount", 0),
    (ROUTED, "ScaledObject", "triggers.0.metadata.threshold", 8),
    (ROUTED, "PodMonitor", "podMetricsEndpoints.0.interval", "15 s"),
    (ROUTED, "PodMonitor", "podMetricsEndpoints.0.ports", "http"),
    (ROUTED, "PrometheusRule", "groups.0.rules.0.for", "five"),
    (ROUTED, "PrometheusRule", "groups.0.name", "-"),
    (GROUP, "LeaderWorkerSet", "startupPolicy", "Leader"),
    (GROUP, "LeaderWorkerSet", "leaderWorkerTemplate.workerTemplate", "-"),
    (GROUP, "LeaderWorkerSet", "leaderWorkerTemplate.size", "2"),
    (GROUP, "LeaderWorkerSet", "replicas", -1),
]


@pytest.mark.parametrize(("case", "kind", "path", "value"), BAD)
def test_server_and_offline_schema_agree_on_what_is_wrong(
    case: str, kind: str, path: str, value: Any, server: tuple[Server, dict[str, str]]
) -> None:
    found = changed(case, kind, path, value)
    code, message = say(server, found)
    assert code in (400, 422), message
    assert packaged()[found["apiVersion"], kind].problems(found) != []


GOOD = [
    (POOL, "InferencePool", "appProtocol", "kubernetes.io/h2c"),
    (POOL, "InferencePool", "endpointPickerRef.failureMode", "FailClose"),
    (ROUTED, "Gateway", "listeners.0.allowedRoutes", {"namespaces": {"from": "All"}}),
    (ROUTED, "HTTPRoute", "rules.0.timeouts", "-"),
    (ROUTED, "HTTPRoute", "rules.0.timeouts.backendRequest", "0s"),
    (ROUTED, "ScaledObject", "idleReplicaCount", 0),
    (ROUTED, "PodMonitor", "podMetricsEndpoints.0.scrapeTimeout", "1m30s"),
    (ROUTED, "PrometheusRule", "groups.0.interval", "30s"),
    (GROUP, "LeaderWorkerSet", "networkConfig", {"subdomainPolicy": "UniquePerReplica"}),
]


@pytest.mark.parametrize(("case", "kind", "path", "value"), GOOD)
def test_server_and_offline_schema_agree_on_what_is_right(
    case: str, kind: str, path: str, value: Any, server: tuple[Server, dict[str, str]]
) -> None:
    found = changed(case, kind, path, value)
    assert say(server, found) == (201, "")
    assert packaged()[found["apiVersion"], kind].problems(found) == []
