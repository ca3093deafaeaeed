"""The benchmark as a Job: `headrace bench` in several pods, each with its share of the load."""

from __future__ import annotations

from headrace.targets.kubernetes.network import entry
from headrace.targets.kubernetes.objects import Manifest, Object, labels, new
from headrace.targets.kubernetes.pods import container_security, pod_security
from headrace.targets.kubernetes.shape import HTTP_PORT, Shape

DURATION_S = 300
PROCESSES = 8
RESULTS = "/results"


def benchmark(shape: Shape) -> list[Manifest]:
    """The Job and the volume of its results; nothing without an image."""
    if not shape.target.bench_image:
        return []
    return [_results(shape), _job(shape)]


def bench_command(shape: Shape) -> list[str]:
    """One pod's part of the load. Kubernetes puts the pod's number into the folder's name."""
    input_tokens, output_tokens, in_flight = shape.workload
    share = max(1, round(in_flight / shape.target.bench_pods))
    port = 80 if shape.target.data_plane == "envoy" else HTTP_PORT
    command = [
        *("headrace", "bench"),
        *("--url", f"http://{entry(shape)}:{port}"),
        *("--model", shape.model),
        *("--input-tokens", str(input_tokens), "--output-tokens", str(output_tokens)),
        *("--concurrency", str(share), "--duration", str(DURATION_S)),
        *("--processes", str(PROCESSES), "--seed", "$(JOB_COMPLETION_INDEX)"),
        *("--output", f"{RESULTS}/$(POD_NAME)"),
    ]
    for goal, limit_ms in shape.slo_ms.items():
        if limit_ms:
            command += [f"--{goal}-p99-ms", f"{limit_ms:g}"]
    if shape.target.api_key_secret:
        command += ["--api-key-env", "API_KEY"]
    return command


def _results(shape: Shape) -> Manifest:
    spec: Object = {"accessModes": ["ReadWriteMany"]}
    if shape.target.cache_class:
        spec["storageClassName"] = shape.target.cache_class
    spec["resources"] = {"requests": {"storage": "20Gi"}}
    name = f"{shape.name}-results"
    made = new(shape, "v1", "PersistentVolumeClaim", name, "benchmark", {"spec": spec})
    return Manifest(made, "Where the benchmark's pods leave their runs.")


def _job(shape: Shape) -> Manifest:
    pods = shape.target.bench_pods
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": shape.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"batch.kubernetes.io/job-name": _name(shape)}},
            }
        ],
        "containers": [_container(shape)],
        "volumes": [
            {
                "name": "results",
                "persistentVolumeClaim": {"claimName": f"{shape.name}-results"},
            }
        ],
    }
    spec = {
        "completions": pods,
        "parallelism": pods,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "activeDeadlineSeconds": 3600,
        "template": {"metadata": {"labels": labels(shape, "benchmark")}, "spec": pod},
    }
    made = new(shape, "batch/v1", "Job", _name(shape), "benchmark", {"spec": spec})
    text = (
        f"Loads the fleet as planned from {pods} pod(s) at once and leaves a run per pod in the "
        "volume. The pods do not start in the same second: compare their windows."
    )
    notes = {"spec.backoffLimit": "half a benchmark is none"}
    return Manifest(made, text, notes)


def _name(shape: Shape) -> str:
    return f"{shape.name}-benchmark"


def _container(shape: Shape) -> Object:
    env: list[Object] = [
        {"name": "HOME", "value": "/tmp"},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    if shape.target.api_key_secret:
        key = {"secretKeyRef": {"name": shape.target.api_key_secret, "key": "api-key"}}
        env.append({"name": "API_KEY", "valueFrom": key})
    return {
        "name": "bench",
        "image": shape.target.bench_image,
        "command": bench_command(shape),
        "env": env,
        "resources": {
            "requests": {"cpu": str(PROCESSES), "memory": "8Gi"},
            "limits": {"memory": "16Gi"},
        },
        "securityContext": container_security(),
        "volumeMounts": [{"name": "results", "mountPath": RESULTS}],
    }
