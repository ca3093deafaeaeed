"""A Kubernetes target's options: what a plan cannot know about the cluster that it goes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from headrace.spec.part import Part

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME)]


class ModelStorage(Part):
    """Where the weights lie: downloaded once by a Job, mounted read-only by every replica."""

    kind: Literal["rwx", "hyperdisk-ml", "existing"] = Field(
        "rwx",
        description="`rwx`: one volume that all nodes mount (NFS, Filestore, EFS, Lustre); "
        "`hyperdisk-ml`: GKE, written once and cloned read-only; `existing`: a claim of yours.",
    )
    storage_class: str | None = Field(
        None, description="Storage class; the cluster's default if left out.", examples=["nfs"]
    )
    claim: str | None = Field(
        None, description="`existing`: the claim's name.", examples=["models"]
    )
    size_gib: PositiveInt | None = Field(
        None, description="Size of the volume; twice the weights if left out."
    )
    read_gb_s: PositiveFloat = Field(
        1.0,
        description="GB/s at which one node reads the volume: the startup probes' budget comes "
        "from it.",
    )
    revision: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of the model's repository; its newest if left out, which `headrace "
        "check` finds fault with and `headrace pin` mends.",
    )
    token_secret: Name | None = Field(
        None,
        description="Secret with a hub token under the key `token`; only gated models need one.",
        examples=["hf-token"],
    )


class Autoscale(Part):
    """How the number of replicas follows the load."""

    kind: Literal["none", "hpa", "keda"] = Field(
        "none",
        description="`hpa` needs an adapter for custom metrics, `keda` needs KEDA; both need "
        "Prometheus.",
    )
    min_replicas: PositiveInt | None = Field(
        None, description="The planned number of replicas if left out."
    )
    max_replicas: PositiveInt | None = Field(
        None, description="Twice the smallest number if left out."
    )
    waiting_per_replica: PositiveInt = Field(
        8, description="Waiting requests per replica above which replicas are added."
    )
    prometheus_url: str = Field(
        "http://prometheus-operated.monitoring.svc:9090",
        description="Prometheus as KEDA reaches it.",
    )


class Canary(Part):
    """A second version beside the first, behind a weighted route."""

    image: str | None = Field(None, description="The other image; none: no canary.")
    replicas: PositiveInt = Field(1, description="Its replicas; they need GPUs of their own.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        5, description="Percent of the requests that go to it."
    )


class Exposure(Part):
    """How the fleet is reached from outside its namespace."""

    gateway_class: str | None = Field(
        None,
        description="GatewayClass of a Gateway and an HTTPRoute; left out, none is made and the "
        "Service is all there is.",
        examples=["gke-l7-rilb"],
    )
    hostname: str | None = Field(None, description="Host name of the route.")
    tls_secret: Name | None = Field(None, description="Secret with the host name's certificate.")


class KubernetesTarget(Part):
    """A Kubernetes cluster: `headrace render kubernetes` writes manifests, `up` applies them."""

    kind: Literal["kubernetes"] = Field(description="`kubernetes`: a cluster's API.")
    namespace: Name = Field("headrace", description="The namespace of every object.")
    context: str | None = Field(
        None, description="kubectl context for `up`, `status` and `down`; the current one if unset."
    )
    provider: Literal["generic", "gke", "eks", "bare-metal"] = Field(
        "generic",
        description="Whose labels and storage `up` uses; `render` writes overlays for all.",
    )
    image: str | None = Field(
        None,
        description="Image with vLLM; vllm/vllm-openai by version tag if left out. `headrace pin` "
        "puts its digest here.",
        examples=["vllm/vllm-openai:v0.33.0@sha256:..."],
    )
    gateway_image: str = Field(
        "envoyproxy/envoy:v1.40.0", description="Envoy; `headrace pin` adds its digest."
    )
    bench_image: str | None = Field(
        None, description="Image with Headrace, for the benchmark Job; none: no Job."
    )
    layout: Literal["replica-pods", "node-pods", "node-dp", "leader-worker"] = Field(
        "replica-pods",
        description="`replica-pods`: a pod per replica; `node-pods`: a pod per node with a server "
        "per replica; `node-dp`: a pod per node with one server and vLLM's data parallelism; "
        "`leader-worker`: a replica over several nodes (LeaderWorkerSet).",
    )
    nodes_per_replica: PositiveInt = Field(
        1, description="`leader-worker`: nodes under one replica, by pipeline parallelism."
    )
    data_plane: Literal["envoy", "service", "inference-pool"] = Field(
        "envoy",
        description="`envoy`: pods of our own, with the policy of `gateway`; `service`: the "
        "Service's own balancing per connection; `inference-pool`: an endpoint picker, which cost "
        "about a third of the throughput where it was measured.",
    )
    picker_image: str | None = Field(
        None, description="Endpoint picker of an `inference-pool`, by digest."
    )
    exposure: Exposure = Field(default_factory=Exposure)
    storage: ModelStorage = Field(default_factory=ModelStorage)
    compile_cache: Literal["pvc", "node", "none"] = Field(
        "pvc",
        description="Where compiled kernels are kept over restarts: a shared volume, the node's "
        "disk (hostPath), or nowhere.",
    )
    cache_class: str | None = Field(None, description="Storage class of the cache's volume (RWX).")
    api_key_secret: Name | None = Field(
        None, description="Secret whose key `api-key` clients must send."
    )
    cpus_per_gpu: PositiveInt = Field(8, description="CPUs requested per GPU.")
    memory_gib_per_gpu: PositiveInt | None = Field(
        None, description="Host memory per GPU; half again the weights, at least 64, if left out."
    )
    shm_gib: PositiveInt = Field(16, description="/dev/shm of a pod.")
    pre_stop_s: NonNegativeInt = Field(
        15, description="Seconds between a pod's removal from the endpoints and SIGTERM."
    )
    drain_s: PositiveInt = Field(
        60, description="Seconds that requests in flight get after SIGTERM."
    )
    autoscale: Autoscale = Field(default_factory=Autoscale)
    canary: Canary = Field(default_factory=Canary)
    monitoring: bool = Field(
        True, description="PodMonitor, PrometheusRule and dashboard (Prometheus operator)."
    )
    network_policy: bool = Field(
        False, description="Let only this namespace and the gateway's reach the replicas."
    )
    kueue_queue: Name | None = Field(None, description="Kueue's LocalQueue for the replicas.")
    lora: dict[str, str] = Field(
        default_factory=dict, description="LoRA adapters as name: path below the model's volume."
    )
    prefill_replicas: NonNegativeInt = Field(
        0,
        description="Experimental: so many replicas only prefill and hand their KV cache to the "
        "others (NixlConnector).",
    )
    bench_pods: PositiveInt = Field(
        1, description="Pods that load the fleet together; the Jobs need a Secret then."
    )
