"""A small plan of several nodes, made once."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from headrace.cli.plan import plan_for
from headrace.planner.plan import Plan
from headrace.spec.load import parse_fleet


@cache
def _planned(target: str, nodes: int, policy: str) -> Plan:
    fleet = {
        "name": "small",
        "model": "Qwen/Qwen3.5-0.8B",
        "hardware": {"gpu": "B200", "nodes": nodes, "gpus_per_node": 2},
        "workload": {"input_tokens": 64, "output_tokens": 32, "concurrency": 96},
        "engine": {"kind": "simulated", "args": {"max_num_seqs": 64}},  # little is left to search
        "gateway": {"policy": policy},
        "target": json.loads(target),
    }
    return plan_for(parse_fleet(json.dumps(fleet), "fleet.yaml"))


def planned(target: dict[str, Any], nodes: int = 3, policy: str = "least-request") -> Plan:
    """Two simulated GPUs and two replicas on each node."""
    return _planned(json.dumps(target), nodes, policy)
