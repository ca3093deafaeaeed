"""The `vllm` program: where it is, and which version, without the ten seconds of starting it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from headrace.engines.vllm.flags import key
from headrace.errors import InputError

NUMBERS = re.compile(r"\d+\.\d+(?:\.\d+)?")
SHELL_SHEBANG = re.compile(rb"^'''exec' \"?([^\"\s]+)")
ASK = (
    "import importlib.metadata as m\n"
    "found = {d.name: d.version for d in m.distributions(name='vllm')}\n"
    "print(found.get('vllm') or m.version('vllm-cpu'))"
)
QUICK_S, SLOW_S = 20.0, 180.0


def find_executable(executable: str) -> Path:
    """The program's absolute path. Raises InputError, with what to install, when there is none."""
    found = shutil.which(Path(executable).expanduser())
    if found is None:
        raise InputError(
            f"engine.executable {executable}: there is no such program",
            hint="install vLLM (`uv pip install vllm`) and name its `vllm`; without a GPU see "
            "scripts/vllm_cpu_env.py; or set engine.kind to simulated",
        )
    return Path(found).absolute()


def check_executable(executable: str, expected: str | None = None) -> str:
    """The program's version, such as 0.32.0; build tags like +cpu are left out.

    Raises InputError when there is no such program, when it is not a vLLM that starts, and when
    it is not `expected`.
    """
    program = find_executable(executable)
    answer = _ask_interpreter(program) or _ask_program(program)
    numbers = NUMBERS.search(answer or "")
    if numbers is None:
        raise InputError(
            f"engine.executable {program}: it does not say which vLLM it is",
            hint=f"try it: {shlex.quote(str(program))} --version",
        )
    version = numbers[0]
    if expected is not None and key(version) != key(expected):
        raise InputError(
            f"engine.version is {expected}, but {program} is vLLM {version}",
            hint=f"set engine.version to {version} and plan again, or install vllm=={expected}",
        )
    return version


def _ask_interpreter(program: Path) -> str | None:
    """The version that the package's metadata state, asked of the program's own interpreter."""
    interpreter = _interpreter(program)
    if interpreter is None:
        return None
    return _output([*interpreter, "-c", ASK], QUICK_S)


def _ask_program(program: Path) -> str | None:
    """What `vllm --version` prints; it imports torch first."""
    return _output([str(program), "--version"], SLOW_S)


def _interpreter(program: Path) -> list[str] | None:
    """The command of a script's first line, a shell's detour for long paths included."""
    try:
        with program.open("rb") as script:
            first, second = script.readline(512), script.readline(1024)
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    detour = SHELL_SHEBANG.match(second)
    command = [detour[1].decode()] if detour else shlex.split(first[2:].decode(errors="replace"))
    return command if command and "python" in Path(command[-1]).name else None


def _output(command: list[str], timeout_s: float) -> str | None:
    """The last line of standard output; None when the command fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=True, cwd="/"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else None
