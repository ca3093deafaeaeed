"""The benchmark as Jobs: one pod measures, the others load with it at the same moment."""

from __future__ import annotations

from headrace.spec.lengths import AnyLengths, Empirical, Fixed, Uniform
from headrace.targets.kubernetes.network import entry
from headrace.targets.kubernetes.objects import Manifest, Object, labels, new, selector
from headrace.targets.kubernetes.pods import container_security, pod_security
from headrace.targets.kubernetes.shape import HTTP_PORT, Shape

DURATION_S = 300
PROCESSES = 8
RESULTS = "/results"
JOIN_PORT = 7311
TOKEN = "HEADRACE_BENCH_TOKEN"


def benchmark(shape: Shape) -> list[Manifest]:
    """The Jobs and the volume of their results; nothing without an image."""
    if not shape.target.bench_image:
        return []
    found = [_results(shape), _job(shape)]
    if shape.target.bench_pods > 1:
        found += [_service(shape), _agents(shape)]
    return found


def bench_command(shape: Shape) -> list[str]:
    """What the measuring pod runs. Its run's folder has the pod's name."""
    input_tokens, output_tokens = map(as_typed, shape.lengths)
    port = 80 if shape.target.data_plane == "envoy" else HTTP_PORT
    command = [
        *("headrace", "bench"),
        *("--url", f"http://{entry(shape)}:{port}"),
        *("--model", shape.model),
        *("--input-tokens", input_tokens, "--output-tokens", output_tokens),
        *("--concurrency", str(shape.in_flight), "--duration", str(DURATION_S)),
        *("--processes", str(PROCESSES)),
        *("--output", f"{RESULTS}/$(POD_NAME)"),
    ]
    for goal, limit_ms in shape.slo_ms.items():
        if limit_ms:
            command += [f"--{goal}-p99-ms", f"{limit_ms:g}"]
    if shape.target.api_key_secret:
        command += ["--api-key-env", "API_KEY"]
    others = shape.target.bench_pods - 1
    if others:
        command += ["--agents", str(others), "--listen", f"0.0.0.0:{JOIN_PORT}"]
    return command


def agent_command(shape: Shape) -> list[str]:
    """What every other pod runs: all else comes from the measuring one."""
    where = f"{_name(shape)}.{shape.namespace}:{JOIN_PORT}"
    return ["headrace", "bench", "--join", where, "--processes", str(PROCESSES)]


def as_typed(lengths: AnyLengths) -> str:
    """Lengths as `bench` reads them."""
    if isinstance(lengths, Fixed):
        return str(lengths.tokens)
    if isinstance(lengths, Uniform):
        return f"uniform:{lengths.low}-{lengths.high}"
    if isinstance(lengths, Empirical):
        return "empirical:" + ",".join(map(str, lengths.values))
    return f"{lengths.distribution}:{lengths.mean_tokens:g},{lengths.stdev_tokens:g}"


def token_secret(shape: Shape) -> str:
    """The Secret with which the pods prove to each other that they belong together."""
    return f"{shape.name}-bench"


def _results(shape: Shape) -> Manifest:
    spec: Object = {"accessModes": ["ReadWriteMany"]}
    if shape.target.cache_class:
        spec["storageClassName"] = shape.target.cache_class
    spec["resources"] = {"requests": {"storage": "20Gi"}}
    name = f"{shape.name}-results"
    made = new(shape, "v1", "PersistentVolumeClaim", name, "benchmark", {"spec": spec})
    return Manifest(made, "Where the benchmark leaves its runs.")


def _job(shape: Shape) -> Manifest:
    made = _job_of(shape, _name(shape), "benchmark", 1, bench_command(shape))
    others = shape.target.bench_pods - 1
    text = "Loads the fleet as planned and leaves a run in the volume." + (
        f" {others} more pod(s) load with it and start at the same moment; their records are "
        f"merged here.\nNeeds the Secret {token_secret(shape)} with the key `token`: any random "
        "text."
        if others
        else ""
    )
    return Manifest(made, text, {"spec.backoffLimit": "half a benchmark is none"})


def _agents(shape: Shape) -> Manifest:
    name, others = f"{_name(shape)}-agents", shape.target.bench_pods - 1
    made = _job_of(shape, name, "benchmark-agent", others, agent_command(shape))
    return Manifest(made, "The pods that load with the measuring one; they wait for it.")


def _service(shape: Shape) -> Manifest:
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(shape, "benchmark"),
        "ports": [{"name": "join", "port": JOIN_PORT, "targetPort": "join"}],
    }
    made = new(shape, "v1", "Service", _name(shape), "benchmark", {"spec": spec})
    return Manifest(made, "Where the other pods find the measuring one.")


def _job_of(shape: Shape, name: str, component: str, pods: int, command: list[str]) -> Object:
    spec = {
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": 0,
        "activeDeadlineSeconds": 3600,
        "template": {
            "metadata": {"labels": labels(shape, component)},
            "spec": _pod(shape, component, command),
        },
    }
    return new(shape, "batch/v1", "Job", name, component, {"spec": spec})


def _pod(shape: Shape, component: str, command: list[str]) -> Object:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": shape.name}},
    }
    claim = {"claimName": f"{shape.name}-results"}
    return {
        "restartPolicy": "Never",
        "serviceAccountName": shape.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [spread],
        "containers": [_container(shape, component, command)],
        "volumes": [{"name": "results", "persistentVolumeClaim": claim}],
    }


def _container(shape: Shape, component: str, command: list[str]) -> Object:
    container: Object = {
        "name": "bench",
        "image": shape.target.bench_image,
        "command": command,
        "env": _environment(shape),
    }
    if component == "benchmark" and shape.target.bench_pods > 1:
        container["ports"] = [{"name": "join", "containerPort": JOIN_PORT}]
    return container | {
        "resources": {
            "requests": {"cpu": str(PROCESSES), "memory": "8Gi"},
            "limits": {"memory": "16Gi"},
        },
        "securityContext": container_security(),
        "volumeMounts": [{"name": "results", "mountPath": RESULTS}],
    }


def _environment(shape: Shape) -> list[Object]:
    env: list[Object] = [
        {"name": "HOME", "value": "/tmp"},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    if shape.target.bench_pods > 1:
        env.append(_secret(TOKEN, token_secret(shape), "token"))
    if shape.target.api_key_secret:
        env.append(_secret("API_KEY", shape.target.api_key_secret, "api-key"))
    return env


def _secret(variable: str, name: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _name(shape: Shape) -> str:
    return f"{shape.name}-benchmark"
