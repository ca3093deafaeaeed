"""Runs one program so that nothing of it outlives the agent, even when the agent is killed.

Started by file name under `python -I -S`: standard library only, a few MB, asleep until a signal
comes. `keeper.py PARENT_PID GRACE_S CPUS PROGRAM [ARG...]`; the log is its standard error, and the
program's pid is written to its standard output. CPUS are the program's cores as in 0,1,2; -: all.

Engines start processes of their own that may leave their parent's group. So the keeper adopts
orphans below it (PR_SET_CHILD_SUBREAPER) and ends every descendant when the program has ended.

SIGTERM: passed on to the program alone, which tells its children itself.
SIGHUP: the agent died (PR_SET_PDEATHSIG). SIGTERM to the program, SIGKILL to all after GRACE_S.
SIGUSR1: SIGKILL to all, now.
It ends as the program did: with its status, or by its signal.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
SWEEP_S = 2.0
CANNOT_START = 127


def main() -> NoReturn:
    """Set up the death signals before the program exists, then keep it."""
    parent, grace_s, cpus, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        os._exit(1)
    raise_file_limit()
    program = start(command, [int(cpu) for cpu in cpus.split(",")] if cpus != "-" else [])
    os.write(1, b"%d\n" % program)
    os.close(1)
    status = keep(program, grace_s)
    sweep()
    end_as(status)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; raises OSError when the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def raise_file_limit() -> None:
    """A stream is a file descriptor, and the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start(command: list[str], cpus: list[int]) -> int:
    """Fork and run the program in a process group of its own; it dies with the keeper."""
    program = os.fork()
    if program:
        return program
    try:
        os.setpgid(0, 0)
        if cpus:
            os.sched_setaffinity(0, cpus)
        os.dup2(2, 1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def keep(program: int, grace_s: float) -> int:
    """Sleep and pass signals on until the program has ended; returns its wait status."""
    deadline: float | None = None
    while True:
        left_s = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        got = signal.sigtimedwait(SIGNALS, left_s)
        if got is None and deadline is not None:
            kill_all(signal.SIGKILL)
            deadline = time.monotonic() + 1.0
        elif got is not None:
            obey(got.si_signo, program)
            if got.si_signo == signal.SIGHUP and deadline is None:
                deadline = time.monotonic() + grace_s
        status = reap(program)
        if status is not None:
            return status


def obey(number: int, program: int) -> None:
    """Do what a signal to the keeper asks for."""
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(program, signal.SIGTERM)
    elif number == signal.SIGUSR1:
        kill_all(signal.SIGKILL)


def reap(program: int) -> int | None:
    """Collect the dead; the program's wait status when it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == program:
            found = status
        elif pid == 0:
            return found


def sweep() -> None:
    """End what the program left behind: asked first, killed soon after."""
    kill_all(signal.SIGTERM)
    deadline = time.monotonic() + SWEEP_S
    while next(descendants(), None) is not None:
        if time.monotonic() > deadline:
            kill_all(signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)
        reap(-1)


def kill_all(number: int) -> None:
    """Signal every descendant, stopped ones included."""
    for pid in descendants():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def descendants() -> Iterator[int]:
    """All processes below the keeper, dead ones that were not collected yet left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, parent = state_and_parent(entry)
            if state not in ("", "Z", "X"):
                children.setdefault(parent, []).append(int(entry.name))
    found = children.get(os.getpid(), [])
    while found:
        yield from found
        found = [below for pid in found for below in children.get(pid, [])]


def state_and_parent(entry: Path) -> tuple[str, int]:
    """State letter and parent pid from /proc/PID/stat; ("", 0) when the process is gone."""
    try:
        fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "", 0
    return fields[0].decode(), int(fields[1])


def end_as(status: int) -> NoReturn:
    """End with the program's status, or by the signal that ended it (without a core file)."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
