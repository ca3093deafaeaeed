"""A real registry (Debian's docker-registry) on loopback, and the server that signs its tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import yaml

from headrace.node.ports import free_port
from tests.targets.kubernetes.pins.fakes import Served

USER, PASSWORD = "reader", "correct horse"
HTPASSWD = f"{USER}:$2b$04$3DqfPxTLRyEb2vloU5Y9sOWT8WryXinOZedHa.bHiSJ.eh49lRwgq\n"
IDENTITY = "identity-token-of-reader"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
START_S = 30


def program() -> str:
    found = shutil.which("docker-registry")
    if not found:
        pytest.skip("docker-registry is not here (python scripts/cluster_tools.py fetches it)")
    return found


@contextmanager
def registry(folder: Path, auth: dict[str, Any] | None = None) -> Iterator[str]:
    """Serve the images below `folder`; its `host:port`."""
    executable, port = program(), free_port("127.0.0.1")
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "shared"},
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{port}.yaml"
    path.write_text(yaml.safe_dump({**config, **({"auth": auth} if auth else {})}))
    log = folder / f"{port}.log"
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [executable, "serve", str(path)], stdout=output, stderr=output, env=environment
        )
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            httpx2.get(url)
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the registry did not start: {log.read_text()}")


def push(host: str, repository: str, tag: str, content: str = "") -> str:
    """Push an image for two architectures; the digest of its index."""
    base = f"http://{host}/v2/{repository}"
    manifests = []
    for architecture in ("amd64", "arm64"):
        config = json.dumps({"architecture": architecture, "os": "linux", "x": content}).encode()
        entry = {"mediaType": CONFIG, "digest": digest(config), "size": len(config)}
        start = httpx2.post(f"{base}/blobs/uploads/")
        put = httpx2.put(f"{start.headers['location']}&digest={digest(config)}", content=config)
        put.raise_for_status()
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entry, "layers": []}
        data = _put_manifest(base, None, manifest, MANIFEST)
        platform = {"architecture": architecture, "os": "linux"}
        described = {"mediaType": MANIFEST, "digest": digest(data), "size": len(data)}
        manifests.append({**described, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return digest(_put_manifest(base, tag, index, INDEX))


def _put_manifest(base: str, tag: str | None, manifest: dict[str, Any], kind: str) -> bytes:
    data = json.dumps(manifest).encode()
    url = f"{base}/manifests/{tag or digest(data)}"
    httpx2.put(url, content=data, headers={"content-type": kind}).raise_for_status()
    return data


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class TokenServer(Served):
    """Signs tokens as Docker Hub's does: for `public/` to anybody, for the rest to `USER`.

    It is ours; the registry that believes its signatures is real.
    """

    def __init__(self, folder: Path) -> None:
        self._key, self._certificate = folder / "key.pem", folder / "certificate.pem"
        self.asked: list[str] = []
        files = ["-keyout", str(self._key), "-out", str(self._certificate)]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens"]
        subprocess.run([*made, *files], check=True, capture_output=True)
        super().__init__(_Tokens)

    @property
    def auth(self) -> dict[str, Any]:
        """The registry's side."""
        realm = f"{self.url}/token"
        certificate = str(self._certificate)
        parts = {"realm": realm, "service": "registry", "issuer": "tokens"}
        return {"token": {**parts, "rootcertbundle": certificate}}

    def token(self, scope: str, *, known: bool) -> str:
        kind, name, actions = scope.split(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        der = "".join(self._certificate.read_text().split("\n")[1:-2])
        now = int(time.time())
        times = {"iat": now - 60, "nbf": now - 60, "exp": now + 600}
        granted = access if known or name.startswith("public/") else []
        claims = {"iss": "tokens", "sub": "", "aud": "registry", "jti": str(now), "access": granted}
        claims |= times
        header = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        text = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        return f"{text}.{_url64(done.stdout)}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class _Tokens(BaseHTTPRequestHandler):
    owner: TokenServer

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        given = self.headers.get("authorization", "")
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.owner.asked.append("password" if given else "anonymous")
        if given and given != right:
            self.answer(401, {"details": "incorrect username or password"})
        else:
            self.answer(200, {"token": self.owner.token(asked["scope"][0], known=bool(given))})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        asked = parse_qs(self.rfile.read(length).decode())
        self.owner.asked.append("identity token")
        if asked["refresh_token"] != [IDENTITY]:
            self.answer(401, {})
        else:
            self.answer(200, {"access_token": self.owner.token(asked["scope"][0], known=True)})

    def answer(self, status: int, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        pass
