from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InputError
from headrace.planner.plan import Plan
from headrace.spec.load import parse_fleet
from headrace.targets.cluster.share import node_folder, node_job, share_of

FLEET = """
name: small
model: Qwen/Qwen3.5-0.8B
hardware: {gpu: B200, nodes: 3, gpus_per_node: 2}
workload: {input_tokens: 64, output_tokens: 32, concurrency: 96}
engine: {kind: simulated}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_for(parse_fleet(FLEET, "fleet.yaml"))


def test_a_share_is_one_node_of_the_plan(plan):
    layout = share_of(plan, 2).chosen.layout
    assert (layout.nodes, layout.replicas, layout.gpus, layout.replicas_per_node) == (1, 2, 2, 2)
    assert share_of(plan, 0).fleet.hardware.nodes == 1
    with pytest.raises(InputError, match="no node 3"):
        share_of(plan, 3)


def test_a_node_serves_its_own_replicas_at_its_address(plan, tmp_path):
    folder = node_folder(tmp_path, 1)
    job = node_job(plan, folder, 1, node="b", host="127.0.0.2")
    replicas = [replica for process in job.processes for replica in process.replicas]
    assert [(replica.id, replica.gpus) for replica in replicas] == [("r2", [0]), ("r3", [1])]
    assert all(replica.url.startswith("http://127.0.0.1:") for replica in replicas)
    assert job.gateway is not None
    assert (job.gateway.host, job.node, job.run_dir) == ("127.0.0.2", "b", folder)
    assert all(Path(process.log).is_relative_to(folder) for process in job.processes)


def test_without_gateways_the_replicas_are_reached_themselves(plan, tmp_path):
    gateway = plan.fleet.gateway.model_copy(update={"policy": "none"})
    bare = plan.model_copy(update={"fleet": plan.fleet.model_copy(update={"gateway": gateway})})
    job = node_job(bare, tmp_path, 0, node="a", host="127.0.0.2")
    assert job.gateway is None
    urls = [replica.url for process in job.processes for replica in process.replicas]
    assert all(url.startswith("http://127.0.0.2:") for url in urls)
