"""Seeded mistakes: correct manifests, each with one thing made wrong, and the rule that finds it.

`python -m tests.targets.kubernetes.mistakes` prints the table of docs/kubernetes-check.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.crds import packaged
from headrace.targets.kubernetes.check.found import Source
from headrace.targets.kubernetes.check.run import KUBERNETES, RULES
from headrace.targets.kubernetes.check.schema import check_schemas
from headrace.targets.kubernetes.manifests import everything
from headrace.targets.kubernetes.shape import shape_of
from tests.targets.kubernetes.fleets import CASES

Object = dict[str, Any]


class Folder:
    """The objects of a rendered fleet, to break."""

    def __init__(self, case: str) -> None:
        self.objects = copy.deepcopy(_base(case))

    def get(self, kind: str, name: str = "") -> Object:
        found = [o for o in self.objects if o["kind"] == kind]
        return next(o for o in found if not name or o["metadata"]["name"].endswith(name))

    def drop(self, kind: str, name: str = "") -> None:
        self.objects.remove(self.get(kind, name))

    @property
    def pod(self) -> Object:
        """The replicas' pod."""
        if any(o["kind"] == "LeaderWorkerSet" for o in self.objects):
            group = self.get("LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
            return group["leaderTemplate"]["spec"]
        return self.get("Deployment")["spec"]["template"]["spec"]

    @property
    def server(self) -> Object:
        return self.pod["containers"][0]

    @property
    def command(self) -> list[str]:
        return self.server["command"]

    def without(self, option: str, values: int = 1) -> None:
        at = self.command.index(option)
        del self.command[at : at + 1 + values]

    def env(self, name: str) -> Object:
        return next(entry for entry in self.server["env"] if entry["name"] == name)


@dataclass(frozen=True)
class Mistake:
    rule: str
    text: str
    case: str
    make: Callable[[Folder], None]


MISTAKES: list[Mistake] = []


def mistake(
    rule: str, text: str, case: str = "one-node"
) -> Callable[[Callable[[Folder], None]], Callable[[Folder], None]]:
    def keep(make: Callable[[Folder], None]) -> Callable[[Folder], None]:
        MISTAKES.append(Mistake(rule, text, case, make))
        return make

    return keep


@cache
def _base(case: str) -> list[Object]:
    return [manifest.object for manifest in everything(shape_of(CASES[case]), bench=True)]


def sources(objects: list[Object]) -> list[Source]:
    return [Source(value, "all.yaml", number) for number, value in enumerate(objects, 1)]


def broken(seeded: Mistake) -> list[Object]:
    folder = Folder(seeded.case)
    seeded.make(folder)
    return folder.objects


def by_rules(objects: list[Object]) -> set[str]:
    """The rules that find something."""
    cluster = Cluster(sources(objects))
    return {rule.id for rule in RULES.values() for _ in rule.findings(cluster)}


@cache
def by_schema(seeded: Mistake) -> tuple[str, ...]:
    """What schemas alone say of the objects that the mistake touched."""
    untouched = _base(seeded.case)
    touched = [source for source in sources(broken(seeded)) if source.object not in untouched]
    findings, _ = check_schemas(touched, packaged(), KUBERNETES)
    return tuple(map(str, findings))


def table() -> Iterator[str]:
    """The docs' table, a line per mistake."""
    yield "| mistake | rule | schemas alone |"
    yield "|---|---|---|"
    for seeded in MISTAKES:
        schema = "found" if by_schema(seeded) else "not found"
        yield f"| {seeded.text} | `{seeded.rule}` | {schema} |"


ROUTED = "hyperdisk-canary-route"
POOL = "inference-pool-hpa"


@mistake("schema", "a field of a Deployment is misspelled")
def _(f: Folder) -> None:
    f.get("Deployment")["spec"]["replica"] = 8


@mistake("schema", "an environment variable's value is a number")
def _(f: Folder) -> None:
    f.env("HF_HUB_OFFLINE")["value"] = 1


@mistake("schema", "an InferencePool lists a port twice", POOL)
def _(f: Folder) -> None:
    f.get("InferencePool")["spec"]["targetPorts"] *= 2


@mistake("schema", "an HTTPRoute's backend has no port", ROUTED)
def _(f: Folder) -> None:
    del f.get("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["port"]


@mistake("schema", "a LeaderWorkerSet's pod has an unknown field", "leader-worker")
def _(f: Folder) -> None:
    f.pod["nodeSelectors"] = {}


@mistake("name-invalid", "a Deployment's name has capitals")
def _(f: Folder) -> None:
    f.get("Deployment")["metadata"]["name"] = "Qwen_27B"


@mistake("object-twice", "two Services have one name")
def _(f: Folder) -> None:
    f.objects.append(copy.deepcopy(f.get("Service")))


@mistake("selector-mismatch", "the selector wants a label that the pods lack")
def _(f: Folder) -> None:
    f.get("Deployment")["spec"]["selector"]["matchLabels"]["app"] = "vllm"


@mistake("selectors-overlap", "canary and stable select the same pods", ROUTED)
def _(f: Folder) -> None:
    for name in ("fleet-12", "canary"):
        del f.get("Deployment", name)["spec"]["selector"]["matchLabels"]["headrace.dev/track"]


@mistake("service-selects-nothing", "a Service selects a label that no pod has")
def _(f: Folder) -> None:
    f.get("Service")["spec"]["selector"]["app.kubernetes.io/instance"] = "other"


@mistake("monitor-selects-nothing", "a PodMonitor selects no pod")
def _(f: Folder) -> None:
    f.get("PodMonitor")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] = "other"


@mistake("pool-selects-nothing", "an InferencePool selects no pod", POOL)
def _(f: Folder) -> None:
    f.get("InferencePool")["spec"]["selector"]["matchLabels"]["headrace.dev/track"] = "green"


@mistake("budget-blocks-drain", "a PodDisruptionBudget allows no eviction")
def _(f: Folder) -> None:
    budget = f.get("PodDisruptionBudget")["spec"]
    del budget["maxUnavailable"]
    budget["minAvailable"] = "100%"


@mistake("budget-selects-nothing", "a PodDisruptionBudget selects no pod")
def _(f: Folder) -> None:
    labels = f.get("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    labels["app.kubernetes.io/instance"] = "other"


@mistake("budget-missing", "eight GPU pods have no PodDisruptionBudget")
def _(f: Folder) -> None:
    f.drop("PodDisruptionBudget")


@mistake("surge-needs-gpus", "a rollout surges, with all GPUs taken")
def _(f: Folder) -> None:
    del f.get("Deployment")["spec"]["strategy"]


@mistake("rollout-stuck", "neither surge nor unavailable pods are allowed")
def _(f: Folder) -> None:
    f.get("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 0


@mistake("volume-undeclared", "a volume is mounted but not declared")
def _(f: Folder) -> None:
    f.server["volumeMounts"][0]["name"] = "models"


@mistake("mount-path-twice", "two volumes are mounted at one path")
def _(f: Folder) -> None:
    f.server["volumeMounts"][1]["mountPath"] = "/models"


@mistake("claim-missing", "the model's claim is not there")
def _(f: Folder) -> None:
    f.drop("PersistentVolumeClaim", "-model")


@mistake("claim-on-one-node", "replicas on several nodes share a ReadWriteOnce volume")
def _(f: Folder) -> None:
    f.get("PersistentVolumeClaim", "-model")["spec"]["accessModes"] = ["ReadWriteOnce"]


@mistake("claim-read-only", "a ReadOnlyMany volume is mounted for writing", ROUTED)
def _(f: Folder) -> None:
    del f.pod["volumes"][0]["persistentVolumeClaim"]["readOnly"]
    del f.server["volumeMounts"][0]["readOnly"]


@mistake("port-twice", "two ports of a pod have one number", "node-pods")
def _(f: Folder) -> None:
    f.pod["containers"][1]["ports"][0]["containerPort"] = 8000


@mistake("env-twice", "an environment variable is set twice")
def _(f: Folder) -> None:
    f.server["env"].append({"name": "HOME", "value": "/root"})


@mistake("probe-port", "a probe asks a port that is not there")
def _(f: Folder) -> None:
    f.server["readinessProbe"]["httpGet"]["port"] = 8080


@mistake("service-port", "a Service leads to a port that no pod has")
def _(f: Folder) -> None:
    f.get("Service")["spec"]["ports"][0]["targetPort"] = 9000


@mistake("monitor-port", "a PodMonitor scrapes a port that no pod has")
def _(f: Folder) -> None:
    f.get("PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"] = "metrics"


@mistake("pool-port", "an InferencePool names a port on which nothing listens", POOL)
def _(f: Folder) -> None:
    f.get("InferencePool")["spec"]["targetPorts"] = [{"number": 8080}]


@mistake("service-links", "a Service named vllm sets VLLM_PORT")
def _(f: Folder) -> None:
    f.get("Service")["metadata"]["name"] = "vllm"
    del f.pod["enableServiceLinks"]


@mistake("route-backend", "an HTTPRoute leads to a Service that is not there", ROUTED)
def _(f: Folder) -> None:
    f.get("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"] = "gateway"


@mistake("route-weights", "all weights of a route are 0", ROUTED)
def _(f: Folder) -> None:
    f.get("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["weight"] = 0


@mistake("route-parent", "an HTTPRoute's Gateway is not there", ROUTED)
def _(f: Folder) -> None:
    f.drop("Gateway")


@mistake("scale-target", "an autoscaler's target is not there", POOL)
def _(f: Folder) -> None:
    f.get("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] = "qwen"


@mistake("scale-and-replicas", "autoscaler and Deployment both set the replicas", POOL)
def _(f: Folder) -> None:
    f.get("Deployment")["spec"]["replicas"] = 8


@mistake("scale-bounds", "an autoscaler's smallest number is above its largest", ROUTED)
def _(f: Folder) -> None:
    f.get("ScaledObject")["spec"]["maxReplicaCount"] = 1


@mistake("config-missing", "the gateway's ConfigMap is not there")
def _(f: Folder) -> None:
    f.drop("ConfigMap", "-gateway")


@mistake("account-missing", "the pods' ServiceAccount is not there")
def _(f: Folder) -> None:
    f.drop("ServiceAccount")


@mistake("picker-missing", "the endpoint picker's Service is not there", POOL)
def _(f: Folder) -> None:
    f.drop("Service", "-picker")


@mistake("gpu-request", "GPUs requested and limited differ")
def _(f: Folder) -> None:
    f.server["resources"]["requests"]["nvidia.com/gpu"] = 0


@mistake("request-over-limit", "memory is requested over its limit")
def _(f: Folder) -> None:
    f.server["resources"]["requests"]["memory"] = "1Ti"


@mistake("gpu-count", "a server of two tensor-parallel ranks gets one GPU")
def _(f: Folder) -> None:
    f.command[f.command.index("--tensor-parallel-size") + 1] = "2"


@mistake("gpu-neighbours", "a GPU pod requests no CPU")
def _(f: Folder) -> None:
    del f.server["resources"]["requests"]["cpu"]


@mistake("shared-memory", "/dev/shm is the container's 64 MB")
def _(f: Folder) -> None:
    del f.server["volumeMounts"][2]


@mistake("fabric-on-one-node", "NCCL's fabric is set for a replica on one node")
def _(f: Folder) -> None:
    f.server["env"].append({"name": "NCCL_NET", "value": "gIB"})


@mistake("startup-probe", "there is no startup probe")
def _(f: Folder) -> None:
    del f.server["startupProbe"]


@mistake("startup-budget", "a server is killed after 30 s of loading")
def _(f: Folder) -> None:
    f.server["startupProbe"]["failureThreshold"] = 3


@mistake("model-per-pod", "every pod downloads the model")
def _(f: Folder) -> None:
    f.command[2] = "Qwen/Qwen3.5-27B-FP8"


@mistake("model-revision", "the download names no revision")
def _(f: Folder) -> None:
    env = f.get("Job", "-download")["spec"]["template"]["spec"]["containers"][0]["env"]
    next(entry for entry in env if entry["name"] == "REVISION")["value"] = ""


@mistake("model-offline", "a server with a local model asks the hub")
def _(f: Folder) -> None:
    f.server["env"].remove(f.env("HF_HUB_OFFLINE"))


@mistake("compile-cache", "compiled kernels are lost with the pod")
def _(f: Folder) -> None:
    f.pod["volumes"][1] = {"name": "cache", "emptyDir": {}}


@mistake("drain-missing", "requests in flight are aborted at SIGTERM")
def _(f: Folder) -> None:
    f.without("--shutdown-timeout")


@mistake("pre-stop", "there is no preStop hook")
def _(f: Folder) -> None:
    del f.server["lifecycle"]


@mistake("grace-period", "the grace period is shorter than the drain")
def _(f: Folder) -> None:
    f.pod["terminationGracePeriodSeconds"] = 60


@mistake("first-process", "a shell keeps SIGTERM to itself")
def _(f: Folder) -> None:
    f.server["command"] = ["sh", "-c", " ".join(f.command)]


@mistake("secret-as-text", "an API key is in the manifest")
def _(f: Folder) -> None:
    f.server["env"].append({"name": "VLLM_API_KEY", "value": "abc"})


@mistake("secret-in-command", "an API key is in the command line")
def _(f: Folder) -> None:
    f.command.append("--api-key=abc")


@mistake("secret-in-manifest", "a Secret's values are in the folder", ROUTED)
def _(f: Folder) -> None:
    f.objects.append(secret({"api-key": "YWJj"}))


@mistake("secret-key", "a Secret lacks the key that is asked for", ROUTED)
def _(f: Folder) -> None:
    f.objects.append(secret({"apikey": "YWJj"}))


def secret(data: dict[str, str]) -> Object:
    metadata = {"name": "api-key", "namespace": "headrace"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


@mistake("image-pinned", "the image is named by the tag latest")
def _(f: Folder) -> None:
    f.server["image"] = "vllm/vllm-openai:latest"


@mistake("runs-as-root", "the server runs as root")
def _(f: Folder) -> None:
    f.pod["securityContext"] |= {"runAsUser": 0, "runAsNonRoot": False}


@mistake("privileges", "the server is privileged")
def _(f: Folder) -> None:
    f.server["securityContext"] = {"privileged": True}


@mistake("seccomp", "there is no seccomp profile")
def _(f: Folder) -> None:
    del f.pod["securityContext"]["seccompProfile"]


@mistake("metric-gone", "an alert reads a metric that vLLM no longer exposes")
def _(f: Folder) -> None:
    group = f.get("PrometheusRule")["spec"]["groups"][0]
    group["rules"][0]["expr"] = "vllm:gpu_cache_usage_perc > 0.9"


if __name__ == "__main__":
    for line in table():
        print(line)
