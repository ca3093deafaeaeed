"""up, status and down against an API over real HTTP: order, ownership, and every way to fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import HeadraceError, InputError
from headrace.targets.kubernetes.live import deploy
from headrace.targets.kubernetes.live.api import Api
from headrace.targets.kubernetes.live.connection import connect
from headrace.targets.kubernetes.live.deploy import down, objects, up
from headrace.targets.kubernetes.live.kinds import KINDS, kind_of
from headrace.targets.kubernetes.live.state import ClusterState, read_state
from headrace.targets.kubernetes.manifests import everything
from headrace.targets.kubernetes.shape import Shape, shape_of
from tests.targets.kubernetes.fake_api import LOADING, Cluster, waiting
from tests.targets.kubernetes.fleets import CASES, shape

pytestmark = pytest.mark.integration

SPACE = "/api/v1/namespaces/headrace"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(deploy, "POLL_S", 0.02)
    with Cluster() as made:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": made.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield made


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Api]:
    with connect(None, timeout_s=1) as made:
        yield made


@cache
def fleet() -> Shape:
    return shape(1)


class Heard:
    """What the user would see."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.states: list[ClusterState] = []


def start(
    api: Api, made: Shape | None = None, *, force: bool = False
) -> tuple[ClusterState, Heard]:
    heard = Heard()
    state = up(
        api, made or fleet(), say=heard.said.append, on_change=heard.states.append, force=force
    )
    return state, heard


def stop(api: Api, *, volumes: bool = False) -> list[str]:
    return down(api, fleet(), volumes=volumes, say=lambda _: None, on_change=lambda _: None)


def status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "code": code, "message": message}


def test_up_applies_everything_and_returns_when_all_are_ready(cluster: Cluster, api: Api) -> None:
    state, heard = start(api)
    assert [one.state for one in state.replicas] == ["ready"] * 8
    assert state.replicas[0].node == "node-a"
    assert state.gateway is not None
    assert state.gateway.url == "http://fleet-1-gateway.headrace"
    assert any(one.state == "starting" for seen in heard.states for one in seen.replicas)
    applied = [path for method, path in cluster.world.requests if method == "PATCH"]
    assert len(applied) == len(objects(fleet())) == len(set(applied))
    before = applied.index("/apis/batch/v1/namespaces/headrace/jobs/fleet-1-download")
    assert before < applied.index("/apis/apps/v1/namespaces/headrace/deployments/fleet-1")


def test_up_again_changes_nothing_and_down_keeps_the_volumes(cluster: Cluster, api: Api) -> None:
    start(api)
    generation = cluster.world.objects["/apis/apps/v1/namespaces/headrace/deployments/fleet-1"][
        "metadata"
    ]["generation"]
    state, _ = start(api)
    assert len(state.replicas) == 8
    again = cluster.world.objects["/apis/apps/v1/namespaces/headrace/deployments/fleet-1"]
    assert again["metadata"]["generation"] == generation

    assert stop(api) == []
    left = {found["kind"] for found in cluster.world.objects.values()}
    assert left == {"Namespace", "PersistentVolumeClaim"}
    assert read_state(api, fleet()).replicas == []
    stop(api, volumes=True)
    assert {found["kind"] for found in cluster.world.objects.values()} == {"Namespace"}


def foreign(kind: str, name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels, "managedFields": [{"manager": "kubectl"}]}
    return {"kind": kind, "metadata": metadata, "spec": {}, "spec_seen": {}}


def test_an_object_of_somebody_else_stops_up_before_anything_changes(
    cluster: Cluster, api: Api
) -> None:
    cluster.world.put(f"{SPACE}/services/fleet-1", foreign("Service", "fleet-1"))
    with pytest.raises(InputError, match="Service/fleet-1 is there already"):
        start(api)
    assert not [path for method, path in cluster.world.requests if method != "GET"]


def test_down_leaves_what_has_the_labels_but_was_made_by_somebody_else(
    cluster: Cluster, api: Api
) -> None:
    start(api)
    labels = {
        "app.kubernetes.io/managed-by": "headrace",
        "app.kubernetes.io/instance": "fleet-1",
    }
    cluster.world.put(f"{SPACE}/configmaps/notes", foreign("ConfigMap", "notes", **labels))
    cluster.world.put(f"{SPACE}/configmaps/other", foreign("ConfigMap", "other"))
    assert stop(api) == ["ConfigMap/notes"]
    assert cluster.world.named("ConfigMap") == ["ConfigMap/notes", "ConfigMap/other"]


def test_an_existing_namespace_is_used_as_it_is(cluster: Cluster, api: Api) -> None:
    there = foreign("Namespace", "headrace")
    cluster.world.put("/api/v1/namespaces/headrace", there)
    start(api)
    assert ("PATCH", "/api/v1/namespaces/headrace") not in cluster.world.requests


def test_a_conflict_names_the_other_manager_and_force_takes_over(
    cluster: Cluster, api: Api
) -> None:
    start(api)
    path = "/apis/apps/v1/namespaces/headrace/deployments/fleet-1"
    cluster.world.objects[path]["metadata"]["managedFields"].append({"manager": "kubectl-edit"})
    with pytest.raises(HeadraceError, match=r'conflict with "kubectl-edit": .spec.replicas') as e:
        start(api)
    assert "--force" in str(e.value.hint)
    start(api, force=True)


def test_a_new_revision_replaces_the_download_job(cluster: Cluster, api: Api) -> None:
    start(api)
    newer = shape(1, storage={"revision": "f" * 40})
    state, _ = start(api, newer)
    assert len(state.replicas) == 8
    job = cluster.world.objects["/apis/batch/v1/namespaces/headrace/jobs/fleet-1-download"]
    assert "f" * 40 in json.dumps(job)


@pytest.mark.parametrize(
    ("answer", "says", "hint"),
    [
        (status(401, "Unauthorized"), r"Unauthorized \(401\)", "log in again"),
        (status(403, 'User "jo" cannot patch'), r'User "jo" cannot patch \(403\)', "can-i"),
        (status(404, "the server could not find it"), "could not find it", "lacks this kind"),
        (status(422, "spec.x: invalid"), "spec.x: invalid", "headrace check"),
        (status(503, "etcd is down"), "etcd is down", "try again"),
        ((502, "<html>Bad Gateway</html>"), r"Bad Gateway \(502\)", None),
        ((200, "<html>Welcome</html>"), "does not answer as a Kubernetes API", "proxies"),
    ],
)
def test_a_refusal_ends_in_one_sentence(
    cluster: Cluster, api: Api, answer: Any, says: str, hint: str | None
) -> None:
    cluster.world.answers["PATCH", "/podmonitors/"] = answer
    with pytest.raises(HeadraceError, match=says) as caught:
        start(api)
    assert "PodMonitor/fleet-1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hint is None or hint in str(caught.value.hint)


def test_an_api_that_does_not_answer(cluster: Cluster, api: Api) -> None:
    cluster.world.slow.add("/serviceaccounts/")
    with pytest.raises(HeadraceError, match="did not answer within 1 s"):
        start(api)


def test_an_api_that_is_not_there(cluster: Cluster) -> None:
    cluster.server.server_close()
    with connect(None, timeout_s=1) as api, pytest.raises(HeadraceError, match="no connection to"):
        start(api)


@pytest.mark.parametrize("fates", [["gone"], ["cut", "cut"], ["gone", "cut", "gone"]])
def test_a_watch_that_breaks_is_taken_up_again(
    cluster: Cluster, api: Api, fates: list[str]
) -> None:
    cluster.world.watches = list(fates)
    state, _ = start(api)
    assert len(state.replicas) == 8
    assert cluster.world.watches == []


def test_a_watch_that_always_breaks_is_a_failure(cluster: Cluster, api: Api) -> None:
    cluster.world.pods = [LOADING]
    cluster.world.watches = ["cut"] * 50
    with pytest.raises(HeadraceError, match="cannot watch pods: no connection"):
        start(api)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (waiting("ImagePullBackOff", "manifest unknown"), "cannot be pulled: manifest unknown"),
        (
            waiting("CreateContainerConfigError", 'secret "api-key" not found'),
            'missing: secret "api-key" not found',
        ),
        (
            waiting("CrashLoopBackOff", reason="OOMKilled", exitCode=137),
            "soon after every start: OOMKilled with exit status 137",
        ),
    ],
)
def test_the_reason_why_a_pod_does_not_come_up(
    cluster: Cluster, api: Api, state: Any, says: str
) -> None:
    cluster.world.pods = [LOADING, state]
    with pytest.raises(HeadraceError, match=says) as caught:
        start(api)
    assert "pod fleet-1-" in str(caught.value)
    assert "kubectl -n headrace logs fleet-1-" in str(caught.value.hint)


def test_pods_that_find_no_node_in_time(
    cluster: Cluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    cluster.world.pods = [{"phase": "Pending", "conditions": [condition]}]
    monkeypatch.setattr(deploy, "SCHEDULE_S", 0.5 - fleet().startup_budget_s)
    with pytest.raises(HeadraceError, match=r"0 of 8 pods .*Insufficient nvidia.com/gpu"):
        start(api)


def test_a_download_that_fails(cluster: Cluster, api: Api) -> None:
    message = "Job has reached the specified backoff limit"
    cluster.world.job = {"type": "Failed", "status": "True", "message": message}
    with pytest.raises(HeadraceError, match=f"not downloaded: {message}") as caught:
        start(api)
    assert "logs job/fleet-1-download" in str(caught.value.hint)
    assert cluster.world.named("Deployment") == []


def test_a_context_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="the context 'prod' cannot be used"):
        connect("prod")


def test_every_rendered_kind_has_its_place_in_the_api() -> None:
    for plan in CASES.values():
        for manifest in everything(shape_of(plan), bench=True):
            assert kind_of(manifest.object) in KINDS


def run(*words: object) -> Any:
    verb = str(words[0])
    return CliRunner().invoke(application(verb), list(map(str, words)), catch_exceptions=False)


def test_up_status_and_down_from_the_command_line(cluster: Cluster, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "name: small\nmodel: Qwen/Qwen3.5-0.8B\nhardware: {gpu: B200, gpus_per_node: 2}\n"
        "target: {kind: kubernetes, provider: bare-metal}\n"
    )
    state = json.loads(run("up", fleet, "--json").stdout)
    assert [one["state"] for one in state["replicas"]] == ["ready", "ready"]
    assert state["gateway"]["url"] == "http://small-gateway.headrace"
    pod = cluster.world.objects["/apis/apps/v1/namespaces/headrace/deployments/small"]
    assert "nvidia.com/gpu.product" in json.dumps(pod)

    shown = run("status", fleet, "--json")
    assert json.loads(shown.stdout) == state
    ended = json.loads(run("down", fleet, "--json").stdout)
    assert ended["replicas"] == []
