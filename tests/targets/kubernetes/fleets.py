"""Plans to render: fleets of 1, 2 and 12 nodes in every layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from headrace.cli.plan import plan_for
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.kubernetes import KubernetesTarget
from headrace.spec.load import parse_fleet
from headrace.targets.kubernetes.shape import Shape, shape_of

FLEET = """
name: {name}
model: {model}
hardware: {{gpu: {gpu}, nodes: {nodes}, gpus_per_node: 8}}
slo: {{ttft_p99_ms: 10000, tpot_p99_ms: 60}}
"""
DIGEST = "@sha256:" + "0123456789abcdef" * 4
PINNED: dict[str, Any] = {
    "image": f"vllm/vllm-openai{DIGEST}",
    "gateway_image": f"envoyproxy/envoy{DIGEST}",
    "bench_image": f"registry.example/headrace{DIGEST}",
    "picker_image": f"registry.k8s.io/gateway-api-inference-extension/epp{DIGEST}",
    "storage": {"revision": "0123456789abcdef0123456789abcdef01234567"},
}
QWEN = ("Qwen/Qwen3.5-27B-FP8", "B200")
LLAMA = ("meta-llama/Llama-3.3-70B-Instruct", "H100")


@cache
def planned(name: str, model: str, gpu: str, nodes: int) -> Plan:
    fleet = parse_fleet(FLEET.format(name=name, model=model, gpu=gpu, nodes=nodes), "fleet.yaml")
    return plan_for(fleet)


def plan(nodes: int = 1, kind: tuple[str, str] = QWEN, **target: Any) -> Plan:
    """A plan aimed at Kubernetes, with every image and revision pinned."""
    made = planned(f"fleet-{nodes}", *kind, nodes)
    options: dict[str, Any] = {"kind": "kubernetes", **PINNED, **target}
    options["storage"] = {**PINNED["storage"], **target.get("storage", {})}
    fleet: Fleet = made.fleet.model_copy(
        update={"target": KubernetesTarget.model_validate(options)}
    )
    return made.model_copy(update={"fleet": fleet})


def shape(nodes: int = 1, kind: tuple[str, str] = QWEN, **target: Any) -> Shape:
    return shape_of(plan(nodes, kind, **target))


class Cases(Mapping[str, Plan]):
    """Plans by name, each made when it is first asked for: names alone are cheap to collect."""

    def __init__(self, makers: dict[str, Callable[[], Plan]]) -> None:
        self._makers = makers
        self._made: dict[str, Plan] = {}

    def __getitem__(self, name: str) -> Plan:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


CASES = Cases(
    {
        "one-node": lambda: plan(1),
        "two-nodes-tensor-parallel": lambda: plan(2, LLAMA, storage={"token_secret": "hf-token"}),
        "twelve-nodes": lambda: plan(12, bench_pods=4),
        "node-pods": lambda: plan(2, layout="node-pods"),
        "node-dp": lambda: plan(12, layout="node-dp"),
        "leader-worker": lambda: plan(2, layout="leader-worker", nodes_per_replica=2),
        "hyperdisk-canary-route": lambda: plan(
            12,
            storage={"kind": "hyperdisk-ml"},
            canary={"image": f"vllm/vllm-openai{DIGEST[:-1]}0", "replicas": 2, "weight": 10},
            exposure={
                "gateway_class": "gke-l7-rilb",
                "hostname": "llm.example.com",
                "tls_secret": "llm-tls",
            },
            api_key_secret="api-key",
            network_policy=True,
            kueue_queue="gpus",
            autoscale={"kind": "keda", "max_replicas": 120},
        ),
        "inference-pool-hpa": lambda: plan(
            1,
            data_plane="inference-pool",
            exposure={"gateway_class": "gke-l7-rilb"},
            autoscale={"kind": "hpa"},
            compile_cache="node",
            lora={"tone": "loras/tone"},
        ),
        "disaggregated": lambda: plan(
            1, prefill_replicas=3, storage={"kind": "existing", "claim": "models"}
        ),
    }
)
