"""The kinds that Headrace renders, and where the API keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.targets.kubernetes.objects import Object


@dataclass(frozen=True)
class Kind:
    """One kind's place in the API."""

    api: str
    name: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str, name: str = "") -> str:
        """The URL's path of one object, or of all of a namespace."""
        root = f"/api/{self.api}" if "/" not in self.api else f"/apis/{self.api}"
        where = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{root}{where}/{self.plural}" + (f"/{name}" if name else "")


KINDS: tuple[Kind, ...] = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("batch/v1", "Job", "jobs"),
    Kind("v1", "Service", "services"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways"),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Kind("inference.networking.k8s.io/v1", "InferencePool", "inferencepools"),
    Kind("networking.gke.io/v1", "HealthCheckPolicy", "healthcheckpolicies"),
    Kind("networking.gke.io/v1", "GCPBackendPolicy", "gcpbackendpolicies"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)
"""In the order in which they may be made; they are removed in the opposite one."""

POD = Kind("v1", "Pod", "pods")
DEPLOYMENT = next(kind for kind in KINDS if kind.name == "Deployment")
JOB = next(kind for kind in KINDS if kind.name == "Job")
VOLUMES = ("PersistentVolumeClaim", "StorageClass")
"""What holds the model: `down` keeps it unless told otherwise."""
SHARED = ("Namespace",)
"""What others may live in: made when it is missing, never taken over and never removed."""


def kind_of(found: Object) -> Kind:
    """The kind of an object; KeyError for one that Headrace does not render."""
    wanted = (found["apiVersion"], found["kind"])
    return {(kind.api, kind.name): kind for kind in KINDS}[wanted]
