"""The routes of one replica: what vLLM's OpenAI-compatible server answers, simulated."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson

from headrace.engines.simulated import generation as parse
from headrace.engines.simulated.answer import (
    Answer,
    DetailedStreamAnswer,
    StreamAnswer,
    WholeAnswer,
)
from headrace.engines.simulated.exposition import CONTENT_TYPE, metrics_page
from headrace.engines.simulated.faults import ApiError, plain
from headrace.engines.simulated.generation import Generation, Served
from headrace.engines.simulated.http import Request
from headrace.engines.simulated.protocol import Connection
from headrace.engines.simulated.replica import Replica
from headrace.scheduler.sequence import Sequence

Route = Callable[[Connection, Request], None]


class ReplicaService:
    """Answers the requests of one replica's port."""

    def __init__(self, replica: Replica, served: Served, api_key: str | None) -> None:
        self.replica = replica
        self.served = served
        self.connections: set[Connection] = set()
        self.draining = False
        self._key = api_key.encode() if api_key else None
        self._sequences: dict[Connection, Sequence] = {}
        get = {
            "/health": self._health,
            "/ping": self._health,
            "/version": self._version,
            "/load": self._load,
            "/metrics": self._metrics,
            "/v1/models": self._models,
        }
        self._routes: dict[str, dict[str, Route]] = {
            path: {"GET": route, "HEAD": route} for path, route in get.items()
        }
        self._routes["/ping"]["POST"] = self._health
        self._routes["/tokenize"] = {"POST": self._tokenize}
        self._routes["/detokenize"] = {"POST": self._detokenize}
        self._routes["/v1/completions"] = {"POST": self._completion}
        self._routes["/v1/chat/completions"] = {"POST": self._chat}

    def opened(self, connection: Connection) -> None:
        """A client has connected."""
        self.connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Abort what was being generated for a client that has gone."""
        self.connections.discard(connection)
        sequence = self._sequences.pop(connection, None)
        if sequence is not None:
            self.replica.abort(sequence)

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer, or begin to."""
        self._sequences.pop(connection, None)
        try:
            self._authorize(request)
            self._route(request)(connection, request)
        except ApiError as error:
            connection.respond(error.body(), error.status)
        except _UnauthorizedError:
            connection.respond({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)

    def _authorize(self, request: Request) -> None:
        """vLLM guards /v1 only, so that health checks and scrapes need no key."""
        if self._key is None or not request.path.startswith("/v1"):
            return
        scheme, _, key = request.authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.encode(), self._key):
            raise _UnauthorizedError

    def _route(self, request: Request) -> Route:
        methods = self._routes.get(request.path)
        if methods is None:
            raise plain(HTTPStatus.NOT_FOUND)
        if request.method not in methods:
            raise plain(HTTPStatus.METHOD_NOT_ALLOWED)
        return methods[request.method]

    def _completion(self, connection: Connection, request: Request) -> None:
        self._generate(connection, request, parse.completion(_object(request), self.served))

    def _chat(self, connection: Connection, request: Request) -> None:
        self._generate(connection, request, parse.chat(_object(request), self.served))

    def _generate(self, connection: Connection, request: Request, wanted: Generation) -> None:
        if self.draining:
            raise plain(HTTPStatus.SERVICE_UNAVAILABLE, "the simulated engine is shutting down")
        reason = self.replica.rejection(wanted.prompt_tokens, wanted.output_tokens)
        if reason is not None:
            raise ApiError(reason)
        if wanted.stream and request.version == "1.0":
            raise plain(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "streams need HTTP/1.1")
        answer = self._answer(connection, wanted)
        if isinstance(answer, StreamAnswer):
            answer.open(connection.keeps_alive)
        answer.blocked = connection.is_blocked
        connection.generating = answer
        self._sequences[connection] = self.replica.submit(answer)

    def _answer(self, connection: Connection, wanted: Generation) -> Answer:
        created = int(time.time())
        if not wanted.stream:
            return WholeAnswer(connection, wanted, self.served, created)
        kind = DetailedStreamAnswer if wanted.is_detailed else StreamAnswer
        interval = self.replica.model.scheduler.stream_interval
        return kind(connection, wanted, self.served, created, interval)

    def _health(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        connection.respond(b"")

    def _version(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        connection.respond({"version": "simulated"})

    def _load(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        scheduler = self.replica.scheduler
        connection.respond({"server_load": scheduler.running + scheduler.waiting})

    def _metrics(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        page = metrics_page(self.replica, self.served.model)
        connection.respond(page, content_type=CONTENT_TYPE)

    def _models(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        card = {
            "id": self.served.model,
            "object": "model",
            "created": self.served.created,
            "owned_by": "headrace-simulated",
            "root": self.served.model,
            "parent": None,
            "max_model_len": self.served.max_model_len,
            "permission": [],
        }
        connection.respond({"object": "list", "data": [card]})

    def _tokenize(self, connection: Connection, request: Request) -> None:
        body = _object(request)
        parse.check_model(body, self.served)
        text = body.get("prompt")
        if "messages" in body:
            text = parse.chat_text(body["messages"])
        if not isinstance(text, str):
            raise ApiError("Field required: 'prompt', a text", param="prompt")
        tokens = self.served.tokenizer.encode(text)
        answer: dict[str, Any] = {"count": len(tokens), "max_model_len": self.served.max_model_len}
        connection.respond(answer | {"tokens": tokens, "token_strs": None})

    def _detokenize(self, connection: Connection, request: Request) -> None:
        body = _object(request)
        parse.check_model(body, self.served)
        tokens = body.get("tokens")
        if not isinstance(tokens, list):
            raise ApiError("Field required: 'tokens', a list of token ids", param="tokens")
        tokenizer = self.served.tokenizer
        ids = parse.token_ids(tokens, tokenizer.vocab_size, "tokens") if tokens else []
        connection.respond({"prompt": tokenizer.decode(ids)})


class _UnauthorizedError(Exception):
    """The API key is missing or wrong."""


def _object(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError("The request body must be a JSON object")
    return body
