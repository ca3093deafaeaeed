"""`headrace bench` with the loads and workloads beyond the plain ones, as a user runs it."""

import itertools
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.summaries import measured, rows
from tests.integration.test_bench import COMMAND, SHAPE, bench, serving, stats, wait_until

pytestmark = pytest.mark.integration

SHORT = ["--concurrency", "4", "--requests", "16"]


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("s") / "paced.sock")


@pytest.fixture(scope="module")
def server(socket_path: str) -> Iterator[str]:
    with serving(socket_path) as port:
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_mixed_lengths_and_a_row_per_chunk(server: str, tmp_path: Path) -> None:
    lengths = ["--input-tokens", "lognormal:50,20", "--output-tokens", "uniform:2-9"]
    done = bench(tmp_path, server, *SHORT, *lengths, "--per-chunk", "--scrape", "0.05")
    summary = json.loads(done.stdout)
    assert summary["requests"]["completed"] == 16
    assert not any("prompt tokens" in reason for reason in summary["invalid_reasons"])
    found = rows(
        tmp_path,
        "select asked_tokens, output_tokens, prompt_tokens, input_tokens from FILE where counted",
    )
    assert all(2 <= asked == out <= 9 and sent == got for asked, out, sent, got in found)
    chunks = rows(
        tmp_path,
        "select request, count(*), min(at_s), max(at_s) from FILE group by 1 order by 1",
        "chunks.parquet",
    )
    ends = rows(
        tmp_path,
        "select row_number() over () - 1 as place, chunks, first_token_s, last_token_s, counted "
        "from FILE order by place",
    )
    expected = [row[:4] for row in ends if row[4]]
    assert [row[:2] for row in chunks] == [row[:2] for row in expected]
    for made, told in zip(chunks, expected, strict=True):
        assert made[2:] == pytest.approx(told[2:], abs=1e-4)
    assert summary["server"]["running_mean"] > 0
    assert summary["server"]["prefix_hit_rate"] == pytest.approx(0.25)
    assert rows(tmp_path, "select count(*) from FILE", "server.parquet")[0][0] > 2


def test_requests_follow_so_many_at_a_time_as_asked(server: str, tmp_path: Path) -> None:
    several = ["--concurrency", "12", "--refill", "4", "--requests", "60", "--processes", "2"]
    done = bench(tmp_path, server, *several, "--output-tokens", "uniform:5-40")
    measured(done)
    sent = rows(tmp_path, "select sent_s from FILE where phase <> 'warmup' order by sent_s")
    times = [row[0] for row in sent]
    together = [times[n : n + 4] for n in range(0, len(times), 4)]
    assert len(times) >= 60
    assert max(four[-1] - four[0] for four in together) < 0.005
    apart = [b[0] - a[-1] for a, b in itertools.pairwise(together)]
    assert sorted(apart)[len(apart) // 4] > 0.005


def test_conversations_of_a_reasoning_model(server: str, tmp_path: Path) -> None:
    talk = ["--endpoint", "chat", "--turns", "3", "--think-time", "0.02"]
    done = bench(tmp_path, server, *SHORT, *talk, model="thinks")
    summary = measured(done)
    assert summary["chunks"]["reasoning"] == 160
    assert summary["ttfc_ms"]["p50"] > summary["latency_ms"]["ttft"]["p50"] + 30
    turns = rows(tmp_path, "select turn, avg(input_tokens) from FILE where counted group by 1")
    longer = dict(turns)
    assert longer[0] == 50
    assert longer[0] < longer[1] < longer[2]


def test_text_prompts_counted_by_the_server(server: str, tmp_path: Path) -> None:
    told = ["--endpoint", "chat", "--tokenizer", "server"]
    done = bench(tmp_path, server, *SHORT, *told, model="counted")
    measured(done)
    counts = rows(tmp_path, "select distinct prompt_tokens, input_tokens from FILE where counted")
    assert counts == [(50, 50)]


def test_a_trace_at_its_own_times(server: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lines = [
        {"timestamp": 100 * n, "input_length": 520 + n, "output_length": 2 + n, "hash_ids": [1, n]}
        for n in range(6)
    ]
    trace.write_text("\n".join(map(json.dumps, lines)))
    done = bench(tmp_path / "run", server, "--dataset", str(trace), "--replay", "2")
    measured(done)
    found = rows(
        tmp_path / "run",
        "select scheduled_s, input_tokens, output_tokens from FILE order by scheduled_s",
    )
    assert [row[0] for row in found] == pytest.approx([0.05 * n for n in range(6)], abs=0.02)
    assert [row[1:] for row in found] == [(520 + n, 2 + n) for n in range(6)]


def test_a_unix_socket_and_adapters(server: str, socket_path: str, tmp_path: Path) -> None:
    options = [*SHORT, "--lora", "steady", "--lora", "several"]
    done = bench(tmp_path, f"unix://{socket_path}", *options)
    assert json.loads(done.stdout)["requests"]["completed"] == 16, done.stderr
    assert {lora for (lora,) in rows(tmp_path, "select distinct lora from FILE")} == {1, 2}


def test_constant_arrivals_are_evenly_spaced(server: str, tmp_path: Path) -> None:
    load = ["--rate", "50", "--arrivals", "constant", "--requests", "30", "--processes", "2"]
    bench(tmp_path, server, *load)
    gaps = rows(
        tmp_path,
        "select scheduled_s - lag(scheduled_s) over (order by scheduled_s) as gap from FILE "
        "qualify gap is not null",
    )
    assert all(gap == pytest.approx(0.02, abs=1e-4) for (gap,) in gaps[:25])


def test_a_sweep_that_is_interrupted_goes_on(server: str, tmp_path: Path) -> None:
    base = [*COMMAND, "--url", server, "--model", "steady", *SHAPE, "-o", str(tmp_path), "--json"]
    load = ["--sweep", "2,3,4", "--duration"]
    first = subprocess.Popen([*base, *load, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until((tmp_path / "sweep.json").exists)
    wait_until(lambda: any((tmp_path / "concurrency-3").glob(".bench-*/rows-0.bin")))
    before = stats(server)["requests"]
    wait_until(lambda: stats(server)["requests"] > before + 3)
    first.send_signal(signal.SIGINT)
    out, errors = first.communicate(timeout=60)
    assert first.returncode == 4, errors
    assert json.loads(out)["complete"] is False
    done = bench(tmp_path, server, "--sweep", "2,3,4", "--duration", "0.3", "--resume")
    series = json.loads(done.stdout)
    assert series["complete"] is True
    lasted = [point["summary"]["duration_s"] for point in series["points"]]
    assert lasted == pytest.approx([2.0, 0.3, 0.3], abs=0.02)


def test_machines_load_together(server: str, tmp_path: Path) -> None:
    port, secret = free_port(), {"HEADRACE_BENCH_TOKEN": "a shared text"}
    agents = [
        subprocess.Popen(
            [*COMMAND, "--join", f"127.0.0.1:{port}", "--processes", "1"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **secret},
        )
        for _ in range(2)
    ]
    where = ["--agents", "2", "--listen", f"127.0.0.1:{port}"]
    done = bench(tmp_path, server, "--concurrency", "9", "--requests", "27", *where, **secret)
    said = [agent.communicate(timeout=60)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    summary = json.loads(done.stdout)
    assert summary["requests"]["completed"] == 27
    assert summary["client"]["processes"] == 3
    assert summary["concurrency"]["max"] == 9
    each = rows(tmp_path, "select worker, count(*) from FILE where counted group by 1 order by 1")
    assert each == [(0, 9), (1, 9), (2, 9)]
    ttft = rows(tmp_path, "select min(first_token_s - sent_s), min(sent_s) from FILE")[0]
    assert ttft[0] > 0.028
    assert ttft[1] >= 0


def test_a_machine_with_another_token_is_not_let_in(tmp_path: Path) -> None:
    port = free_port()
    base = [*COMMAND, "--url", "http://127.0.0.1:9", "--model", "m"]
    where = ["--concurrency", "1", "--requests", "1", "--agents", "1"]
    coordinator = subprocess.Popen(
        [*base, *where, "--listen", f"127.0.0.1:{port}", "-o", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HEADRACE_BENCH_TOKEN": "one"},
    )
    stranger = subprocess.run(
        [*COMMAND, "--join", f"127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "HEADRACE_BENCH_TOKEN": "two"},
    )
    assert stranger.returncode == 1
    assert "another token" in stranger.stderr
    assert coordinator.poll() is None
    coordinator.send_signal(signal.SIGINT)
    coordinator.communicate(timeout=60)
    assert coordinator.returncode == 130
