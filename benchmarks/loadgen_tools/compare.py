"""Headrace beside aiperf, vLLM's bench client, guidellm and inference-perf: the same load, the same
processor, the same paced server, whose own schedule is the truth.

    python benchmarks/loadgen_tools/compare.py --install       # once; guidellm alone takes 5.7 GB
    python benchmarks/loadgen_tools/compare.py --streams 1000

Every tool runs on one processor, the server on another. "Held" is the number of streams that the
server had open, on average between its first request and its last chunk. "Chunks per CPU second"
is taken while the load is on: what the server sent over what the tool's processes used, between
20 % and 80 % of the chunks. Needs a C compiler, uv, and a folder with a tokenizer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from loadgen_tools.paced import serving, stats
from loadgen_tools.tools import HEADRACE, OTHERS, Load, Reported, Tool

TIMEOUT_S = 200.0
TTFT_MS, ITL_MS = 300.0, 46.0


@dataclass(frozen=True)
class Row:
    """One tool's run: what the server saw, what the tool said."""

    tool: str
    requests: int
    held: float
    chunks_per_cpu_s: float | None
    wall_s: float
    reported: Reported | None
    failed: str


class Meter:
    """Samples what the server has sent and what the tool's processes have used."""

    def __init__(self, url: str, pid: int) -> None:
        self.samples: list[tuple[int, float]] = []
        self._url = url
        self._pid = pid
        self._used: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.25):
            self._used |= _cpu_s(self._pid)
            self.samples.append((int(stats(self._url)["chunks"]), sum(self._used.values())))

    def chunks_per_cpu_s(self, total: int) -> float | None:
        """Over the middle of the load; None when it was too short to say."""
        inside = [s for s in self.samples if 0.2 * total <= s[0] <= 0.8 * total]
        if len(inside) < 4 or inside[-1][1] <= inside[0][1]:
            return None
        return (inside[-1][0] - inside[0][0]) / (inside[-1][1] - inside[0][1])


def _cpu_s(root: int) -> dict[int, float]:
    """Processor seconds of a process and all its descendants."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found, queue = {}, [root]
    while queue:
        pid = queue.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) * tick_s
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, IndexError):
            continue
    return found


def measure(tool: Tool, folder: Path, options: argparse.Namespace) -> Row:
    """One run of one tool against a fresh server."""
    folder.mkdir()
    with serving(folder, TTFT_MS, ITL_MS, options.server_cpu) as url:
        load = Load(
            *(url, options.streams, options.requests, options.input_tokens),
            *(options.output_tokens, options.tokenizer.expanduser()),
        )
        before_s = time.monotonic()
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(options.client_cpu), *tool.command(folder, load)],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                env=_environment(),
            )
            with Meter(url, process.pid) as meter:
                failed = _wait(process)
        seen = stats(url)
    reported, failed = _read(tool, folder, failed)
    return Row(
        tool=tool.name,
        requests=seen["requests"],
        held=seen["open_mean"],
        chunks_per_cpu_s=meter.chunks_per_cpu_s(seen["chunks"]),
        wall_s=time.monotonic() - before_s,
        reported=reported,
        failed=failed,
    )


def _environment() -> dict[str, str]:
    """Offline, so that a local tokenizer is not looked up; our own `headrace` first."""
    own = str(Path(sys.executable).parent)
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**os.environ, **offline, "PATH": f"{own}:{os.environ['PATH']}"}


def _wait(process: subprocess.Popen[bytes]) -> str:
    """Why it failed; empty when it did not. Whatever it started is gone afterwards."""
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"not done in {TIMEOUT_S:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        status = process.wait()
    return "" if status in (0, 4) else f"exit status {status}"


def _read(tool: Tool, folder: Path, failed: str) -> tuple[Reported | None, str]:
    try:
        return tool.read(folder), failed
    except (OSError, ValueError, LookupError, TypeError) as error:
        lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
        last = lines[-1][:200] if lines else ""
        return None, failed or f"no result ({type(error).__name__}): {last}"


def table(rows: list[Row], options: argparse.Namespace) -> str:
    """The rows as Markdown."""
    load = f"{options.streams:,} streams, {options.requests:,} requests"
    lines = [
        f"{load} of {options.output_tokens} tokens; truth: TTFT {TTFT_MS:g}, ITL {ITL_MS:g} ms"
    ]
    heads = ("streams held", "TTFT p50 / p99 ms", "ITL mean ms", "output tok/s")
    lines += ["", f"| tool | {' | '.join(heads)} | chunks per CPU s |", "|---|---|---|---|---|---|"]
    for row in rows:
        said = row.reported
        cells = [row.tool, f"{row.held:,.0f}"]
        if said is None:
            cells += [row.failed, "", ""]
        else:
            ttft = f"{_cell(said.ttft_p50)} / {_cell(said.ttft_p99)}"
            cells += [ttft, _cell(said.itl_mean, 1), _cell(said.output_tok_s)]
        cells.append(_cell(row.chunks_per_cpu_s))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Headrace beside other load generators")
    parser.add_argument("--install", action="store_true", help="make the environments, and end")
    parser.add_argument("--tools", nargs="*", default=[t.name for t in (HEADRACE, *OTHERS)])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--requests", type=int, help="default: two for each stream")
    parser.add_argument("--input-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--tokenizer", type=Path, default=Path("~/.cache/headrace/tiny-qwen35"))
    parser.add_argument("--client-cpu", type=int, default=0)
    parser.add_argument("--server-cpu", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--keep", type=Path, help="leave logs and results in this folder")
    options = parser.parse_args()
    options.requests = options.requests or 2 * options.streams
    return options


def main() -> None:
    options = _options()
    if options.install:
        for tool in OTHERS:
            if not tool.installed:
                tool.install("uv")
        return
    chosen = [tool for tool in (HEADRACE, *OTHERS) if tool.name in options.tools]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        for tool in chosen:
            if tool is not HEADRACE and not tool.installed:
                print(f"{tool.name} is not installed: left out", file=sys.stderr)
                continue
            rows.append(measure(tool, base / f"{tool.name}-{options.streams}", options))
            print(rows[-1], file=sys.stderr)
    print(table(rows, options))
    if options.json:
        document: dict[str, Any] = {"rows": [asdict(row) for row in rows]}
        options.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
