"""How requests reach the replicas: Services, a route from outside, an endpoint picker, policies."""

from __future__ import annotations

from typing import Any

from headrace.targets.kubernetes.gke import policies
from headrace.targets.kubernetes.objects import TRACK, Manifest, Object, labels, new, selector
from headrace.targets.kubernetes.pods import container_security, pod_security, port_name
from headrace.targets.kubernetes.shape import HTTP_PORT, Shape

PICKER_PORT = 9002
PICKER_HEALTH_PORT = 9003
GATEWAY_API = "gateway.networking.k8s.io/v1"
INFERENCE_API = "inference.networking.k8s.io/v1"


def entry(shape: Shape) -> str:
    """The Service that clients inside the cluster use."""
    return f"{shape.name}-gateway" if shape.target.data_plane == "envoy" else shape.name


def services(shape: Shape) -> list[Manifest]:
    """One Service per track: with an address of its own, or headless where Envoy balances."""
    tracks = {shape.name: _main_track(shape)}
    if shape.target.canary.image and shape.target.layout != "leader-worker":
        tracks[f"{shape.name}-canary"] = "canary"
    if shape.target.prefill_replicas:
        tracks[f"{shape.name}-prefill"] = "prefill"
    return [_service(shape, name, track) for name, track in tracks.items()]


def _main_track(shape: Shape) -> str:
    return "decode" if shape.target.prefill_replicas else "stable"


def _service(shape: Shape, name: str, track: str) -> Manifest:
    ports = [
        {"name": port_name(shape, n), "port": HTTP_PORT + n, "targetPort": port_name(shape, n)}
        for n in range(shape.servers_per_pod)
    ]
    spec: Object = {
        "selector": selector(shape, "replica", **{TRACK: track}),
        "ports": ports,
    }
    headless = shape.target.data_plane == "envoy"
    if headless:
        spec = {"clusterIP": "None", **spec}
    made = new(shape, "v1", "Service", name, "replica", {"spec": spec})
    text = f"The {track} replicas' addresses." + (
        " Headless: the gateway finds every ready pod by it." if headless else ""
    )
    return Manifest(made, text)


def routes(shape: Shape) -> list[Manifest]:
    """A Gateway and its route, where a GatewayClass was named."""
    if not shape.target.exposure.gateway_class:
        return []
    return [_gateway(shape), _route(shape), *policies(shape, _backends(shape))]


def _gateway(shape: Shape) -> Manifest:
    exposure = shape.target.exposure
    listener: Object = {"name": "http", "port": 80, "protocol": "HTTP"}
    if exposure.tls_secret:
        tls = {"mode": "Terminate", "certificateRefs": [{"name": exposure.tls_secret}]}
        listener = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}
    if exposure.hostname:
        listener["hostname"] = exposure.hostname
    spec = {"gatewayClassName": exposure.gateway_class, "listeners": [listener]}
    made = new(shape, GATEWAY_API, "Gateway", shape.name, "route", {"spec": spec})
    text = "The way in from outside, by the cluster's own Gateway controller."
    if not exposure.tls_secret:
        text += " Without TLS: name exposure.tls_secret before it leaves your network."
    return Manifest(made, text)


def _route(shape: Shape) -> Manifest:
    rule: Object = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
        "timeouts": {"request": "0s"},
        "backendRefs": _backends(shape),
    }
    spec: Object = {"parentRefs": [{"name": shape.name}], "rules": [rule]}
    if shape.target.exposure.hostname:
        spec["hostnames"] = [shape.target.exposure.hostname]
    made = new(shape, GATEWAY_API, "HTTPRoute", shape.name, "route", {"spec": spec})
    notes = {"spec.rules.0.timeouts": "a long answer is no failure"}
    return Manifest(made, "What reaches the fleet: the OpenAI API and nothing else.", notes)


def _backends(shape: Shape) -> list[Object]:
    canary = shape.target.canary
    if shape.target.data_plane == "inference-pool":
        group = "inference.networking.k8s.io"
        return [{"group": group, "kind": "InferencePool", "name": shape.name}]
    if shape.target.data_plane == "envoy":
        return [{"name": entry(shape), "port": 80}]
    if not canary.image:
        return [{"name": shape.name, "port": HTTP_PORT}]
    return [
        {"name": shape.name, "port": HTTP_PORT, "weight": 100 - canary.weight},
        {"name": f"{shape.name}-canary", "port": HTTP_PORT, "weight": canary.weight},
    ]


def inference_pool(shape: Shape) -> list[Manifest]:
    """The pool and its endpoint picker, where the target asks for them."""
    if shape.target.data_plane != "inference-pool":
        return []
    return [
        _pool(shape),
        _picker_config(shape),
        _picker(shape),
        _picker_service(shape),
        *_picker_rights(shape),
    ]


def _picker_name(shape: Shape) -> str:
    return f"{shape.name}-picker"


def _pool(shape: Shape) -> Manifest:
    spec = {
        "selector": {"matchLabels": selector(shape, "replica", **{TRACK: _main_track(shape)})},
        "targetPorts": [{"number": HTTP_PORT + n} for n in range(shape.servers_per_pod)],
        "endpointPickerRef": {
            "name": _picker_name(shape),
            "port": {"number": PICKER_PORT},
            "failureMode": "FailOpen",
        },
    }
    made = new(shape, INFERENCE_API, "InferencePool", shape.name, "route", {"spec": spec})
    text = (
        "Replicas as a pool whose endpoint picker chooses one per request.\n"
        "WARNING: on 12 nodes of eight B200 a KV-cache-aware picker was measured by its publisher "
        "to cost about 35 % of the throughput (one picker was the bottleneck), while no two "
        "prompts shared a prefix. Measure it against data_plane: envoy before you keep it."
    )
    notes = {"spec.endpointPickerRef.failureMode": "a picker that is down stops nobody"}
    return Manifest(made, text, notes)


def _picker_config(shape: Shape) -> Manifest:
    config = (
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\n"
        "kind: EndpointPickerConfig\n"
        "plugins:\n"
        "  - type: queue-scorer\n"
        "  - type: kv-cache-utilization-scorer\n"
        "  - type: prefix-cache-scorer\n"
    )
    made = new(
        shape, "v1", "ConfigMap", _picker_name(shape), "picker", {"data": {"config.yaml": config}}
    )
    return Manifest(made, "How the picker scores replicas.")


def _picker(shape: Shape) -> Manifest:
    probe = {"grpc": {"port": PICKER_HEALTH_PORT, "service": "inference-extension"}}
    container: Object = {
        "name": "picker",
        "image": shape.picker_image,
        "args": [
            *("--pool-name", shape.name, "--pool-namespace", shape.namespace),
            *("--grpc-port", str(PICKER_PORT), "--grpc-health-port", str(PICKER_HEALTH_PORT)),
            *("--config-file", "/config/config.yaml"),
        ],
        "ports": [
            {"name": "grpc", "containerPort": PICKER_PORT},
            {"name": "health", "containerPort": PICKER_HEALTH_PORT},
            {"name": "metrics", "containerPort": 9090},
        ],
        "readinessProbe": probe | {"periodSeconds": 5},
        "livenessProbe": probe | {"initialDelaySeconds": 10, "periodSeconds": 10},
        "resources": {"requests": {"cpu": "8", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": True}],
    }
    pod: Object = {
        "serviceAccountName": _picker_name(shape),
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": _picker_name(shape)}}],
    }
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector(shape, "picker")},
        "template": {"metadata": {"labels": labels(shape, "picker")}, "spec": pod},
    }
    made = new(shape, "apps/v1", "Deployment", _picker_name(shape), "picker", {"spec": spec})
    return Manifest(made, "The endpoint picker: one pod, since it keeps what it knows in memory.")


def _picker_service(shape: Shape) -> Manifest:
    port = {"name": "grpc", "port": PICKER_PORT, "targetPort": "grpc", "appProtocol": "h2c"}
    spec = {"selector": selector(shape, "picker"), "ports": [port]}
    made = new(shape, "v1", "Service", _picker_name(shape), "picker", {"spec": spec})
    return Manifest(made, "Where the Gateway's controller asks.")


def _picker_rights(shape: Shape) -> list[Manifest]:
    name = _picker_name(shape)
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": ["inference.networking.k8s.io", "inference.networking.x-k8s.io"],
            "resources": ["inferencepools", "inferenceobjectives", "inferencemodelrewrites"],
            "verbs": ["get", "list", "watch"],
        },
    ]
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": shape.namespace}
    binding: dict[str, Any] = {
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
        "subjects": [subject],
    }
    return [
        Manifest(new(shape, "v1", "ServiceAccount", name, "picker", {}), "Who the picker is."),
        Manifest(
            new(shape, f"{rbac}/v1", "Role", name, "picker", {"rules": rules}),
            "It reads pods and pools of this namespace, and nothing else.",
        ),
        Manifest(new(shape, f"{rbac}/v1", "RoleBinding", name, "picker", binding), "Its rights."),
    ]


def network_policy(shape: Shape) -> list[Manifest]:
    """Who may talk to the replicas, where the target asks for it."""
    if not shape.target.network_policy:
        return []
    here: Object = {"podSelector": {}}
    monitoring = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    ports = [{"protocol": "TCP", "port": HTTP_PORT + n} for n in range(shape.servers_per_pod)]
    spec = {
        "podSelector": {"matchLabels": selector(shape, "replica")},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [here, monitoring], "ports": ports},
            {"from": [{"podSelector": {"matchLabels": selector(shape, "replica")}}]},
        ],
    }
    made = new(
        shape, "networking.k8s.io/v1", "NetworkPolicy", shape.name, "replica", {"spec": spec}
    )
    text = (
        "Replicas are reached from this namespace and by Prometheus (namespace monitoring) only; "
        "among themselves on every port."
    )
    return [Manifest(made, text)]
