"""`headrace render kubernetes`: a folder to review, to commit and to apply."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.planner.plan import Plan
from headrace.targets.kubernetes.chart import chart
from headrace.targets.kubernetes.kustomize import tree
from headrace.targets.kubernetes.manifests import CLONE_FILE, quota
from headrace.targets.kubernetes.pins.wanted import unpinned
from headrace.targets.kubernetes.shape import Shape, shape_of
from headrace.targets.render import Rendered


def render(plan: Plan) -> Rendered:
    """The folder, to review, commit and apply. Pure. Raises InputError as `shape_of`."""
    shape = shape_of(plan)
    next_step = "headrace check {folder}, then see {folder}/README.md"
    return Rendered(dict(_files(shape)), next_step, remark(shape))


def remark(shape: Shape) -> str:
    """What is named by tag or branch, and how that is mended, in a line; empty when all is pinned.

    `{fleet}` stands for the fleet file.
    """
    loose = unpinned(shape)
    if not loose:
        return ""
    return f"not pinned: {', '.join(loose)}: check finds it, headrace pin {{fleet}} mends it"


def _files(shape: Shape) -> Iterator[tuple[str, str]]:
    yield from tree(shape)
    yield from chart(shape)
    yield "README.md", readme(shape)


def readme(shape: Shape) -> str:
    """What the folder is and how it is applied."""
    lines = [
        f"# {shape.name} on Kubernetes",
        "",
        (
            f"{shape.model} on {shape.gpu}: {shape.replicas} replicas in {shape.pods} pods, "
            "rendered by Headrace from a plan. Do not edit: render again (`--diff` shows what "
            "changes)."
        ),
        "",
        quota(shape),
        "",
        *_needs(shape),
        "",
        "## Apply",
        "",
        "```sh",
        *_steps(shape),
        "```",
        "",
        "or with Helm: `helm install " + shape.name + " chart -n " + shape.namespace + "`.",
    ]
    if shape.target.prefill_replicas:
        lines += ["", _DISAGGREGATED]
    return "\n".join(lines) + "\n"


_DISAGGREGATED = (
    "Prefill and decode are apart (experimental, never tried on a cluster). A client that speaks "
    "to one of the Services alone gets no disaggregation: a router must send each request to a "
    "prefill replica with `kv_transfer_params` first and the answer's to a decode replica then."
)


def _needs(shape: Shape) -> Iterator[str]:
    target = shape.target
    yield "The cluster needs:"
    yield ""
    yield "- NVIDIA's device plugin (resource `nvidia.com/gpu`), Kubernetes 1.30 or later"
    if target.storage.kind == "rwx" or target.compile_cache == "pvc":
        yield "- a storage class whose volumes all nodes mount (ReadWriteMany)"
    for secret, key in (
        (target.storage.token_secret, "token"),
        (target.api_key_secret, "api-key"),
    ):
        if secret:
            yield f"- the Secret `{secret}` with the key `{key}`"
    if target.monitoring:
        yield "- the Prometheus operator's CRDs (`target.monitoring: false` leaves them out)"
    if target.exposure.gateway_class:
        yield f"- Gateway API with the class `{target.exposure.gateway_class}`"
    if target.data_plane == "inference-pool":
        yield "- a Gateway controller with the inference extension"
    if target.layout == "leader-worker":
        yield "- the LeaderWorkerSet controller"


def _steps(shape: Shape) -> Iterator[str]:
    space = f"-n {shape.namespace}"
    yield "headrace check ."
    if shape.target.storage.kind != "existing":
        yield "# A Job cannot be changed: after `headrace pin` or a new version of vLLM, first"
        yield f"kubectl {space} delete --ignore-not-found job/{shape.name}-download"
    yield "kubectl apply --server-side -k overlays/gke      # or eks, bare-metal, or -k base"
    if shape.target.storage.kind != "existing":
        wait = f"wait --for=condition=complete --timeout=4h job/{shape.name}-download"
        yield f"kubectl {space} {wait}"
    if shape.target.storage.kind == "hyperdisk-ml":
        yield f"kubectl apply --server-side -f base/{CLONE_FILE}"
    if shape.target.layout != "leader-worker":
        yield f"kubectl {space} rollout status deployment/{shape.name}"
    if shape.target.bench_image:
        yield "kubectl apply --server-side -f benchmark/benchmark.yaml"
