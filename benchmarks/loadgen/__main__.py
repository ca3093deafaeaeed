"""Headrace beside vLLM's bench client, aiperf, guidellm and inference-perf: the same load, the same
processor, the same paced server, whose own schedule is the truth.

    python benchmarks/loadgen                  # makes what environments lack, runs, prints
    python benchmarks/loadgen --write-docs     # also writes docs/load-generator-compared.md

Needs a C compiler, uv, two processors and a folder with a tokenizer (`make tiny-model` makes one).
The environments take 12 GB (guidellm alone 5.7), in ~/.cache/headrace; --tools chooses.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from loadgen.measure import Bench, Row, measure
from loadgen.page import page, table, write_page
from loadgen.tools import HEADRACE, OTHERS, Tool

TOKENIZER = Path("~/.cache/headrace/tiny-qwen35")


def main() -> None:
    """Install, measure one tool after the other, print and write."""
    options = _parser().parse_args()
    bench = Bench(
        *(options.streams, options.requests or 3 * options.streams, options.input_tokens),
        *(options.output_tokens, options.ttft_ms, options.itl_ms),
        *(options.tokenizer.expanduser().resolve(), options.client_cpu, options.server_cpu),
        options.limit_s,
    )
    if not (bench.tokenizer / "tokenizer.json").exists():
        sys.exit(
            f"no tokenizer.json in {bench.tokenizer}: run make tiny-model, or give --tokenizer"
        )
    chosen = [tool for tool in (HEADRACE, *OTHERS) if tool.name in options.tools]
    with tempfile.TemporaryDirectory() as temporary:
        rows = [_row(tool, options.keep or Path(temporary), bench) for tool in chosen]
    print(table(rows, bench))
    if options.json:
        document = {"rows": [asdict(row) for row in rows], "load": asdict(bench)}
        options.json.write_bytes(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2))
    if options.write_docs:
        write_page(page(rows, bench, _command()), rows)


def _row(tool: Tool, base: Path, bench: Bench) -> Row:
    print(f"{tool.name} ...", file=sys.stderr, flush=True)
    failed = _installed(tool)
    if failed:
        return Row(tool.name, failed=failed)
    row = measure(tool, base / f"{tool.name}-{bench.streams}", bench)
    print(row, file=sys.stderr)
    return row


def _installed(tool: Tool) -> str:
    """Why the tool cannot be had; empty when it is there."""
    if tool is HEADRACE or tool.installed:
        return ""
    print(f"{tool.name}: making its environment", file=sys.stderr)
    try:
        tool.install()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"could not be installed: {error}"
    return "" if tool.installed else "could not be installed: its program is not there"


def _command() -> str:
    """The command without what only says where files go."""
    own = _parser().parse_args()
    places = {"--write-docs", "--json", "--keep", str(own.json), str(own.keep)}
    kept = [text for text in sys.argv[1:] if text not in places]
    return " ".join(["python benchmarks/loadgen", *kept, "--write-docs"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Headrace beside other load generators")
    parser.add_argument("--tools", nargs="*", default=[t.name for t in (HEADRACE, *OTHERS)])
    parser.add_argument("--streams", type=int, default=4000)
    parser.add_argument("--requests", type=int, help="default: three for each stream")
    parser.add_argument("--input-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--ttft-ms", type=float, default=300.0)
    parser.add_argument("--itl-ms", type=float, default=46.0)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--client-cpu", type=int, default=0)
    parser.add_argument("--server-cpu", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=100.0, help="a tool is stopped after that")
    parser.add_argument("--write-docs", action="store_true", help="write the docs page and chart")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--keep", type=Path, help="leave logs and results in this folder")
    return parser


if __name__ == "__main__":
    main()
