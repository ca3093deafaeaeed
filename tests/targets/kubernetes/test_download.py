"""The download Job's program against an HTTP server in the place of the hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headrace.targets.kubernetes.storage import SCRIPT

pytestmark = pytest.mark.integration

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"model_type": "tiny"}', "model.safetensors": b"w" * 100_000}


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of the hub for one small model."""

    protocol_version = "HTTP/1.1"
    served: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/org/tiny/tree"):
            self._send(json.dumps(self._tree()).encode(), {}, body=body)
        elif path.startswith("/api/models/org/tiny"):
            self._send(json.dumps(self._info()).encode(), {}, body=body)
        elif "/resolve/" in path and name in self.served:
            data = self.served[name]
            digest = hashlib.sha256(FILES[name]).hexdigest()
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            self._send(data, headers, body=body)
        else:
            self.send_error(404)

    def _info(self) -> dict[str, Any]:
        siblings = []
        for name, data in FILES.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return {"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "siblings": siblings}

    def _tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
            for name, data in FILES.items()
        ]

    def _send(self, data: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(200)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.served, Hub.asked = dict(FILES), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def download(hub: str, target: Path, revision: str = COMMIT) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(target.parent),
        "MODEL": "org/tiny",
        "REVISION": revision,
        "TARGET": str(target),
        "HF_ENDPOINT": hub,
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT)], env=env, capture_output=True, text=True, check=False
    )


def test_it_downloads_once(hub: str, tmp_path: Path) -> None:
    target = tmp_path / "models" / "tiny"
    target.mkdir(parents=True)
    done = download(hub, target)
    assert done.returncode == 0, done.stderr
    assert {name: (target / name).read_bytes() for name in FILES} == FILES

    Hub.asked.clear()
    again = download(hub, target)
    assert again.returncode == 0
    assert "whole already" in again.stdout
    assert Hub.asked == []


def test_a_file_that_differs_from_the_hub_is_removed_and_fails(hub: str, tmp_path: Path) -> None:
    target = tmp_path / "tiny"
    target.mkdir()
    Hub.served["model.safetensors"] = b"x" * 100_000
    done = download(hub, target)
    assert done.returncode == 1
    assert "model.safetensors" in done.stderr
    assert not (target / "model.safetensors").exists()
    assert not (target / ".headrace-complete.json").exists()

    Hub.served = dict(FILES)
    assert download(hub, target).returncode == 0
    assert (target / "model.safetensors").read_bytes() == FILES["model.safetensors"]
