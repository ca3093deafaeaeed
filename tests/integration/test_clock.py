"""The wall clock jumps an hour on and back, for agent, gateway, engines and the load generator."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from headrace.node.http import request
from headrace.targets.deployment import Deployment
from headrace.targets.local.fleet import start, wait_ready
from headrace.targets.local.job import plan_job
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import wait_for
from tests.integration.nodes import simulated_plan
from tests.integration.streams import Load
from tests.integration.summaries import rows

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

HOUR_S = 3600
SOURCE = Path(__file__).with_name("jumping_clock.c")
COMPILER = shutil.which("cc")


class Clock:
    """The wall clock of every process that is started from now on; the monotonic one is real."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Be so much off."""
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    if COMPILER is None:
        pytest.skip("no C compiler here")
    file, library = tmp_path / "clock", tmp_path / "clock.so"
    file.write_bytes(bytes(8))
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
    monkeypatch.setenv("JUMPING_CLOCK", str(file))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    return Clock(file)


def test_the_clock_jumps_under_load(run_dir: Path, tmp_path: Path, clock: Clock):
    plan = simulated_plan(tmp_path, 1, 2)
    job = plan_job(plan, run_dir, processes=2)
    assert job.gateway is not None
    logging = job.gateway.model_copy(update={"access_log_share": 1.0})
    job = job.model_copy(update={"gateway": logging})
    with start(job, attached=True) as fleet:
        (url,) = wait_ready(fleet).urls
        asked = {"model": plan.model, "prompt": [1, 2, 3], "max_tokens": 20, "stream": True}
        out = tmp_path / "bench"
        with benchmark(url, plan.model, out), Load(url, json.dumps(asked), streams=4) as load:
            assert wait_for(lambda: out.exists() and len(load.done) > 10)
            for jump_s in (HOUR_S, -HOUR_S, 0):
                clock.jump(jump_s)
                assert abs(engine_is_off_s(url, plan.model) - jump_s) < HOUR_S / 2
                more = len(load.done) + 20
                assert wait_for(partial(has_done, load, more))
        after = fleet.deployment()
    assert after is not None
    print(f"\n| the clock jumps 1 h on and back | {len(load.done)} requests, 0 failed |")
    assert [timed for timed in load.done if not timed.good] == []
    assert restarts(after) == [0, 0, 0]
    assert {replica.state for replica in after.replicas} == {"ready"}
    records_are_sane(out)
    lines = (run_dir / "logs" / "access.log").read_text().splitlines()
    seen = [json.loads(line)["time"] for line in lines]
    between = datetime.fromisoformat(max(seen)) - datetime.fromisoformat(min(seen))
    assert between.total_seconds() > 1.5 * HOUR_S, "the gateway's clock did not jump"


@contextmanager
def benchmark(url: str, model: str, out: Path) -> Iterator[None]:
    """`headrace bench` beside it, until it has measured."""
    command = [sys.executable, "-c", "from headrace.cli.main import main; main()", "bench"]
    options = {"url": url, "model": model, "input-tokens": "64", "output-tokens": "16"}
    options |= {"concurrency": "4", "duration": "8", "output": str(out)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE) as bench:
        yield
        _, said = bench.communicate(timeout=120)
    assert bench.returncode in (0, 4), said.decode()


def engine_is_off_s(url: str, model: str) -> float:
    """What an answer's time is off by."""
    asked = json.dumps({"model": model, "prompt": [1], "max_tokens": 1}).encode()
    answer = asyncio.run(request("POST", f"{url}/v1/completions", 10, body=asked))
    assert answer is not None
    assert answer.status == 200
    return float(json.loads(bytes(answer.body))["created"] - time.time())


def has_done(load: Load, count: int) -> bool:
    return len(load.done) >= count


def restarts(state: Deployment) -> list[int]:
    assert state.gateway is not None
    return [*(replica.restarts for replica in state.replicas), state.gateway.restarts]


def records_are_sane(out: Path) -> None:
    """No request took less than nothing, or an hour; none failed."""
    summary = json.loads((out / "summary.json").read_text())
    assert summary["requests"]["failed"] == 0
    assert 5 < summary["duration_s"] < 60
    times = "sent_s, first_token_s, last_token_s, done_s"
    requests = rows(out, f"select {times} from FILE where error is null")
    assert len(requests) > 10
    assert all(0 <= sent <= first <= last <= done < 120 for sent, first, last, done in requests)
