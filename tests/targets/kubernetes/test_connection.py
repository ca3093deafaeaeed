"""Kubeconfigs, certificates and credential plugins that do not work, each told in one sentence."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import HeadraceError, InputError
from headrace.targets.kubernetes.live.connection import connect
from headrace.targets.kubernetes.live.kinds import POD

pytestmark = pytest.mark.integration

PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "sh"}


class Refusing(BaseHTTPRequestHandler):
    """Whoever comes as far as HTTP is told that a token is missing, or sees its own."""

    def do_GET(self) -> None:
        said = {"kind": "Status", "message": self.headers.get("authorization", "none")}
        data = json.dumps(said).encode()
        self.send_response(401)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key with a certificate that holds, and one that has run out."""
    made = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=made, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-subj", "/CN=localhost"]
    openssl(
        *new, "-x509", "-days", "2", "-out", "good.pem", "-addext", "subjectAltName=IP:127.0.0.1"
    )
    openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=jo", "-out", "asked.pem")
    signer = ["-CA", "good.pem", "-CAkey", "key.pem", "-CAcreateserial"]
    openssl("x509", "-req", "-in", "asked.pem", *signer, "-days", "-1", "-out", "expired.pem")
    return made


class Served(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that TLS refuses is what the tests want."""


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """An API that wants a client certificate if one is given, and checks it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "good.pem", folder / "key.pem")
    context.load_verify_locations(folder / "good.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    with Served(("127.0.0.1", 0), Refusing) as made:
        made.socket = context.wrap_socket(
            made.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def kubeconfig(server: str, user: Any, cluster: Any = None) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the user reads: message and hint."""

    def answer(config: Any) -> tuple[HeadraceError, str]:
        (tmp_path / "junk.pem").write_text("junk")
        path = tmp_path / "kubeconfig"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        with pytest.raises(HeadraceError) as caught, connect(None, timeout_s=10) as api:
            api.list(POD, "x", "")
        assert "\n" not in str(caught.value)
        return caught.value, f"{caught.value} | {caught.value.hint}"

    return answer


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clusters": "x"}, "is no kubeconfig"),
        ({"contexts": None}, "is no kubeconfig"),
        ({"clusters": []}, "its cluster or user 'c' is not in"),
        ({"users": []}, "its cluster or user 'u' is not in"),
        ({"current-context": "gone"}, "'gone' not found"),
        ({"contexts": [{"name": "here", "context": {"cluster": "c"}}]}, "it names no user"),
    ],
)
def test_a_kubeconfig_that_does_not_hold_together(change: Any, says: str, said: Any) -> None:
    error, text = said(kubeconfig("https://x", {"token": "t"}) | change)
    assert isinstance(error, InputError)
    assert says in text
    assert "kubectl config" in text


@pytest.mark.parametrize("text", ["", "x", "[1]", "a: [", "{}"])
def test_a_file_that_is_no_kubeconfig(text: str, said: Any) -> None:
    error, _ = said(text)
    assert isinstance(error, InputError)


@pytest.mark.parametrize("address", ["127.0.0.1:6443", "::::", ""])
def test_a_server_without_a_scheme(address: str, said: Any) -> None:
    assert "expected https://HOST" in said(kubeconfig(address, {"token": "t"}))[1]


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"client-certificate": "/none", "client-key": "/none"}, "that it names is not there"),
        ({"client-certificate": "junk.pem", "client-key": "junk.pem"}, "no PEM text"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider not supported"),
    ],
)
def test_credentials_that_cannot_be_read(user: Any, says: str, server: str, said: Any) -> None:
    assert says in said(kubeconfig(server, user))[1]


def test_an_authority_that_cannot_be_read(server: str, said: Any) -> None:
    authority = {"certificate-authority": "junk.pem"}
    assert "no PEM text" in said(kubeconfig(server, {"token": "t"}, authority))[1]


def test_a_server_that_nobody_vouches_for(server: str, said: Any) -> None:
    assert "certificate-authority vouches for" in said(kubeconfig(server, {"token": "t"}))[1]


def test_an_expired_client_certificate(server: str, folder: Path, said: Any) -> None:
    trust = {"certificate-authority": str(folder / "good.pem")}
    user = {
        "client-certificate": str(folder / "expired.pem"),
        "client-key": str(folder / "key.pem"),
    }
    assert (
        "the client certificate has expired: log in again"
        in said(kubeconfig(server, user, trust))[1]
    )


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ({"command": "no-such-plugin"}, "no-such-plugin is not installed | install it"),
        ({"args": ["-c", "echo first >&2; echo second >&2; exit 3"]}, "3: first second | log in"),
        ({"args": ["-c", "echo hello"]}, "sh printed no token"),
        ({"args": ["-c", "echo {}"]}, "sh printed no token"),
        ({"apiVersion": "client.authentication.k8s.io/v1"}, "set the apiVersion of its exec"),
        ({"args": ["-c", 'echo \'{"status": {"token": "abc"}}\'']}, "Bearer abc (401)"),
    ],
)
def test_credential_plugins(
    plugin: dict[str, Any], says: str, server: str, folder: Path, said: Any
) -> None:
    trust = {"certificate-authority": str(folder / "good.pem")}
    assert says in said(kubeconfig(server, {"exec": {**PLUGIN, **plugin}}, trust))[1]


def test_a_token_file_that_is_not_there(server: str, folder: Path, said: Any) -> None:
    trust = {"certificate-authority": str(folder / "good.pem")}
    text = said(kubeconfig(server, {"tokenFile": "/none"}, trust))[1]
    assert "no credentials for https://127.0.0.1" in text
    assert "Token file /none not found" in text
