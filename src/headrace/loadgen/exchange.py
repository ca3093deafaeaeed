"""One request and the events that answer it: what they say, and when they came."""

from __future__ import annotations

from array import array
from time import perf_counter
from typing import Any

import msgspec
import orjson

from headrace.loadgen.failure import End
from headrace.loadgen.schedule import Phase
from headrace.loadgen.source import Ask

MAX_TOKEN = 2**32 - 1
EXAMPLE_BYTES = 600
NO_CHUNK = (orjson.JSONDecodeError, LookupError, TypeError, AttributeError)
"""What an event that is no completion chunk raises while it is read."""


class Some(msgspec.Struct, gc=False):
    """An object; nothing in it matters."""


class Text(msgspec.Struct, gc=False):
    """A choice of a completion chunk."""

    text: str | None = None


class TextChunk(msgspec.Struct, gc=False):
    """A completion chunk, as far as the usual ones say anything."""

    choices: list[Text]
    usage: Some | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chat chunk adds."""

    content: str | None = None


class Chat(msgspec.Struct, gc=False):
    """A choice of a chat chunk."""

    delta: Delta


class ChatChunk(msgspec.Struct, gc=False):
    """A chat chunk, as far as the usual ones say anything."""

    choices: list[Chat]
    usage: Some | None = None


read_text = msgspec.json.Decoder(TextChunk).decode
read_chat = msgspec.json.Decoder(ChatChunk).decode
NOT_USUAL = (msgspec.MsgspecError, UnicodeDecodeError)
"""What these raise for a chunk that has to be looked at in full."""


class Request:
    """One request from its schedule to its end. Times are on the perf_counter clock, in seconds."""

    __slots__ = ("ask", "lane", "phase", "retried", "scheduled_s", "url")

    def __init__(self, phase: Phase, ask: Ask, url: int, scheduled_s: float, lane: Any) -> None:
        self.phase = phase
        self.ask = ask
        self.url = url
        self.scheduled_s = scheduled_s
        self.lane = lane
        self.retried = False


class Usage:
    """The usage block in numbers. Raises TypeError or ValueError when it is none."""

    __slots__ = ("cached_tokens", "input_tokens", "output_tokens")

    def __init__(self, block: Any) -> None:
        if not isinstance(block, dict):
            raise TypeError
        self.input_tokens = _count(block.get("prompt_tokens"))
        self.output_tokens = _count(block.get("completion_tokens"))
        details = block.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        self.cached_tokens = 0 if cached is None else _count(cached)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_TOKEN:
        raise ValueError
    return value


class Exchange:
    """The figures of the response under way, and the meaning of its events."""

    __slots__ = (
        *("chat", "content_s", "done_s", "end", "example", "exact", "first_s", "gaps", "heard_s"),
        *("last_s", "plain", "reasoning_chunks", "request", "sent_s", "text", "tool_chunks"),
        *("usage",),
    )

    def __init__(self, *, chat: bool, exact: bool) -> None:
        self.chat = chat
        self.exact = exact
        self.request: Request | None = None
        self.begin(None)

    def begin(self, request: Request | None) -> None:
        """Forget the last response; the next one answers `request`."""
        self.request = request
        self.sent_s = self.first_s = self.content_s = self.last_s = self.done_s = self.heard_s = 0.0
        self.gaps = array("f")
        self.usage: Any = None
        self.end: End | None = None
        self.example = b""
        self.reasoning_chunks = self.tool_chunks = 0
        self.text: list[str] | None = [] if request is not None and request.ask.keeps_text else None
        self.plain = False
        """A further chunk with choices, in chats with content, is one more token, nothing else."""

    # --- what the connection adds

    def fail(self, end: End) -> None:
        """End the request in flight, if any, and drop the connection."""
        raise NotImplementedError

    def began(self) -> None:
        """The first token came."""
        raise NotImplementedError

    def told(self, end: End) -> None:
        """The request ended: tell the owner."""
        raise NotImplementedError

    # --- events

    def event(self, payload: bytes, now: float) -> None:
        """One event of the stream: a piece of the completion, its usage, or its end."""
        if payload == b"[DONE]":
            self._done(now)
            return
        try:
            self.take(orjson.loads(payload), now)
        except NO_CHUNK:
            self.strange(payload)

    def usual(self, payload: bytes, now: float) -> None:
        """An event that most likely brings one more token: `event`, in less than half the time."""
        if self.plain and self.brings_token(payload):
            self.gaps.append(now - self.last_s)
            self.last_s = now
        else:
            self.event(payload, now)

    def brings_token(self, payload: bytes) -> bool:
        """Whether the event of a plain stream is a chunk with one more token, and no usage.

        What it is otherwise, `event` says.
        """
        try:
            if not payload.isascii():
                payload.decode()  # the decoder does not look at text that it skips
            if self.chat:
                chat = read_chat(payload)
                return chat.usage is None and bool(chat.choices and chat.choices[0].delta.content)
            text = read_text(payload)
            return text.usage is None and bool(text.choices)
        except NOT_USUAL:
            return False

    def take(self, event: Any, now: float) -> None:
        """A parsed event. Raises LookupError, TypeError or AttributeError when it is no chunk."""
        choices = event["choices"]
        if choices and (not self.chat or self._is_token(choices[0], now)):
            self._token(choices[0], now)
        usage = event.get("usage")
        if usage is not None:
            self.usage = usage

    def _token(self, choice: Any, now: float) -> None:
        if self.first_s:
            self.gaps.append(now - self.last_s)
        else:
            self.first_s = now
            self.began()
        self.plain = self.text is None and (not self.chat or self.content_s > 0.0)
        self.last_s = now
        if self.text is not None:
            self.text.append(_text(choice))

    def _is_token(self, choice: Any, now: float) -> bool:
        """Whether a chat chunk brings a token, counted by its kind.

        The role alone opens a stream, and an empty delta with a finish reason may close it.
        """
        delta = choice["delta"]
        if delta.get("content"):
            if not self.content_s:
                self.content_s = now
            return True
        if delta.get("reasoning_content") or delta.get("reasoning"):
            self.reasoning_chunks += 1
            return True
        if delta.get("tool_calls") or delta.get("function_call"):
            self.tool_chunks += 1
            return True
        return "role" not in delta and choice.get("finish_reason") is None

    def strange(self, payload: bytes) -> None:
        """An event that is no completion chunk: an error that the server reports, or garbage."""
        self.example = payload[:EXAMPLE_BYTES]
        self.fail(End.STREAM_ERROR if payload.startswith(b'{"error"') else End.BAD_JSON)

    def _done(self, now: float) -> None:
        request = self.request
        if request is None:
            return
        self.done_s = now
        try:
            self.usage = Usage(self.usage)
        except (TypeError, ValueError):
            self.fail(End.NO_USAGE)
            return
        brought, asked = self.usage.output_tokens, request.ask.output_tokens
        if not self.first_s:
            self.fail(End.EMPTY_STREAM)
        elif brought > asked or (self.exact and brought != asked):
            self.fail(End.TOKEN_MISMATCH)
        else:
            self.finish(End.OK)

    def finish(self, end: End) -> None:
        """The request in flight, if any, ended so."""
        if self.request is None:
            return
        if end is not End.OK:
            self.done_s = perf_counter()
        self.end = end
        self.told(end)


def _text(choice: Any) -> str:
    """What a chunk adds to the answer's text."""
    delta = choice.get("delta")
    piece = choice.get("text") if delta is None else delta.get("content")
    return piece if isinstance(piece, str) else ""
