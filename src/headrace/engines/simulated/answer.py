"""Answers to generation requests, from the first token to the last.

An answer is told after every step how many tokens its sequence has. Streams write one chunk for
all that is new; a reader that is too slow blocks only its own stream, whose tokens gather until
the transport takes more, and then leave in one chunk.
"""

from __future__ import annotations

import uuid
from typing import Any, Protocol

import orjson

from headrace.engines.simulated import http
from headrace.engines.simulated.generation import Generation, Served
from headrace.engines.simulated.text import CHARACTERS, SLACK_TOKENS

SIZE_LINES = [b"%x\r\n" % size for size in range(4096)]


class Writer(Protocol):
    """The connection, as an answer sees it."""

    def write(self, data: bytes) -> None:
        """Send bytes of a stream."""

    def end_stream(self) -> None:
        """All is written: the connection may go on to its next request."""

    def respond(self, document: dict[str, Any]) -> None:
        """Send a whole answer, and go on."""


class Answer:
    """What all answers have. Times are of the event loop's clock, not positive until known."""

    __slots__ = (
        "arrived_s",
        "blocked",
        "connection",
        "first_s",
        "generation",
        "last_s",
        "scheduled_s",
        "served",
        "stamp",
    )

    def __init__(
        self, connection: Writer, generation: Generation, served: Served, created: int
    ) -> None:
        self.connection = connection
        self.generation = generation
        self.served = served
        self.blocked = False
        self.arrived_s = self.scheduled_s = self.first_s = 0.0
        self.last_s = -1.0
        chatting = generation.kind == "chat"
        prefix = "chatcmpl" if chatting else "cmpl"
        self.stamp: dict[str, Any] = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": "chat.completion" if chatting else "text_completion",
            "created": created,
            "model": served.model,
        }

    def advance(self, generated: int, finished: bool) -> None:
        """The sequence has so many tokens now."""
        raise NotImplementedError

    def unblock(self) -> None:
        """The reader has caught up."""
        self.blocked = False

    def usage(self, generated: int) -> dict[str, int]:
        """The usage block."""
        prompt = self.generation.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + generated,
            "completion_tokens": generated,
        }


class WholeAnswer(Answer):
    """One JSON document at the end."""

    __slots__ = ()

    def advance(self, generated: int, finished: bool) -> None:
        """Nothing is sent before the end."""
        if finished:
            choice = self._choice(generated)
            document = self.stamp | {"choices": [choice], "usage": self.usage(generated)}
            self.connection.respond(document)

    def _choice(self, generated: int) -> dict[str, Any]:
        tokenizer, wants_ids = self.served.tokenizer, self.generation.return_token_ids
        text = tokenizer.long_output(0, generated)
        end = {"logprobs": None, "finish_reason": "length", "stop_reason": None}
        ids = {"token_ids": tokenizer.output_ids(0, generated) if wants_ids else None}
        if self.generation.kind == "chat":
            return {"index": 0, "message": {"role": "assistant", "content": text}} | end | ids
        prompt_ids = self.generation.prompt_ids if wants_ids else None
        return {"index": 0, "text": text} | end | ids | {"prompt_token_ids": prompt_ids}


class StreamAnswer(Answer):
    """Server-sent events from a template: everything but the text is built once."""

    __slots__ = ("_base", "_interval", "_prefix", "_sent", "_tail", "_total", "_write")

    def __init__(
        self,
        connection: Writer,
        generation: Generation,
        served: Served,
        created: int,
        interval: int,
    ) -> None:
        super().__init__(connection, generation, served, created)
        self._write = connection.write
        self._interval = interval
        self._sent = 0
        self._total: int | None = None
        if generation.kind == "chat":
            self.stamp["object"] = "chat.completion.chunk"
        before, after = self._template()
        self._prefix = b"data: " + before
        self._tail = after + b"\n\n\r\n"
        self._base = len(self._prefix) + len(self._tail) - len(b"\r\n")

    def open(self, keep_alive: bool) -> None:
        """The head goes out before any token, as from vLLM; a chat begins with its role."""
        self._write(http.stream_head(keep_alive))

    def advance(self, generated: int, finished: bool) -> None:
        """Send what is new: the first token at once, then every `interval` tokens, and the end."""
        if finished:
            self._total = generated
            if not self.blocked:
                self._end(generated)
            return
        sent = self._sent
        if self.blocked or (sent and generated - sent < self._interval):
            return
        self._sent = generated
        self._write(self._chunk(sent, generated) if sent else self._first(generated))

    def unblock(self) -> None:
        """Go on; what gathered while the reader was slow goes out with the next token."""
        self.blocked = False
        if self._total is not None:
            self._end(self._total)

    def _first(self, generated: int) -> bytes:
        chunk = self._chunk(0, generated)
        return self._role() + chunk if self.generation.kind == "chat" else chunk

    def _chunk(self, start: int, end: int) -> bytes:
        """The hot path: about half a microsecond."""
        count = end - start
        if count > SLACK_TOKENS:
            return http.event(self._document(start, end, None))
        size = SIZE_LINES[self._base + count * CHARACTERS]
        text = self.served.tokenizer.output(start, end)
        return b"".join((size, self._prefix, text, self._tail))

    def _end(self, generated: int) -> None:
        parts = [] if self._sent or self.generation.kind != "chat" else [self._role()]
        parts.append(http.event(self._document(self._sent, generated, "length")))
        if self.generation.include_usage:
            parts.append(http.event(self.stamp | {"choices": [], "usage": self.usage(generated)}))
        parts += [http.DONE, http.LAST_CHUNK]
        self._write(b"".join(parts))
        self.connection.end_stream()

    def _role(self) -> bytes:
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        details = self._details(0, 0)
        choice |= details.pop("choice", {})
        return http.event(self.stamp | {"choices": [choice]} | details)

    def _document(self, start: int, end: int, reason: str | None) -> dict[str, Any]:
        """A chunk's JSON, in vLLM's shape."""
        text = self.served.tokenizer.long_output(start, end)
        choice: dict[str, Any] = {"index": 0}
        choice |= {"delta": {"content": text}} if self.generation.kind == "chat" else {"text": text}
        choice |= {"logprobs": None, "finish_reason": reason, "stop_reason": None}
        details = self._details(start, end)
        choice |= details.pop("choice", {})
        return self.stamp | {"choices": [choice]} | details

    def _details(self, start: int, end: int) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def _template(self) -> tuple[bytes, bytes]:
        """The JSON of a chunk before and after its text."""
        marker = b'"text":"' if self.generation.kind == "completion" else b'"content":"'
        before, _, after = orjson.dumps(self._document(0, 0, None)).partition(marker)
        return before + marker, after


class DetailedStreamAnswer(StreamAnswer):
    """A stream whose chunks also hold usage or token ids; each is built for itself."""

    __slots__ = ()

    def _chunk(self, start: int, end: int) -> bytes:
        return http.event(self._document(start, end, None))

    def _details(self, start: int, end: int) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.generation.continuous_usage:
            details["usage"] = self.usage(end)
        if self.generation.return_token_ids:
            ids = {"token_ids": self.served.tokenizer.output_ids(start, end)}
            first = end == 0 if self.generation.kind == "chat" else start == 0
            prompt = {"prompt_token_ids": self.generation.prompt_ids} if first else {}
            details["choice"] = ids | prompt
        return details
