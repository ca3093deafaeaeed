"""etcd and apiextensions-apiserver as processes, and the few requests that the tests need."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from headrace.node.ports import free_port

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "crd_server.py"
CRDS = Path(os.environ.get("HEADRACE_CRDS", Path.home() / ".cache" / "headrace" / "crds"))
"""The projects' CRDs, a file each, as their releases publish them."""
DEADLINE_S = 120


def programs() -> Path | None:
    """The folder of the built programs; None when `scripts/crd_server.py` was not run."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--print-path"], capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def upstream() -> list[dict[str, Any]]:
    """The CRDs, without conversion webhooks, which nobody serves here."""
    found = [
        document
        for file in sorted(CRDS.glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        if document and document.get("kind") == "CustomResourceDefinition"
    ]
    for crd in found:
        crd["spec"].pop("conversion", None)
        annotations = crd["metadata"].setdefault("annotations", {})
        annotations["api-approved.kubernetes.io"] = "unapproved, a test"
    return found


class Server:
    """The API over HTTPS with an administrator's certificate."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.load_cert_chain(folder / "admin.crt", folder / "admin.key")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else {"message": text}

    def install(self, crds: list[dict[str, Any]]) -> None:
        for crd in crds:
            code, said = self.call(
                "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd
            )
            assert code == 201, said
        for crd in crds:
            self._wait_established(crd["metadata"]["name"])

    def dry_run(self, value: dict[str, Any], plural: str) -> tuple[int, str]:
        """What the server says of a new object, strictly; nothing is kept."""
        path = f"/apis/{value['apiVersion']}/namespaces/{value['metadata']['namespace']}/{plural}"
        code, said = self.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", value)
        return code, str(said.get("message", ""))

    def _wait_established(self, name: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        while time.monotonic() < deadline:
            _, crd = self.call("GET", path)
            conditions = crd.get("status", {}).get("conditions") or []
            states = {one["type"]: one["status"] for one in conditions}
            if states.get("Established") == "True":
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} was not established")


@contextmanager
def running(folder: Path, tools: Path) -> Iterator[Server]:
    """Both processes, ended at the end."""
    _certificates(folder)
    taken: set[int] = set()
    ports = []
    for _ in range(3):
        ports.append(free_port("127.0.0.1", taken))
        taken.add(ports[-1])
    url = f"https://127.0.0.1:{ports[2]}"
    _kubeconfig(folder, url)
    processes = [_etcd(folder, tools, ports[0], ports[1])]
    try:
        processes.append(_api_server(folder, tools, ports[0], ports[2]))
        server = Server(url, folder)
        _wait_until_it_answers(server, processes, folder)
        yield server
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
    subject = "/O=system:masters/CN=admin"
    openssl("req", *key, "-keyout", "admin.key", "-out", "admin.csr", "-subj", subject)
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "admin.crt")
    openssl("x509", "-req", "-in", "admin.csr", *signed)


def _kubeconfig(folder: Path, url: str) -> None:
    """Pointing at the server itself: there is no other to ask."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "self",
        "contexts": [{"name": "self", "context": {"cluster": "self", "user": "admin"}}],
        "clusters": [
            {"name": "self", "cluster": {"server": url, "insecure-skip-tls-verify": True}}
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate": str(folder / "admin.crt"),
                    "client-key": str(folder / "admin.key"),
                },
            }
        ],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))


def _etcd(folder: Path, tools: Path, port: int, peer: int) -> subprocess.Popen[bytes]:
    client, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    return _start(
        [
            str(tools / "etcd"),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        ],
        folder / "etcd.log",
    )


def _api_server(folder: Path, tools: Path, etcd: int, port: int) -> subprocess.Popen[bytes]:
    admission = "NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook"
    kubeconfig = folder / "kubeconfig"
    return _start(
        [
            str(tools / "apiextensions-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'serving'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            "--authentication-skip-lookup",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--kubeconfig={kubeconfig}",
            (
                f"--disable-admission-plugins={admission},ValidatingAdmissionPolicy,"
                "MutatingAdmissionPolicy"
            ),
            "--enable-priority-and-fairness=false",
        ],
        folder / "api.log",
    )


def _start(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _wait_until_it_answers(
    server: Server, processes: list[subprocess.Popen[bytes]], folder: Path
) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for process in processes:
            assert process.poll() is None, _tail(folder)
        try:
            if server.call("GET", "/apis/apiextensions.k8s.io/v1")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(_tail(folder))


def _tail(folder: Path) -> str:
    return "\n".join((folder / name).read_text()[-2000:] for name in ("etcd.log", "api.log"))
