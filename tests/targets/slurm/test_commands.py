import pytest

from headrace.errors import HeadraceError, InputError
from headrace.targets.slurm.commands import JobState, parse_job, resolve, run
from headrace.targets.slurm.placer import describe

PENDING = (
    "JobId=7 JobName=x UserId=root(0) JobState=PENDING Reason=Resources Dependency=(null) "
    "ReqNodeList=(null) ExcNodeList=(null) NodeList=(null) NumNodes=3-3"
)


def test_a_job_that_waits():
    state = parse_job(PENDING)
    assert state == JobState("PENDING", "Resources", "")
    assert not state.is_over
    assert describe("7", state) == "Slurm job 7 is pending (Resources)"


@pytest.mark.parametrize(
    ("change", "over", "says"),
    [
        ("RUNNING Reason=None", False, "Slurm job 7 runs on b[1-3]; agents are starting"),
        ("COMPLETING Reason=None", False, "Slurm job 7 is completing"),
        ("TIMEOUT Reason=TimeLimit", True, "Slurm job 7 is timeout (TimeLimit)"),
    ],
)
def test_a_job_that_runs_or_ended(change, over, says):
    text = PENDING.replace("PENDING Reason=Resources", change)
    state = parse_job(text.replace(" NodeList=(null)", " NodeList=b[1-3]"))
    assert state.is_over is over
    assert describe("7", state) == says


def test_a_command_that_fails_is_told_in_its_own_words():
    with pytest.raises(HeadraceError, match=r"^ls: cannot access '/none': No such file"):
        run(["ls", "/none"])
    with pytest.raises(InputError, match="there is no `squeeue` here"):
        run(["squeeue"])


def test_names_become_addresses():
    assert resolve("127.0.0.3") == "127.0.0.3"
    with pytest.raises(HeadraceError, match=r"the address no\.such\.invalid"):
        resolve("no.such.invalid")
