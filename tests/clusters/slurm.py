"""A real Slurm on one machine: munged, slurmctld and a slurmd for each fake node.

Everything lies in one folder, listens on 127.0.0.1 and ends with the block:

    python -m tests.clusters.slurm FOLDER     # start it by hand; Ctrl-C ends it
    export SLURM_CONF=FOLDER/slurm.conf       # in another shell: sinfo, sbatch, ...

Needs root (munged and slurmd must own their files) and Debian's slurmctld, slurmd, slurm-client
and munge. 22.05 was tried.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headrace.node.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo")
READY_S = 60.0
GPUS = 8


def why_not() -> str | None:
    """Why Slurm cannot run here; None when it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if missing:
        return f"no {', '.join(missing)}: `make slurm` installs Slurm where this user may"
    return None if os.geteuid() == 0 else "Slurm's daemons need root"


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


@dataclass
class SlurmCluster:
    """The daemons of one fake cluster."""

    folder: Path
    nodes: list[str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What tells Slurm's commands which cluster is meant."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """A Slurm command's output."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def state(self, job: str) -> str:
        """A job's state, such as RUNNING."""
        words = self.run("scontrol", "show", "job", job, "--oneliner").split()
        return next(word.removeprefix("JobState=") for word in words if "JobState=" in word)

    def stop_node(self, node: str) -> None:
        """Slurm's processes of a node die as by a power cut; its tasks are left to themselves."""
        daemon = self.daemons.pop(node)
        for pid in [daemon.pid, *_steps_of(self.folder, node)]:
            os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def start_node(self, node: str) -> None:
        """It comes back; waits until Slurm takes it as idle."""
        _daemon(self, node, ["slurmd", "-D", "-N", node])
        _wait_idle(self)


@contextlib.contextmanager
def slurm_cluster(folder: Path, nodes: int = 3) -> Iterator[SlurmCluster]:
    """Start the daemons, wait until all nodes are idle, and end them with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = SlurmCluster(folder, [f"fake-{number}" for number in range(1, nodes + 1)])
    _write_files(cluster)
    try:
        _start(cluster)
        _wait_idle(cluster)
        yield cluster
    finally:
        _stop(cluster)


def _write_files(cluster: SlurmCluster) -> None:
    folder = cluster.folder
    for name in ("state", "log", "munge"):
        (folder / name).mkdir(exist_ok=True)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(_config(cluster))
    devices = "".join(_gpu_lines(cluster))
    (folder / "gres.conf").write_text(devices)


def _gpu_lines(cluster: SlurmCluster) -> Iterator[str]:
    """slurmd counts the device files: fake GPUs are copies of /dev/null."""
    for gpu in range(GPUS):
        device = cluster.folder / f"gpu{gpu}"
        subprocess.run(["mknod", "-m", "666", str(device), "c", "1", "3"], check=True)
        yield f"Name=gpu File={device}\n"


def _config(cluster: SlurmCluster) -> str:
    folder, host = cluster.folder, platform.node()
    taken: set[int] = set()
    lines = []
    for node in cluster.nodes:
        taken.add(port := free_port("127.0.0.1", taken))
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs=2 Gres=gpu:{GPUS} State=UNKNOWN"
        )
    return f"""\
ClusterName=fake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port("127.0.0.1", taken)}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=5
SchedulerParameters=sched_interval=1,bf_interval=1
{chr(10).join(lines)}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _start(cluster: SlurmCluster) -> None:
    folder = cluster.folder
    munge = folder / "munge"
    files = [("socket", "socket"), ("key-file", "key"), ("seed-file", "seed")]
    files += [("log-file", "log"), ("pid-file", "pid")]
    options = [f"--{option}={munge / name}" for option, name in files]
    _daemon(cluster, "munged", ["munged", "--foreground", "--force", *options])
    _wait(lambda: (munge / "socket").exists(), "munged opens no socket", cluster)
    _daemon(cluster, "slurmctld", ["slurmctld", "-D", "-i"])
    for node in cluster.nodes:
        (folder / f"spool-{node}").mkdir(exist_ok=True)
        _daemon(cluster, node, ["slurmd", "-D", "-N", node])


def _daemon(cluster: SlurmCluster, name: str, command: list[str]) -> None:
    with (cluster.folder / "log" / f"{name}.log").open("ab") as log:
        cluster.daemons[name] = subprocess.Popen(
            command,
            env={**_environment(), **cluster.env, "PATH": search_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    """A daemon that a test starts is not one of the processes that the test must leave ended."""
    return {name: value for name, value in os.environ.items() if name != "HEADRACE_TEST_RUN"}


def _wait_idle(cluster: SlurmCluster) -> None:
    def idle() -> bool:
        with contextlib.suppress(RuntimeError):
            return cluster.run("sinfo", "-h", "-N", "-o", "%t").split().count("idle") == len(
                cluster.nodes
            )
        return False

    _wait(idle, "not all nodes became idle", cluster)


def _wait(condition, what: str, cluster: SlurmCluster) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + READY_S
    while not condition():
        ended = [name for name, daemon in cluster.daemons.items() if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = cluster.folder / "log"
            words = [(logs / f"{name}.log").read_text()[-2000:] for name in ended]
            raise RuntimeError(f"{what}; ended: {ended}; logs in {logs}\n" + "\n".join(words))
        time.sleep(0.1)


def _stop(cluster: SlurmCluster) -> None:
    """Jobs first, then the nodes, the controller and munged; what does not end is killed."""
    with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
        cluster.run("scancel", "--user=root", "--full", "--signal=KILL")
        cluster.run("scancel", "--user=root")
    for name in reversed(cluster.daemons):
        cluster.daemons[name].terminate()
        try:
            cluster.daemons[name].wait(10)
        except subprocess.TimeoutExpired:
            cluster.daemons[name].kill()
            cluster.daemons[name].wait()


def _steps_of(folder: Path, node: str) -> set[int]:
    """slurmstepd does not say which node it is on; the tasks below it know."""
    marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={folder}/slurm.conf".encode()}
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                is_task = marks <= set((entry / "environ").read_bytes().split(b"\0"))
                if is_task and "slurmstepd" in Path(f"/proc/{parent}/comm").read_text():
                    found.add(parent)
    return found


def main() -> None:
    problem = why_not()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if problem or len(sys.argv) != 2:
        sys.exit(problem or "usage: python -m tests.clusters.slurm FOLDER")
    with slurm_cluster(Path(sys.argv[1]).resolve()) as cluster:
        print(f"export SLURM_CONF={cluster.folder}/slurm.conf", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
