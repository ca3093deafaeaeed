"""The live page against a real fleet: with and without a token, and in a browser."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import sync_playwright

from headrace.node.http import request
from headrace.node.ports import free_port
from headrace.targets.local.fleet import start, wait_ready
from headrace.targets.local.job import plan_job
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import wait_for
from tests.integration.nodes import simulated_plan
from tests.integration.streams import completions

CHROMIUM = "/usr/bin/chromium"
COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "dashboard"]
pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


@pytest.fixture
def serving(run_dir: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    plan = simulated_plan(tmp_path, 1, 2, name="live")
    (run_dir / "plan.json").write_text(plan.model_dump_json())
    with start(plan_job(plan, run_dir), attached=True) as fleet:
        yield wait_ready(fleet).urls[0], plan.model


def page(host: str, token: str | None = None) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port("127.0.0.1")
    env = {**os.environ, **({"HEADRACE_DASHBOARD_TOKEN": token} if token else {})}
    command = [*COMMAND, "--host", host, "--port", str(port)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    assert wait_for(lambda: status(url, "/live.css") is not None)
    return process, url


def status(url: str, path: str, **headers: str) -> int | None:
    answer = asyncio.run(request("GET", url + path, 5, headers=headers))
    return answer.status if answer else None


def test_the_page_is_closed_to_strangers(serving: tuple[str, str]):
    process, url = page("0.0.0.0", "sesame-open-please")
    try:
        assert status(url, "/data") == 401
        assert status(url, "/", Authorization="Bearer guess") == 401
        assert status(url, "/data?token=guess") == 401
        assert status(url, "/data", Authorization="Bearer sesame-open-please") == 200
        assert status(url, "/?token=sesame-open-please") == 303
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert b"asks for that token" in said
    assert b"sesame" not in said
    assert process.returncode == 130


@pytest.mark.browser
def test_the_page_shows_the_fleet(serving: tuple[str, str]):
    """Loopback needs no token, but a foreign name for it is not answered."""
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium here")
    gateway, model = serving
    process, url = page("127.0.0.1")
    try:
        assert status(url, "/data", Host="evil.example") == 400
        assert status(url, "/../../../etc/passwd") == 404
        completions(gateway, model, 20)
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            tab = browser.new_page()
            errors: list[str] = []
            tab.on("pageerror", lambda error: errors.append(str(error)))
            tab.on("console", lambda said: errors.append(said.text))
            tab.goto(url)
            tab.wait_for_selector("#replicas tr:nth-child(2)", timeout=30_000)
            tab.wait_for_selector(".charts canvas", timeout=30_000)
            text = tab.inner_text("body")
            browser.close()
        assert errors == []
        assert "SIMULATED" in text
        assert "2 of 2 replicas ready" in text
        assert "r0\tlocal\tready" in text
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_files_for_prometheus_and_grafana(serving: tuple[str, str], tmp_path: Path):
    done = subprocess.run([*COMMAND, "--export", str(tmp_path / "m")], capture_output=True)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert names == ["alerts.yaml", "grafana.json", "prometheus.yaml"]
    import yaml

    scraped = yaml.safe_load((tmp_path / "m" / "prometheus.yaml").read_text())["scrape_configs"]
    pages = [
        urlopen(Request(f"http://{target}/metrics")).read().decode()
        for job in scraped
        for part in job["static_configs"]
        for target in part["targets"]
    ]
    assert "vllm:num_requests_running" in pages[0]
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="replicas"} 2' in pages[-1]
