"""The pod that a replica lives in: container, probes, volumes, security, placement."""

from __future__ import annotations

from typing import Any

from headrace.targets.kubernetes.objects import TRACK, Object, labels, selector
from headrace.targets.kubernetes.shape import HTTP_PORT, MODELS, Shape, serve

USER = 1000
CACHE = "/cache"
GPU = "nvidia.com/gpu"
PROBE_PERIOD_S = 10
NIXL_PORT = 5600


def pod(shape: Shape, track: str, *, image: str | None = None) -> Object:
    """The template of a replica's pod."""
    servers = [server(shape, number, image=image) for number in range(shape.servers_per_pod)]
    return template(shape, track, servers)


def template(shape: Shape, track: str, containers: list[Object]) -> Object:
    """A pod template around these containers."""
    spec: Object = {
        "serviceAccountName": shape.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": shape.grace_s,
        "securityContext": pod_security(),
        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [spread(shape)],
        "containers": containers,
        "volumes": volumes(shape),
    }
    return {
        "metadata": {"labels": labels(shape, "replica", **{TRACK: track})},
        "spec": spec,
    }


def pod_security() -> Object:
    """A user of its own, and the runtime's system-call filter."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """No capability and no way to one. The root file system stays writable: the NVIDIA runtime's
    hook writes to it.
    """
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def spread(shape: Shape) -> Object:
    """Over the nodes as evenly as there is room: a lost node costs its share, not more."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(shape, "replica")},
    }


def server(
    shape: Shape,
    number: int,
    *,
    image: str | None = None,
    extra: dict[str, Any] | None = None,
    serves: bool = True,
) -> Object:
    """One vLLM server. vLLM is the first process, so that SIGTERM reaches it.

    serves: whether it answers HTTP; the workers of a replica that spans nodes do not.
    """
    port = HTTP_PORT + number
    container: Object = {
        "name": "vllm" if shape.servers_per_pod == 1 else f"vllm-{number}",
        "image": image or shape.image,
        "imagePullPolicy": "IfNotPresent",
        "command": serve(shape, extra, port),
        "env": environment(shape),
    }
    if serves:
        container |= {
            "ports": [{"name": port_name(shape, number), "containerPort": port}],
            **_probes(shape, port),
            "lifecycle": {"preStop": {"sleep": {"seconds": shape.target.pre_stop_s}}},
        }
    return container | {
        "resources": resources(shape),
        "securityContext": container_security(),
        "volumeMounts": mounts(),
    }


def port_name(shape: Shape, number: int) -> str:
    """The port's name in the pod, and in the Services."""
    return "http" if shape.servers_per_pod == 1 else f"http-{number}"


def environment(shape: Shape) -> list[Object]:
    """Offline, with a home for what is written, and secrets by reference only."""
    plain = {
        "HOME": "/tmp",  # the user has no home in the image
        "USER": "vllm",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
        "FLASHINFER_WORKSPACE_BASE": f"{CACHE}/flashinfer",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(shape.startup_budget_s),
    }
    if shape.target.layout == "leader-worker":
        plain["NCCL_DEBUG"] = "WARN"
    env: list[Object] = [{"name": name, "value": value} for name, value in plain.items()]
    env += [{"name": name, "value": value} for name, value in shape.env.items()]
    if shape.target.prefill_replicas:
        host = {"fieldRef": {"fieldPath": "status.podIP"}}
        env.append({"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": host})
        env.append({"name": "VLLM_NIXL_SIDE_CHANNEL_PORT", "value": str(NIXL_PORT)})
    if shape.target.api_key_secret:
        key = {"secretKeyRef": {"name": shape.target.api_key_secret, "key": "api-key"}}
        env.append({"name": "VLLM_API_KEY", "valueFrom": key})
    return env


def _probes(shape: Shape, port: int) -> Object:
    """Loading, hung and ready are three questions: each probe asks one of them."""
    check = {"httpGet": {"path": "/health", "port": port}}
    tries = -(-shape.startup_budget_s // PROBE_PERIOD_S)
    return {
        "startupProbe": check | {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": tries},
        "readinessProbe": check | {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "livenessProbe": check
        | {"periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def resources(shape: Shape) -> Object:
    """Memory and GPUs are limited to what is requested; CPU is not, a burst may use idle cores."""
    gpus = shape.gpus_per_server
    memory = f"{shape.memory_gib}Gi"
    return {
        "requests": {"cpu": str(shape.target.cpus_per_gpu * gpus), "memory": memory, GPU: gpus},
        "limits": {"memory": memory, GPU: gpus},
    }


def mounts() -> list[Object]:
    """The model read-only, what is compiled, and shared memory."""
    return [
        {"name": "model", "mountPath": MODELS, "readOnly": True},
        {"name": "cache", "mountPath": CACHE},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]


def volumes(shape: Shape) -> list[Object]:
    """What `mounts` mounts."""
    shm = {"medium": "Memory", "sizeLimit": f"{shape.target.shm_gib}Gi"}
    return [
        {
            "name": "model",
            "persistentVolumeClaim": {"claimName": model_claim(shape), "readOnly": True},
        },
        {"name": "cache", **_cache(shape)},
        {"name": "shm", "emptyDir": shm},
    ]


def model_claim(shape: Shape) -> str:
    """The claim that replicas mount: of a Hyperdisk ML, its read-only clone."""
    storage = shape.target.storage
    if storage.kind == "existing":
        return str(storage.claim)
    return f"{shape.name}-model" + ("-ro" if storage.kind == "hyperdisk-ml" else "")


def cache_claim(shape: Shape) -> str:
    """The claim of the compile cache."""
    return f"{shape.name}-cache"


def _cache(shape: Shape) -> Object:
    kind = shape.target.compile_cache
    if kind == "pvc":
        return {"persistentVolumeClaim": {"claimName": cache_claim(shape)}}
    if kind == "node":
        path = f"/var/cache/headrace/{shape.name}"
        return {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    return {"emptyDir": {"sizeLimit": "32Gi"}}
