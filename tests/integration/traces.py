"""What a fleet has on the machine while it runs, and what of it is left afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.node.ports import is_free
from tests.integration.jobs import pids_of, processes_of

TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/")
LISTEN = "0A"


@dataclass(frozen=True)
class Traces:
    """Of all processes that carry a run's mark: open ports, and temporary files that are in use."""

    mark: Path
    ports: frozenset[int]
    files: frozenset[Path]


def traces_of(mark: Path) -> Traces:
    """Look while the fleet runs. Files below the mark's folder are the run's own."""
    pids = pids_of(mark)
    sockets = {link for pid in pids for link in links(pid) if link.startswith("socket:")}
    ports = {port for port, inode in listening() if f"socket:[{inode}]" in sockets}
    files = {path for pid in pids for path in temporary(pid) if mark not in Path(path).parents}
    return Traces(mark, frozenset(ports), frozenset(map(Path, files)))


def left_behind(traces: Traces, state_dir: Path) -> list[str]:
    """What is left of it: processes, ports, sockets, temporary files, its place in the state."""
    sockets = [str(path) for path in traces.mark.rglob("*") if path.is_socket()]
    files = [str(path) for path in traces.files if path.exists()]
    ports = [f"port {port}" for port in traces.ports if not is_free("127.0.0.1", port)]
    entries = [str(path) for path in state_dir.rglob("*.json")]
    secrets = [str(path) for path in traces.mark.rglob("*.token")]
    return processes_of(traces.mark) + ports + sockets + files + entries + secrets


def links(pid: int) -> Iterator[str]:
    """What its descriptors are."""
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            yield str(entry.readlink())
        except OSError:
            continue


def temporary(pid: int) -> Iterator[str]:
    """Files in the machine's temporary folders that it has open, or mapped as shared memory."""
    yield from (link for link in links(pid) if link.startswith(TEMPORARY))
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return
    yield from {line.split(maxsplit=5)[5] for line in lines if "/dev/shm/" in line}


def listening() -> Iterator[tuple[int, str]]:
    """Every TCP port of this machine that listens, and its socket's inode."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]
