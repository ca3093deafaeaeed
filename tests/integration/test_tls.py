"""TLS and client certificates, with real ones: the gateway, and the live page."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from headrace.node.http import request
from headrace.node.job import GatewaySpec, Tls
from headrace.node.ports import free_port
from headrace.targets.local.fleet import start, wait_ready
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import tiny_job, wait_for

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


@dataclass
class Files:
    certificate: Path
    key: Path
    authority: Path
    member: ssl.SSLContext
    """A client that trusts the server and has a certificate of the authority."""
    nobody: ssl.SSLContext
    """It has none."""
    stranger: ssl.SSLContext
    """It has one of another authority."""
    mistrustful: ssl.SSLContext
    """It has one, but does not know who signed the server's."""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    authority, other = trustme.CA(), trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    found = Files(
        tmp_path / "server.pem",
        tmp_path / "server.key",
        tmp_path / "ca.pem",
        client(authority, authority),
        client(authority, None),
        client(authority, other),
        client(other, authority),
    )
    server.private_key_pem.write_to_path(found.key)
    server.cert_chain_pems[0].write_to_path(found.certificate)
    authority.cert_pem.write_to_path(found.authority)
    return found


def client(trusted: trustme.CA, signer: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    if signer:
        signer.issue_cert("team@example.com").configure_cert(context)
    return context


def code(url: str, trust: ssl.SSLContext | None = None) -> int | None:
    """The status of a GET; None when the connection did not come about."""
    answer = asyncio.run(request("GET", url, 5, trust=trust))
    return answer.status if answer else None


def test_the_gateway_and_the_page_let_in_who_has_a_certificate(run_dir: Path, files: Files):
    tls = Tls(certificate=files.certificate, key=files.key, client_ca=files.authority)
    spec = GatewaySpec(policy="least-request", tls=tls)
    with start(tiny_job(run_dir, 2, gateway=spec), attached=True) as fleet:
        (url,) = wait_ready(fleet).urls
        only_members(f"{url}/v1/models", files)
        the_page(files)


def only_members(url: str, files: Files) -> None:
    assert url.startswith("https://127.0.0.1:")
    assert code(url, files.member) == 200
    assert code(url, files.nobody) is None
    assert code(url, files.stranger) is None
    assert code(url, files.mistrustful) is None
    assert code(url.replace("https", "http")) is None


def the_page(files: Files) -> None:
    port = free_port("127.0.0.1")
    words = ["dashboard", "--host", "0.0.0.0", "--port", str(port)]
    words += ["--certificate", str(files.certificate), "--key", str(files.key)]
    words += ["--client-ca", str(files.authority)]
    command = [sys.executable, "-c", "from headrace.cli.main import main; main()", *words]
    url = f"https://127.0.0.1:{port}/data"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as page:
        try:
            assert wait_for(lambda: code(url, files.member) == 200)
            only_members(url, files)
        finally:
            page.send_signal(signal.SIGINT)
            _, said = page.communicate(timeout=60)
    assert "asks for a certificate of" in " ".join(said.split())
    assert "token" not in said
