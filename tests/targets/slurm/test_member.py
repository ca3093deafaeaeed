from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.node.job import Link
from headrace.targets.slurm.member import assignment, write
from tests.targets.planned import planned

pytestmark = pytest.mark.compute


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "plan.json").write_text(planned({"kind": "slurm"}).model_dump_json())
    return tmp_path


def test_a_node_of_a_job_by_hand_has_a_gateway_of_its_own(run_dir):
    part = assignment(run_dir, 1, "10.0.0.2")
    assert (part.node, part.ids, part.host) == ("node-1", ["r2", "r3"], "127.0.0.1")
    assert part.gateway is not None
    assert (part.gateway.host, part.gateway.policy, part.link) == (
        "10.0.0.2",
        "least-request",
        None,
    )
    assert part.run_dir == run_dir / "nodes" / "node-1"


def test_a_node_of_a_fleet_reports_to_the_head_and_is_reached_itself(run_dir):
    link = Link(url="http://10.0.0.1:1", token_file=run_dir / "node.token")
    (run_dir / "link.json").write_text(link.model_dump_json())
    part = assignment(run_dir, 2, "10.0.0.3")
    assert (part.host, part.gateway, part.link) == ("10.0.0.3", None, link)


def test_without_gateways_the_replicas_are_reached_themselves(tmp_path):
    plan = planned({"kind": "slurm"}, policy="none")
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    part = assignment(tmp_path, 0, "10.0.0.1")
    assert (part.host, part.gateway) == ("10.0.0.1", None)


def test_more_nodes_than_the_plan_has_are_refused(run_dir):
    with pytest.raises(InputError, match="3 nodes, and this is number 4"):
        assignment(run_dir, 3, "10.0.0.4")


def test_the_assignment_lies_in_the_nodes_folder(run_dir):
    part = assignment(run_dir, 0, "10.0.0.1")
    path = write(part)
    assert path == run_dir / "nodes" / "node-0" / "assignment.json"
    assert type(part).model_validate_json(path.read_bytes()) == part
