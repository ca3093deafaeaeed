"""The cluster's API in a few verbs; every failure ends in one sentence with what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import HeadraceError
from headrace.targets.kubernetes.live.kinds import Kind, kind_of
from headrace.targets.kubernetes.objects import MANAGER, Object

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 30.0
WATCH_S = 30
"""How long one watch request lasts; a quiet one is renewed."""
INSTALL = "pip install 'headrace[kubernetes]'"


class ApiError(HeadraceError):
    """The API refused a request. `status` is HTTP's, `reason` Kubernetes' own word."""

    def __init__(self, message: str, status: int, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class Api:
    """A connection to one cluster. As a context manager it is closed at the end."""

    def __init__(self, client: httpx2.Client, server: str, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object; None when there is none of that name."""
        try:
            return self._call("GET", kind.path(namespace, name), f"read {kind.name}/{name}")
        except ApiError as failure:
            if failure.status == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str, selector: str) -> tuple[list[Object], str]:
        """The objects with these labels, and the version from which to watch them.

        A kind that the cluster does not know has no objects.
        """
        parameters = {"labelSelector": selector}
        path = kind.path(namespace)
        try:
            found = self._call("GET", path, f"list {kind.plural}", params=parameters)
        except ApiError as failure:
            if failure.status == 404:
                return [], ""
            raise
        return found.get("items") or [], str(found.get("metadata", {}).get("resourceVersion", ""))

    def apply(self, found: Object, *, force: bool = False) -> Object:
        """Server-side apply, strict about unknown fields.

        Raises ApiError; status 409 when a field belongs to somebody else and `force` is not set.
        """
        kind, metadata = kind_of(found), found["metadata"]
        parameters = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        if force:
            parameters["force"] = "true"
        return self._call(
            "PATCH",
            kind.path(metadata.get("namespace", ""), metadata["name"]),
            f"apply {kind.name}/{metadata['name']}",
            params=parameters,
            content=json.dumps(found),
            headers={"content-type": "application/apply-patch+yaml"},
        )

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Remove an object and what belongs to it; nothing happens when it is gone already."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self._call(
                "DELETE",
                kind.path(namespace, name),
                f"delete {kind.name}/{name}",
                content=json.dumps(body),
                headers={"content-type": "application/json"},
            )
        except ApiError as failure:
            if failure.status != 404:
                raise

    def watch(
        self, kind: Kind, namespace: str, selector: str, version: str
    ) -> Iterator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED, object) as they happen, for half a minute at most.

        Raises ApiError with status 410 when the version is too old: list again.
        """
        parameters = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        doing = f"watch {kind.plural}"
        with (
            self._explained(doing),
            self._client.stream(
                "GET",
                kind.path(namespace),
                params=parameters,
                timeout=self._timeout_s + WATCH_S,
            ) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
                raise _failure(doing, answer)
            for line in answer.iter_lines():
                if line.strip():
                    yield _event(doing, line)

    def _call(self, method: str, path: str, doing: str, **options: Any) -> Object:
        with self._explained(doing):
            answer = self._client.request(method, path, **options)
        if answer.status_code >= 400:
            raise _failure(doing, answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise HeadraceError(
                f"cannot {doing}: {self.server} does not answer as a Kubernetes API does",
                hint="check the context's server, and proxies between here and it",
            )
        return found

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Failures below HTTP, in words."""
        import httpx2

        try:
            yield
        except httpx2.TimeoutException:
            raise HeadraceError(
                f"cannot {doing}: {self.server} did not answer within {self._timeout_s:g} s",
                hint="check that the cluster is up and reachable: kubectl get --raw /readyz",
            ) from None
        except httpx2.TransportError as error:
            raise HeadraceError(
                f"cannot {doing}: no connection to {self.server}: {error}",
                hint=_transport_hint(str(error)),
            ) from None


def _transport_hint(said: str) -> str:
    """What to do about a connection that TLS refused, or that could not be made."""
    said = said.lower().replace("_", " ")
    if "certificate expired" in said:
        return "the client certificate has expired: log in again, or fetch a new kubeconfig"
    if "certificate required" in said:
        return "the context's user has no client certificate: the cluster wants one"
    if "certificate verify failed" in said:
        return "the server is not who the context's certificate-authority vouches for"
    return "check the context's server, the network and the certificates"


def _event(doing: str, line: str) -> tuple[str, Object]:
    event = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise ApiError(
            f"cannot {doing}: {status.get('message')}",
            int(status.get("code", 500)),
            str(status.get("reason", "")),
        )
    return str(event["type"]), event["object"]


def _failure(doing: str, answer: httpx2.Response) -> ApiError:
    """What the API said, and what to do about it."""
    try:
        said = answer.json()
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    status, reason = answer.status_code, str(said.get("reason", ""))
    message = str(said.get("message") or answer.reason_phrase)
    return ApiError(f"cannot {doing}: {message} ({status})", status, reason, _HINTS.get(status))


_HINTS = {
    401: "the credentials are refused: log in again (gcloud, aws, ...)",
    403: "ask for the right, or use another context: kubectl auth can-i --list",
    404: "the cluster lacks this kind or namespace: see the README that render writes",
    409: "another manager owns these fields: take its change back, or pass --force to take over",
    410: "the watch is too old: try again",
    422: "the cluster refuses the object: headrace check says more",
    429: "the API is overloaded: try again later",
    500: "the API failed: see its own logs",
    503: "the API is not available: try again later",
}
