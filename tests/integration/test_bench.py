"""`headrace bench` as a user runs it: real processes against a real server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.summaries import rows

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "bench"]
SHAPE = ["--input-tokens", "50", "--output-tokens", "20"]


@contextmanager
def serving(*arguments: str) -> Iterator[int]:
    """The paced server's port; it says that it is vLLM 0.33.0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.loadgen.paced", "0.33.0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as port:
        yield f"http://127.0.0.1:{port}"


def bench(folder: Path, url: str, *options: str, model: str = "steady", **env: str) -> Any:
    base = [*COMMAND, "--url", url, "--model", model, *SHAPE, "--output", str(folder), "--json"]
    return subprocess.run(
        [*base, *options], capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )


def stats(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/stats") as answer:
        found: dict[str, int] = json.loads(answer.read())
    return found


def started(folder: Path, url: str, *options: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A bench that has completed some requests, and its worker processes."""
    before = stats(url)["requests"]
    base = [*COMMAND, "--url", url, "--model", "steady", *SHAPE, "--output", str(folder), "--json"]
    process = subprocess.Popen(
        [*base, "--concurrency", "4", "--duration", "60", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: stats(url)["requests"] >= before + 24)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, [int(child) for child in children]


def wait_until(reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def gone(processes: list[int]) -> bool:
    return not any(Path(f"/proc/{process}").exists() for process in processes)


def test_a_number_of_requests(server: str, tmp_path: Path) -> None:
    before = stats(server)["requests"]
    options = ["--concurrency", "8", "--requests", "24", "--processes", "2"]
    done = bench(tmp_path / "run", server, *options, "--usd-per-hour", "3.6")
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["engine"] == "vllm 0.33.0"
    requests = summary["requests"]
    assert (requests["asked"], requests["completed"], requests["failed"]) == (24, 24, 0)
    assert requests["warmup"] == 8
    assert summary["tokens"] == {"input": 24 * 50, "output": 24 * 20}
    assert summary["latency_ms"]["ttft"]["p50"] > 28
    assert summary["concurrency"]["max"] <= 8
    assert summary["client"]["processes"] == 2
    assert summary["usd_per_million_tokens"] > 0
    seen = stats(server)
    assert seen["open_max"] <= 8
    sent = seen["requests"] - before
    assert sent == requests["asked"] + requests["warmup"] + requests["cut"] + _fills(tmp_path)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "records.parquet",
        "server.parquet",
        "summary.json",
        "timeline.parquet",
    ]
    assert done.returncode == (0 if summary["valid"] else 4), done.stderr


def _fills(folder: Path) -> int:
    query = "select count(*) from FILE where phase = 'fill' and error is null"
    return int(rows(folder / "run", query)[0][0])


def test_requests_are_measured_once_all_streams_have_begun(server: str, tmp_path: Path) -> None:
    options = ["--concurrency", "40", "--requests", "60", "--processes", "1"]
    summary = json.loads(bench(tmp_path, server, *options).stdout)
    assert summary["requests"]["completed"] == 60
    ((last_begun_s, first_measured_s, fills),) = rows(
        tmp_path,
        """select max(sent_s) filter (phase = 'warmup'),
        min(sent_s) filter (phase = 'measured'), count(*) filter (phase = 'fill') from FILE""",
    )
    assert last_begun_s <= first_measured_s
    assert fills > 0


def test_the_first_wave_is_ramped_by_all_processes_together(server: str, tmp_path: Path) -> None:
    asked = ["--concurrency", "48", "--processes", "4", "--requests", "96"]
    assert bench(tmp_path, server, *asked).returncode == 0
    wave = rows(tmp_path, "select sent_s, first_token_s from FILE where phase = 'warmup'")
    assert len(wave) == 48
    at_once = [sum(sent <= at < first for sent, first in wave) for at, _ in wave]
    assert max(at_once) <= 8


def test_a_duration_at_a_rate(server: str, tmp_path: Path) -> None:
    done = bench(tmp_path, server, "--rate", "60", "--duration", "2")
    summary = json.loads(done.stdout)
    assert summary["concurrency"]["asked"] is None
    assert summary["duration_s"] == pytest.approx(2.0, abs=0.01)
    assert 40 < summary["throughput"]["request_s"] < 80
    assert summary["requests"]["failed"] == 0


def test_an_slo_that_is_missed_is_exit_status_4(server: str, tmp_path: Path) -> None:
    options = ["--concurrency", "2", "--requests", "4", "--start", "together"]
    done = bench(tmp_path, server, *options, "--ttft-p99-ms", "1")
    assert done.returncode == 4
    assert "TTFT p99" in done.stderr
    assert json.loads(done.stdout)["goodput"]["share"] == 0


def test_an_unreachable_url_is_one_message(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = bench(tmp_path / "run", url, "--concurrency", "2", "--requests", "4")
    assert done.returncode == 1
    assert f"cannot reach {url}: connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concurrency", "2"], "--requests or --duration: expected one of them, got neither"),
        (["--concurrency", "0", "--requests", "4"], "--concurrency 0"),
        (["--concurrency", "2", "--requests", "4", "--url", "ftp://h"], "not an HTTP URL"),
        (
            ["--concurrency", "2", "--requests", "4", "--api-key-env", "NO_SUCH_KEY"],
            "NO_SUCH_KEY: the environment variable is not set",
        ),
    ],
)
def test_bad_input_is_exit_status_2(
    server: str, tmp_path: Path, options: list[str], message: str
) -> None:
    done = bench(tmp_path / "run", server, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_cuts_streams_is_exit_status_1(server: str, tmp_path: Path) -> None:
    done = bench(tmp_path, server, "--concurrency", "2", "--requests", "6", model="cut")
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert summary["requests"]["errors"] == {"cut_stream": 6}
    assert summary["requests"]["asked"] == summary["requests"]["failed"] == 6
    assert summary["latency_ms"] is None
    assert "all 6 failed" in done.stderr
    assert (tmp_path / "records.parquet").exists()


def test_some_failures_are_exit_status_4_and_what_the_server_said(
    server: str, tmp_path: Path
) -> None:
    done = bench(tmp_path, server, "--concurrency", "2", "--requests", "10", model="half-broken")
    requests = json.loads(done.stdout)["requests"]
    assert done.returncode == 4
    assert requests["completed"] + requests["failed"] == requests["asked"] == 10
    assert requests["errors"] == {"http_500": requests["failed"]}
    assert requests["examples"] == {"http_500": "broken"}


def test_names_that_lead_nowhere_and_servers_that_are_gone_are_counted(
    server: str, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://localhost:{unused.getsockname()[1]}"
        others = ("--url", "http://no-such-host.invalid", "--url", gone)
        load = ("--concurrency", "6", "--requests", "30", "--start", "together")
        done = bench(tmp_path, server, *others, *load)
    requests = json.loads(done.stdout)["requests"]
    assert done.returncode == 4
    assert set(requests["errors"]) == {"dns", "connect"}
    assert requests["completed"] + requests["failed"] == requests["asked"] == 30
    assert requests["completed"] > 0
    assert {"summary.json", "records.parquet"} <= {path.name for path in tmp_path.iterdir()}


def test_files_are_not_overwritten_unasked(server: str, tmp_path: Path) -> None:
    options = ["--concurrency", "2", "--requests", "4", "--start", "together"]
    (tmp_path / "summary.json").write_text("mine")
    assert bench(tmp_path, server, *options).returncode == 2
    assert (tmp_path / "summary.json").read_text() == "mine"
    bench(tmp_path, server, *options, "--force")
    assert json.loads((tmp_path / "summary.json").read_text())["requests"]["completed"] == 4


def test_an_api_key_stays_out_of_everything_written(server: str, tmp_path: Path) -> None:
    options = ["--concurrency", "2", "--requests", "4", "--api-key-env", "MY_KEY"]
    done = bench(tmp_path, server, *options, MY_KEY="s3cr3t-value")
    assert json.loads(done.stdout)["requests"]["completed"] == 4
    assert "s3cr3t" not in done.stdout + done.stderr
    assert all(b"s3cr3t" not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_complete_partial_result(
    server: str, tmp_path: Path, number: signal.Signals
) -> None:
    process, workers = started(tmp_path, server, "--processes", "2")
    assert len(workers) == 2
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    summary = json.loads(out)
    assert process.returncode == 4, errors
    assert summary["valid"] is False
    assert "interrupted" in summary["invalid_reasons"]
    requests = summary["requests"]
    assert requests["completed"] > 0
    assert requests["asked"] == requests["completed"] + requests["failed"]
    assert requests["cut"] <= 4
    assert (tmp_path / "records.parquet").exists()
    assert gone(workers)


def test_a_worker_that_dies_is_reported(server: str, tmp_path: Path) -> None:
    process, workers = started(tmp_path, server, "--processes", "2")
    os.kill(workers[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=60)
    summary = json.loads(out)
    assert process.returncode == 4, errors
    assert any("died (signal 9)" in reason for reason in summary["invalid_reasons"])
    assert summary["requests"]["completed"] > 0
    assert gone(workers)


def test_a_killed_parent_takes_its_workers_along(server: str, tmp_path: Path) -> None:
    process, workers = started(tmp_path, server)
    process.kill()
    process.communicate(timeout=60)
    assert workers
    wait_until(lambda: gone(workers))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_with_a_trusted_certificate_only(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(file), "-out", str(tmp_path / "cert.pem")]
    command = ["openssl", *request.split(), *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    certificate = (tmp_path / "cert.pem").read_text()
    file.write_text(file.read_text() + certificate)
    options = ["--concurrency", "2", "--requests", "4"]
    with serving(str(file)) as port:
        url = f"https://127.0.0.1:{port}"
        trusted = bench(tmp_path / "a", url, *options, SSL_CERT_FILE=str(tmp_path / "cert.pem"))
        stranger = bench(tmp_path / "b", url, *options)
    assert json.loads(trusted.stdout)["requests"]["completed"] == 4
    assert stranger.returncode == 1
    assert f"{url}: TLS failed" in stranger.stderr
