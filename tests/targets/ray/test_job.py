from importlib.util import find_spec
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.planner.plan import Plan
from headrace.spec.target import RayTarget
from headrace.targets.ray.actor import PART_BYTES, read_part
from headrace.targets.ray.job import plan_job, this_cluster
from tests.targets.planned import planned

pytestmark = pytest.mark.skipif(not find_spec("ray"), reason="the extra is not installed")


@pytest.fixture
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def test_the_head_takes_reports_on_the_way_to_the_cluster(tmp_path):
    plan = planned({"kind": "ray", "address": "127.0.0.5:6379"})
    job = plan_job(plan, tmp_path)
    assert job.coordinator is not None
    assert job.coordinator.placer is not None
    assert job.coordinator.host.startswith("127.")
    assert [node.name for node in job.coordinator.nodes] == ["node-0", "node-1", "node-2"]
    assert job.coordinator.placer.argv[-1] == str(tmp_path)
    assert Plan.model_validate_json((tmp_path / "plan.json").read_bytes()) == plan


def test_auto_is_the_cluster_of_this_machine(tmp_path, monkeypatch, no_cluster):
    with pytest.raises(InputError, match="belongs to no Ray cluster"):
        this_cluster()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.7:1\n")
    plan_job(planned({"kind": "ray", "address": "auto"}), tmp_path)
    written = Plan.model_validate_json((tmp_path / "plan.json").read_bytes()).fleet.target
    assert isinstance(written, RayTarget)
    assert written.address == "127.0.0.7:1"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.8:2")
    assert this_cluster() == "127.0.0.8:2"


@pytest.mark.parametrize(
    ("target", "says"),
    [({"kind": "ray"}, "a Ray of this machine alone"), ({"address": "ray://h:1"}, "ray://h:1")],
)
def test_what_cannot_be(tmp_path, target, says):
    with pytest.raises(InputError, match=says) as caught:
        plan_job(planned({"kind": "ray", **target}), tmp_path)
    assert caught.value.hint


def test_a_log_is_read_in_parts_and_from_the_start_when_it_was_cut(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * (PART_BYTES + 10))
    assert read_part(log, 0) == (b"x" * PART_BYTES, PART_BYTES)
    assert read_part(log, PART_BYTES) == (b"x" * 10, PART_BYTES + 10)
    log.write_bytes(b"new")
    assert read_part(log, PART_BYTES) == (b"new", 3)
