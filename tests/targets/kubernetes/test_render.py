"""What is rendered: golden files, the figures that must add up, overlays, chart, bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import GoalMissedError, InputError
from headrace.spec.lengths import parse_lengths
from headrace.targets.kubernetes.benchmark import as_typed
from headrace.targets.kubernetes.check.run import check
from headrace.targets.kubernetes.envoy import pods as gateway_pods
from headrace.targets.kubernetes.manifests import everything
from headrace.targets.kubernetes.providers import PROVIDERS, patched, patches
from headrace.targets.kubernetes.render import render
from headrace.targets.kubernetes.shape import shape_of
from headrace.targets.kubernetes.text import annotated
from tests.targets.kubernetes.fleets import CASES, LLAMA, plan, shape
from tests.targets.kubernetes.golden import FOLDER, kept

pytestmark = pytest.mark.integration


def objects(case: str, folder: str = "base/") -> dict[str, dict[str, Any]]:
    return {
        f"{value['kind']}/{value['metadata']['name']}": value
        for name, text in render(CASES[case]).files.items()
        if name.startswith(folder) and not name.endswith("kustomization.yaml")
        for value in yaml.safe_load_all(text)
    }


def server(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("case", CASES)
def test_golden_files(case: str) -> None:
    present = {
        str(path.relative_to(FOLDER / case)): path.read_text()
        for path in (FOLDER / case).rglob("*")
        if path.is_file()
    }
    assert kept(case) == present, "run: python -m tests.targets.kubernetes.golden"


def test_the_same_plan_gives_the_same_text() -> None:
    assert render(plan(2)).files == render(plan(2)).files


def test_ninety_six_replicas_of_one_gpu_are_ninety_six_pods() -> None:
    deployment = objects("twelve-nodes")["Deployment/fleet-12"]
    assert deployment["spec"]["replicas"] == 96
    assert server(deployment)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 6}


def test_a_node_pod_holds_a_server_per_replica_on_ports_of_their_own() -> None:
    found = objects("node-pods")
    containers = found["Deployment/fleet-2"]["spec"]["template"]["spec"]["containers"]
    assert found["Deployment/fleet-2"]["spec"]["replicas"] == 2
    assert [c["ports"][0]["containerPort"] for c in containers] == list(range(8000, 8008))
    assert [c["command"][c["command"].index("--port") + 1] for c in containers] == [
        str(port) for port in range(8000, 8008)
    ]
    assert len(found["Service/fleet-2"]["spec"]["ports"]) == 8


def test_one_server_over_a_node_uses_data_parallelism() -> None:
    deployment = objects("node-dp")["Deployment/fleet-12"]
    command = server(deployment)["command"]
    assert deployment["spec"]["replicas"] == 12
    assert command[command.index("--data-parallel-size") + 1] == "8"
    assert server(deployment)["resources"]["limits"]["nvidia.com/gpu"] == 8


def test_a_replica_over_two_nodes_is_a_group() -> None:
    group = objects("leader-worker")["LeaderWorkerSet/fleet-2"]["spec"]["leaderWorkerTemplate"]
    leader = group["leaderTemplate"]["spec"]["containers"][0]
    worker = group["workerTemplate"]["spec"]["containers"][0]
    assert group["size"] == 2
    assert "--headless" in worker["command"]
    assert "--headless" not in leader["command"]
    assert "readinessProbe" not in worker


def test_the_startup_budget_follows_the_planned_load_time() -> None:
    slow = shape(1, LLAMA, storage={"read_gb_s": 0.1})
    assert slow.startup_budget_s >= 3 * slow.planned_load_s > 4000
    deployment = next(m.object for m in everything(slow) if m.kind == "Deployment")
    probe = server(deployment)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= slow.startup_budget_s


def test_the_seconds_of_the_end_add_up() -> None:
    made = shape(1, drain_s=120, pre_stop_s=20)
    pod = next(m.object for m in everything(made) if m.kind == "Deployment")["spec"]["template"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 20 + 120 + 15
    command = pod["spec"]["containers"][0]["command"]
    assert command[command.index("--shutdown-timeout") + 1] == "120"


def test_the_gateway_grows_with_the_gpus() -> None:
    assert gateway_pods(shape(1)) == 2
    assert gateway_pods(shape(12)) == 3


def test_secrets_are_references() -> None:
    deployment = objects("hyperdisk-canary-route")["Deployment/fleet-12"]
    entry = next(e for e in server(deployment)["env"] if e["name"] == "VLLM_API_KEY")
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "api-key", "key": "api-key"}}


def test_an_autoscaled_deployment_sets_no_replicas() -> None:
    found = objects("hyperdisk-canary-route")
    assert "replicas" not in found["Deployment/fleet-12"]["spec"]
    query = found["ScaledObject/fleet-12"]["spec"]["triggers"][0]["metadata"]["query"]
    assert query.startswith("sum(vllm:num_requests_waiting{")


def test_the_clone_is_applied_apart_from_the_base() -> None:
    files = render(CASES["hyperdisk-canary-route"]).files
    assert "15-model-clone.yaml" in "".join(files["base/kustomization.yaml"])
    resources = yaml.safe_load(files["base/kustomization.yaml"])["resources"]
    assert "15-model-clone.yaml" not in resources


def test_gkes_load_balancer_is_told_of_health_and_long_answers() -> None:
    kinds = ("HealthCheckPolicy", "GCPBackendPolicy")

    def policies(**target: Any) -> list[dict[str, Any]]:
        made = everything(shape(1, exposure={"gateway_class": target.pop("of")}, **target))
        return [m.object["spec"]["targetRef"] for m in made if m.kind in kinds]

    service = {"group": "", "kind": "Service", "name": "fleet-1-gateway"}
    assert policies(of="gke-l7-rilb") == [service] * 2
    assert policies(of="envoy-gateway") == []
    pool = policies(of="gke-l7-rilb", data_plane="inference-pool")
    assert {target["kind"] for target in pool} == {"InferencePool"}


def test_fabric_libraries_only_where_a_replica_spans_nodes() -> None:
    for case, plan_ in CASES.items():
        text = render(plan_).files["overlays/gke/kustomization.yaml"]
        assert ("NCCL_NET" in text) == (case == "leader-worker")


def test_a_note_on_a_path_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        annotated("a: 1\n", {"b": "lost"})


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not here")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_kustomize_makes_what_up_applies(provider: Any, tmp_path: Path) -> None:
    case = "two-nodes-tensor-parallel"
    write(tmp_path, render(CASES[case]).files)
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "overlays" / provider)],
        capture_output=True,
        text=True,
        check=True,
    )
    made = shape_of(CASES[case])
    manifests = everything(made)
    ours = patched(manifests, patches(made, manifests, provider))
    assert by_name(yaml.safe_load_all(done.stdout)) == by_name(ours)


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not here")
@pytest.mark.parametrize("case", CASES)
def test_helm_accepts_the_chart(case: str, tmp_path: Path) -> None:
    write(tmp_path, render(CASES[case]).files)
    chart = str(tmp_path / "chart")
    subprocess.run(["helm", "lint", "--strict", chart], check=True, capture_output=True)
    options = ["--namespace", "prod", "--set", "modelReady=true,nodeSelector.a=b"]
    done = subprocess.run(
        ["helm", "template", "x", chart, *options], check=True, capture_output=True, text=True
    )
    (tmp_path / "made.yaml").write_text(done.stdout)
    assert check(tmp_path / "made.yaml").findings == []
    assert "⟦" not in done.stdout
    found = [d for d in yaml.safe_load_all(done.stdout) if d["kind"] == "Deployment"]
    namespaces = {value["metadata"]["namespace"] for value in found}
    assert namespaces <= {"prod"}


def write(folder: Path, files: Any) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def by_name(values: Any) -> dict[tuple[str, str], Any]:
    return {(value["kind"], value["metadata"]["name"]): value for value in values}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"storage": {"kind": "existing"}}, "storage.claim: missing"),
        ({"canary": {"image": "x"}, "prefill_replicas": 2}, "canary: not with"),
        ({"prefill_replicas": 8}, "leave none that decode"),
        ({"layout": "leader-worker", "nodes_per_replica": 3}, "no multiple of 3"),
    ],
)
def test_options_that_contradict_each_other(target: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        render(plan(1, **target))


def test_simulated_gpus_are_refused() -> None:
    made = plan(1)
    engine = made.fleet.engine.model_copy(update={"kind": "simulated"})
    fleet = made.fleet.model_copy(update={"engine": engine})
    with pytest.raises(InputError, match="simulated does not run on Kubernetes"):
        render(made.model_copy(update={"fleet": fleet}))


def run(*words: object) -> Any:
    verb = str(words[0])
    return CliRunner().invoke(application(verb), list(map(str, words)), catch_exceptions=False)


def test_render_check_and_diff_from_the_command_line(tmp_path: Path) -> None:
    fleet, out = tmp_path / "fleet.yaml", tmp_path / "out"
    fleet.write_text(
        "name: small\nmodel: Qwen/Qwen3.5-0.8B\nhardware: {gpu: B200, gpus_per_node: 2}\n"
    )
    assert run("render", "kubernetes", fleet, "-o", out).exit_code == 0
    assert run("render", "kubernetes", fleet, "-o", out, "--diff").stdout == ""

    with pytest.raises(GoalMissedError, match="finding"):
        run("check", out, "--json")
    unpinned = ["--ignore", "image-pinned", "--ignore", "model-revision"]
    done = run("check", out, "--json", *unpinned)
    assert json.loads(done.stdout)["findings"] == []

    target = out / "base" / "20-replicas.yaml"
    target.write_text(target.read_text().replace("replicas: 2", "replicas: 3"))
    result = CliRunner().invoke(
        application("render"), ["render", "kubernetes", str(fleet), "-o", str(out), "--diff"]
    )
    assert isinstance(result.exception, GoalMissedError)
    assert "-  replicas: 3\n+  replicas: 2\n" in result.stdout


def test_several_pods_load_together() -> None:
    found = objects("twelve-nodes", "benchmark/")
    first = found["Job/fleet-12-benchmark"]["spec"]["template"]["spec"]["containers"][0]
    others = found["Job/fleet-12-benchmark-agents"]["spec"]
    assert first["command"][-4:] == ["--agents", "3", "--listen", "0.0.0.0:7311"]
    assert others["parallelism"] == others["completions"] == 3
    join = others["template"]["spec"]["containers"][0]["command"]
    assert join[:4] == ["headrace", "bench", "--join", "fleet-12-benchmark.headrace:7311"]
    assert found["Service/fleet-12-benchmark"]["spec"]["publishNotReadyAddresses"]


@pytest.mark.parametrize(
    "typed",
    ["1024", "uniform:100-200", "normal:1000,50", "lognormal:1000,500", "empirical:10,20,30"],
)
def test_lengths_are_written_as_bench_reads_them(typed: str) -> None:
    assert as_typed(parse_lengths(typed, "--input-tokens")) == typed


def test_a_name_that_is_too_long_for_what_is_built_from_it() -> None:
    made = plan(1)
    fleet = made.fleet.model_copy(update={"name": "a" * 41})
    with pytest.raises(InputError, match="41 characters; expected 40"):
        render(made.model_copy(update={"fleet": fleet}))


def test_bench_has_every_option_that_the_jobs_use() -> None:
    group: Any = typer.main.get_command(application("bench"))
    has = {option for p in group.commands["bench"].params for option in p.opts}
    if "--join" not in has:
        pytest.skip("bench loads from one machine only")
    for job in ("Job/fleet-12-benchmark", "Job/fleet-12-benchmark-agents"):
        pod = objects("twelve-nodes", "benchmark/")[job]["spec"]["template"]["spec"]
        used = {word for word in pod["containers"][0]["command"] if word.startswith("--")}
        assert used <= has
