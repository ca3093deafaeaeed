"""What GKE's own Gateway classes need beside the Gateway API: its load balancer's policies.

Without them the load balancer asks for `/`, which no vLLM answers with 200, and ends every answer
after 30 s. Fields: https://googlecloudplatform.github.io/gke-gateway-api
"""

from __future__ import annotations

from headrace.targets.kubernetes.objects import Manifest, Object, new
from headrace.targets.kubernetes.shape import Shape

API = "networking.gke.io/v1"
CLASSES = "gke-"
"""How the names of GKE's GatewayClasses begin."""
ANSWER_S = 3600
"""The longest answer, from the first byte of the request to the last of the answer."""


def policies(shape: Shape, backends: list[Object]) -> list[Manifest]:
    """Health check and time limit of every backend of the route, where its Gateway is GKE's."""
    if not (shape.target.exposure.gateway_class or "").startswith(CLASSES):
        return []
    return [policy for backend in backends for policy in _of(shape, backend)]


def _of(shape: Shape, backend: Object) -> list[Manifest]:
    name = backend["name"]
    target = {"group": backend.get("group", ""), "kind": backend.get("kind", "Service")}
    target["name"] = name
    check = {"type": "HTTP", "httpHealthCheck": {"requestPath": "/health"}}
    health = {"default": {"config": check}, "targetRef": target}
    limits = {"default": {"timeoutSec": ANSWER_S}, "targetRef": target}
    return [
        Manifest(
            new(shape, API, "HealthCheckPolicy", name, "route", {"spec": health}),
            "GKE's load balancer asks for / unless told otherwise, and vLLM has no such page.",
        ),
        Manifest(
            new(shape, API, "GCPBackendPolicy", name, "route", {"spec": limits}),
            "GKE's load balancer ends answers after 30 s unless told otherwise.",
        ),
    ]
