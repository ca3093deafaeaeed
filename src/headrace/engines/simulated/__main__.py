"""`python -m headrace.engines.simulated --job FILE [--shutdown-timeout S]`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path

import uvloop

from headrace.engines.simulated.job import SimulatedJob, load_job
from headrace.engines.simulated.server import Server
from headrace.errors import HeadraceError


def main() -> int:
    """Serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m headrace.engines.simulated",
        description="An OpenAI-compatible server whose GPUs are simulated.",
    )
    parser.add_argument("--job", type=Path, required=True, help="JSON file: what to simulate")
    parser.add_argument(
        "--shutdown-timeout",
        type=float,
        default=0.0,
        help="seconds that requests in flight get after SIGTERM (default: 0, as vLLM)",
    )
    options = parser.parse_args()
    try:
        job = load_job(options.job)
        raise_file_limit()
        uvloop.run(_serve(job, options.shutdown_timeout))
    except HeadraceError as error:
        sys.stderr.write(f"error: {error}\n" + (f"next: {error.hint}\n" if error.hint else ""))
        return error.exit_status
    return 0


async def _serve(job: SimulatedJob, shutdown_timeout_s: float) -> None:
    """The key comes from the environment, as vLLM takes it: argv is public."""
    await Server(job, shutdown_timeout_s, os.environ.get("VLLM_API_KEY")).run()


def raise_file_limit() -> None:
    """Every stream is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
