"""An API server in the place of a cluster: real HTTP, objects in memory, controllers that play.

It keeps objects, applies with field managers, lists by label, and streams watches. A thread plays
the controllers: Deployments get pods that come up (or do not, as `pods` says), Jobs end.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
READY = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"ready": True, "state": {"running": {}}}],
}
LOADING = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [{"ready": False, "state": {"running": {}}}],
}


def waiting(why: str, message: str = "", **last: Any) -> Object:
    status: Object = {"state": {"waiting": {"reason": why, "message": message}}}
    if last:
        status["lastState"] = {"terminated": last}
    return {"phase": "Pending", "containerStatuses": [status]}


@dataclass
class World:
    """What the cluster holds, and how it misbehaves."""

    objects: dict[str, Object] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=lambda: [LOADING, READY])
    """The states that every replica's pod goes through."""
    job: Object = field(default_factory=lambda: {"type": "Complete", "status": "True"})
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    """(method, a part of the path) -> (status, body) instead of the real answer."""
    slow: set[str] = field(default_factory=set)
    """Parts of paths that are never answered."""
    watches: list[str] = field(default_factory=list)
    """What becomes of the next watches: `gone` (410) or `cut` (the connection breaks)."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    pod_reads: int = 0
    """Pods go on only when somebody has looked: no state is missed, however slow the machine."""
    version: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    events: list[tuple[int, str, str, Object]] = field(default_factory=list)

    def put(self, path: str, found: Object, event: str = "MODIFIED") -> None:
        with self.changed:
            self.version += 1
            found["metadata"]["resourceVersion"] = str(self.version)
            event = "ADDED" if path not in self.objects else event
            self.objects[path] = found
            self.events.append((self.version, event, path, copy.deepcopy(found)))
            self.changed.notify_all()

    def remove(self, path: str) -> None:
        with self.changed:
            self.version += 1
            found = self.objects.pop(path)
            self.events.append((self.version, "DELETED", path, found))
            self.changed.notify_all()

    def named(self, kind: str) -> list[str]:
        return sorted(
            f"{o['kind']}/{o['metadata']['name']}"
            for o in list(self.objects.values())
            if o["kind"] == kind
        )


class Cluster:
    """The server and its controllers."""

    def __init__(self) -> None:
        self.world = World()
        handler = type("Bound", (_Handler,), {"world": self.world})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Cluster:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.server.shutdown()
        self.server.server_close()

    def _control(self) -> None:
        while not self._stop.wait(0.02):
            for path, found in list(self.world.objects.items()):
                if found["kind"] == "Deployment":
                    self._deployment(path, found)
                elif found["kind"] == "Job" and "conditions" not in found.get("status", {}):
                    self._job(path, found)
            self._end_orphans()

    def _deployment(self, path: str, found: Object) -> None:
        base = path.partition("/apis/apps/v1")[2].rpartition("/deployments/")[0]
        replicas = found["spec"].get("replicas", 1)
        serves = found["metadata"]["labels"]["app.kubernetes.io/component"] == "replica"
        for number in range(replicas if serves else 0):
            name = f"{found['metadata']['name']}-{number}"
            self._pod(f"/api/v1{base}/pods/{name}", name, found)
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        }
        if found.get("status") != status:
            self.world.put(path, {**found, "status": status})

    def _pod(self, path: str, name: str, owner: Object) -> None:
        there = self.world.objects.get(path)
        states = self.world.pods
        at = there["step"] + 1 if there else 0
        is_last = at == len(states) - 1
        unseen = there is not None and there["reads"] >= self.world.pod_reads
        if at >= len(states) or unseen or (is_last and self.world.watches):
            return
        labels = owner["spec"]["template"]["metadata"]["labels"]
        metadata = {"name": name, "labels": labels, "owner": owner["metadata"]["name"]}
        pod = {"kind": "Pod", "metadata": metadata, "step": at, "status": states[at]}
        pod["reads"] = self.world.pod_reads
        self.world.put(path, {**pod, "spec": {"nodeName": "node-a"}})

    def _job(self, path: str, found: Object) -> None:
        self.world.put(path, {**found, "status": {"conditions": [self.world.job]}})

    def _end_orphans(self) -> None:
        owners = {
            o["metadata"]["name"]
            for o in list(self.world.objects.values())
            if o["kind"] == "Deployment"
        }
        for path, found in list(self.world.objects.items()):
            if found["kind"] == "Pod" and found["metadata"]["owner"] not in owners:
                self.world.remove(path)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    world: World

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_PATCH(self) -> None:
        self._serve(self._patch)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def _serve(self, answer: Callable[[str, dict[str, str], Any], None]) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.world.requests.append((self.command, parts.path))
        self.world.pod_reads += int(parts.path.endswith("/pods"))
        if any(part in parts.path for part in self.world.slow):
            time.sleep(3)
        for (method, part), (status, said) in self.world.answers.items():
            if method == self.command and part in parts.path:
                self._send(status, said)
                return
        try:
            answer(parts.path, query, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _get(self, path: str, query: dict[str, str], _: Any) -> None:
        if "watch" in query:
            self._watch(path, query)
        elif path in self.world.objects:
            self._send(200, self.world.objects[path])
        elif path.rpartition("/")[2] in _PLURALS:
            items = [
                o
                for at, o in list(self.world.objects.items())
                if at.startswith(f"{path}/") and _matches(o, query.get("labelSelector", ""))
            ]
            listed = {"metadata": {"resourceVersion": str(self.world.version)}, "items": items}
            self._send(200, listed)
        else:
            self._refuse(404, "NotFound", f"{path} not found")

    def _patch(self, path: str, query: dict[str, str], body: Object) -> None:
        there = self.world.objects.get(path)
        manager = query["fieldManager"]
        managers = {
            e["manager"] for e in (there or {}).get("metadata", {}).get("managedFields", [])
        }
        if there and managers - {manager} and "force" not in query:
            other = min(managers - {manager})
            message = f'Apply failed with 1 conflict: conflict with "{other}": .spec.replicas'
            self._refuse(409, "Conflict", message)
            return
        if there and there["kind"] == "Job" and there["spec"] != body["spec"]:
            self._refuse(422, "Invalid", "spec.template: field is immutable")
            return
        kept = {} if there is None else {"status": there.get("status", {})}
        made = {**copy.deepcopy(body), **kept}
        changed = there is None or there["spec_seen"] != body.get("spec")
        generation = 1 if there is None else there["metadata"]["generation"] + int(changed)
        made["metadata"] |= {"generation": generation, "managedFields": [{"manager": manager}]}
        made["spec_seen"] = body.get("spec")
        self.world.put(path, made)
        self._send(200, made)

    def _delete(self, path: str, query: dict[str, str], _: Any) -> None:
        if path not in self.world.objects:
            self._refuse(404, "NotFound", f"{path} not found")
            return
        self.world.remove(path)
        self._send(200, {"kind": "Status", "status": "Success"})

    def _watch(self, path: str, query: dict[str, str]) -> None:
        fate = self.world.watches.pop(0) if self.world.watches else ""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if fate == "gone":
            gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            self._chunk({"type": "ERROR", "object": gone})
        elif fate == "cut":
            self.close_connection = True
            return
        else:
            self._stream(path, query)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _stream(self, path: str, query: dict[str, str]) -> None:
        seen, deadline = int(query["resourceVersion"]), time.monotonic() + 0.5
        while time.monotonic() < deadline:
            with self.world.changed:
                self.world.changed.wait(0.05)
                news = [event for event in self.world.events if event[0] > seen]
            for version, kind, at, found in news:
                seen = version
                if at.startswith(f"{path}/") and _matches(found, query["labelSelector"]):
                    self._chunk({"type": kind, "object": found})

    def _chunk(self, event: Object) -> None:
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _refuse(self, code: int, reason: str, message: str) -> None:
        self._send(code, {"kind": "Status", "code": code, "reason": reason, "message": message})

    def _send(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *words: Any) -> None:
        pass


def _matches(found: Object, selector: str) -> bool:
    labels = found["metadata"].get("labels") or {}
    pairs = [pair.split("=", 1) for pair in selector.split(",") if pair]
    return all(labels.get(key) == value for key, value in pairs)


_PLURALS = frozenset(
    [
        *("namespaces", "serviceaccounts", "persistentvolumeclaims", "configmaps", "services"),
        *("jobs", "pods", "deployments", "poddisruptionbudgets", "podmonitors", "roles"),
        *("prometheusrules", "rolebindings", "networkpolicies", "storageclasses", "gateways"),
        *("httproutes", "horizontalpodautoscalers", "scaledobjects"),
    ]
)
