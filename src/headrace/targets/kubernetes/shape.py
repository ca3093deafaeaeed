"""From a plan to the figures that the manifests are built from: pods, GPUs, arguments, budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from headrace.engines.vllm import flags
from headrace.engines.vllm.args import command
from headrace.errors import InputError
from headrace.planner.plan import Plan
from headrace.spec.kubernetes import KubernetesTarget
from headrace.spec.lengths import AnyLengths

GIB = 2**30
MODELS = "/models"
"""Where the model's volume is mounted."""
HTTP_PORT = 8000
COMPILE_S = 180
"""Compilation and CUDA graph capture of a first start; later ones find them in the cache."""
MIN_STARTUP_S = 600
STARTUP_MARGIN = 3
"""A volume under the load of a whole fleet reads far below its rate."""
LONGEST_NAME = 40
"""Services are named after the fleet, with up to 23 characters more; DNS allows 63."""
PICKER_IMAGE = "registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0"
END_S = 15
"""What vLLM takes to end after its last request."""


@dataclass(frozen=True)
class Shape:
    """What one fleet is on a cluster. Everything that several builders need, computed once."""

    name: str
    model: str
    gpu: str
    version: str
    target: KubernetesTarget
    image: str
    tensor_parallel: int
    replicas: int
    gpus_per_node: int
    replicas_per_node: int
    weights_bytes: float
    """Of the whole model: what a replica reads when it starts."""
    args: dict[str, Any]
    """vLLM's options without host, port and name."""
    env: dict[str, str]
    policy: str
    slo_ms: dict[str, float | None]
    acceptance: float | None
    lengths: tuple[AnyLengths, AnyLengths]
    """Input and output tokens of the workload."""
    in_flight: int
    """Requests in flight over the whole fleet, as planned."""

    @property
    def namespace(self) -> str:
        """The namespace of every object."""
        return self.target.namespace

    @property
    def picker_image(self) -> str:
        """The endpoint picker of an InferencePool."""
        return self.target.picker_image or PICKER_IMAGE

    @property
    def servers_per_pod(self) -> int:
        """vLLM servers in one pod."""
        return self.replicas_per_node if self.target.layout == "node-pods" else 1

    @property
    def pods(self) -> int:
        """Pods of the replicas (of a leader and its workers: one group)."""
        layout = self.target.layout
        if layout in ("node-pods", "node-dp"):
            return math.ceil(self.replicas / self.replicas_per_node)
        if layout == "leader-worker":
            return self.replicas // self.target.nodes_per_replica
        return self.replicas

    @property
    def pods_per_node(self) -> int:
        """Pods that share a node."""
        return self.replicas_per_node if self.target.layout == "replica-pods" else 1

    @property
    def gpus_per_server(self) -> int:
        """GPUs that one server (one container) sees."""
        if self.target.layout == "node-dp":
            return self.tensor_parallel * self.replicas_per_node
        return self.tensor_parallel

    @property
    def planned_load_s(self) -> int:
        """From the container's start to its first answer, as planned: read, compile, capture."""
        read_s = self.weights_bytes / (self.target.storage.read_gb_s * 1e9)
        return math.ceil(read_s + COMPILE_S)

    @property
    def startup_budget_s(self) -> int:
        """How long a server may load before it is killed; whole tens of seconds."""
        return math.ceil(max(MIN_STARTUP_S, STARTUP_MARGIN * self.planned_load_s) / 10) * 10

    @property
    def grace_s(self) -> int:
        """From the pod's deletion to SIGKILL: hook, drain and vLLM's own end."""
        return self.target.pre_stop_s + self.drain_s + END_S

    @property
    def drain_s(self) -> int:
        """Seconds for requests in flight; the fleet file's shutdown_timeout wins."""
        return int(self.args.get("shutdown_timeout", 0))

    @property
    def memory_gib(self) -> int:
        """Host memory of one server."""
        per_gpu = self.target.memory_gib_per_gpu
        if per_gpu is not None:
            return per_gpu * self.gpus_per_server
        return math.ceil(max(64 * self.gpus_per_server, 1.5 * self.weights_bytes / GIB))

    @property
    def storage_gib(self) -> int:
        """Room for two revisions of the model."""
        return self.target.storage.size_gib or math.ceil(2 * self.weights_bytes / GIB / 10) * 10

    @property
    def model_path(self) -> str:
        """The model's folder in the volume; a revision of its own has a folder of its own."""
        revision = self.target.storage.revision
        folder = self.model.replace("/", "--") + (f"--{revision[:12]}" if revision else "")
        return f"{MODELS}/{folder}"

    @property
    def unavailable(self) -> int:
        """Pods that a rollout may take down at once: no surge, since no GPU is spare."""
        return max(1, self.pods // 16)


def shape_of(plan: Plan) -> Shape:
    """The shape of a plan whose target is Kubernetes.

    Raises InputError for an engine that is not vLLM, for a model that is a local folder, and for
    options that contradict each other.
    """
    target: object = plan.fleet.target
    assert isinstance(target, KubernetesTarget)
    _check(plan, target)
    chosen, workload, engine = plan.chosen, plan.fleet.workload, plan.fleet.engine
    return Shape(
        name=plan.fleet.name,
        model=plan.model,
        gpu=plan.gpu,
        version=engine.version,
        target=target,
        image=target.image or f"vllm/vllm-openai:v{engine.version}",
        tensor_parallel=chosen.layout.tensor_parallel,
        replicas=chosen.layout.replicas,
        gpus_per_node=plan.fleet.hardware.gpus_per_node,
        replicas_per_node=chosen.layout.replicas_per_node,
        weights_bytes=chosen.memory_bytes.weights * chosen.layout.tensor_parallel,
        args=_args(plan, target),
        env=dict(engine.env),
        policy=plan.fleet.gateway.policy,
        slo_ms={"ttft": plan.fleet.slo.ttft_p99_ms, "tpot": plan.fleet.slo.tpot_p99_ms},
        acceptance=workload.acceptance.get("mtp") if _drafts(chosen.engine_args) else None,
        lengths=(workload.inputs, workload.outputs),
        in_flight=chosen.prediction.concurrency_per_replica * chosen.layout.replicas,
    )


def serve(shape: Shape, extra: dict[str, Any] | None = None, port: int = HTTP_PORT) -> list[str]:
    """The command of one server."""
    own: dict[str, Any] = {"host": "0.0.0.0", "port": port, "served_model_name": shape.model}
    return command(shape.model_path, own | shape.args | (extra or {}), shape.version)


def _args(plan: Plan, target: KubernetesTarget) -> dict[str, Any]:
    """The plan's options, and what a cluster needs; the fleet file's own win."""
    own = plan.fleet.engine.args
    has = flags.options(plan.fleet.engine.version)
    usual: dict[str, Any] = {
        "shutdown_timeout": target.drain_s,
        "disable_access_log_for_endpoints": "/health,/metrics",
    }
    args = plan.chosen.engine_args | {n: v for n, v in usual.items() if n in has and n not in own}
    if target.layout == "node-dp":
        args["data_parallel_size"] = plan.chosen.layout.replicas_per_node
    if target.lora:
        modules = [f"{name}={MODELS}/{path}" for name, path in target.lora.items()]
        args |= {"enable_lora": True, "lora_modules": modules}
    if target.prefill_replicas:
        args["kv_transfer_config"] = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    return args


def _drafts(args: dict[str, Any]) -> bool:
    return bool(args.get("speculative_config") or args.get("spec_method"))


def _check(plan: Plan, target: KubernetesTarget) -> None:
    layout, fleet = plan.chosen.layout, plan.fleet
    if fleet.engine.kind != "vllm":
        raise InputError(
            f"engine.kind: {fleet.engine.kind} does not run on Kubernetes; expected vllm",
            hint="set engine.kind to vllm, or target.kind to local",
        )
    if plan.model != fleet.model and "/" not in plan.model:
        raise InputError(
            f"model: {fleet.model} is a folder of this machine, which a cluster does not have",
            hint="name a hub id, or copy the folder into a volume: storage.kind existing",
        )
    if len(fleet.name) > LONGEST_NAME:
        raise InputError(
            f"name: {fleet.name} has {len(fleet.name)} characters; expected {LONGEST_NAME} at most",
            hint="Kubernetes' names are built from it: choose a shorter one",
        )
    if target.storage.kind == "existing" and not target.storage.claim:
        raise InputError(
            "target.storage.claim: missing, though storage.kind is existing",
            hint="name the PersistentVolumeClaim that holds the model",
        )
    if target.layout == "leader-worker" and layout.replicas % target.nodes_per_replica:
        raise InputError(
            f"target.nodes_per_replica: {layout.replicas} planned replicas are no multiple of "
            f"{target.nodes_per_replica}",
            hint="choose a divisor of the nodes",
        )
    apart = target.layout == "leader-worker" or target.prefill_replicas
    if target.canary.image and apart:
        raise InputError(
            "target.canary: not with leader-worker or prefill_replicas",
            hint="leave canary out, or choose another layout",
        )
    if target.prefill_replicas >= layout.replicas and target.prefill_replicas:
        raise InputError(
            f"target.prefill_replicas: {target.prefill_replicas} of {layout.replicas} replicas "
            "leave none that decode",
            hint="choose fewer",
        )
