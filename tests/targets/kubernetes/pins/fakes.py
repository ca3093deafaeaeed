"""Fakes of what cannot be reached from a test: the model hub, and registries that misbehave."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Served:
    """A server of this machine whose `handler` knows it as `owner`, for a with block."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        owned = type("Handler", (handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), owned)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Fake(Served):
    """An HTTP server that gives one answer to everything, and remembers what was asked."""

    def __init__(self, status: int, headers: dict[str, str], body: object, wait_s: float) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status, self.headers, self.wait_s = status, headers, wait_s
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        super().__init__(_Handler)


def fake(status: int = 200, body: object = b"", *, wait_s: float = 0, **headers: str) -> Fake:
    """Header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fake(status, named, body, wait_s)


def hub(commit: str = COMMIT) -> Fake:
    """A model's facts as https://huggingface.co/docs/hub/api describes them."""
    facts = {"_id": "6", "id": "org/model", "modelId": "org/model", "sha": commit, "siblings": []}
    return fake(200, facts, content_type="application/json")


class _Handler(BaseHTTPRequestHandler):
    owner: Fake

    def do_GET(self) -> None:
        owner = self.owner
        asked = {name.lower(): value for name, value in self.headers.items()}
        owner.asked.append((f"{self.command} {self.path}", asked))
        time.sleep(owner.wait_s)
        self.send_response(owner.status)
        for name, value in {"content-length": str(len(owner.body)), **owner.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(owner.body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *words: Any) -> None:
        pass
