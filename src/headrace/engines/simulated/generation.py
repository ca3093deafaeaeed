"""What a completion or chat request asks for, checked as vLLM checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.engines.simulated.faults import ApiError, too_long, unknown_model
from headrace.engines.simulated.text import Tokenizer

Kind = Literal["completion", "chat"]

COMPLETION_DEFAULT_TOKENS = 16
UNSUPPORTED = ("logprobs", "prompt_logprobs", "top_logprobs", "echo", "tools", "suffix")
"""Options that change an answer's shape in a way that is not simulated."""


@dataclass(frozen=True)
class Served:
    """The model as clients see it."""

    model: str
    max_model_len: int
    tokenizer: Tokenizer
    created: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One accepted request. Exactly `output_tokens` are generated: no end of text is simulated."""

    kind: Kind
    prompt_tokens: int
    output_tokens: int
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    return_token_ids: bool = False
    prompt_ids: list[int] = field(default_factory=list)
    """Only when `return_token_ids`."""

    @property
    def is_detailed(self) -> bool:
        """Whether its chunks hold more than text."""
        return self.continuous_usage or self.return_token_ids


def completion(body: dict[str, Any], served: Served) -> Generation:
    """A /v1/completions request. Raises ApiError."""
    _check_common(body, served)
    if body.get("prompt") is None:
        raise ApiError("Field required: 'prompt'", param="prompt")
    prompt = _single(body["prompt"])
    asked = _tokens(body, "max_tokens")
    return _generation("completion", body, served, prompt, asked, COMPLETION_DEFAULT_TOKENS)


def chat(body: dict[str, Any], served: Served) -> Generation:
    """A /v1/chat/completions request. Raises ApiError."""
    _check_common(body, served)
    text = chat_text(body.get("messages"))
    asked = _tokens(body, "max_completion_tokens") or _tokens(body, "max_tokens")
    return _generation("chat", body, served, text, asked, served.max_model_len)


def chat_text(messages: object) -> str:
    """The toy chat template: each message's role and text, then the assistant's role."""
    if not isinstance(messages, list) or not messages:
        raise ApiError("Field required: 'messages', a list with at least one", param="messages")
    return "".join(map(_message_text, messages)) + "<assistant>\n"


def check_model(body: dict[str, Any], served: Served) -> None:
    """Raises ApiError for a model that is not served; leaving it out means the served one."""
    name = body.get("model")
    if name is not None and name != served.model:
        raise unknown_model(name)


def token_ids(values: list[Any], vocab_size: int, param: str) -> list[int]:
    """A list of token ids, checked."""
    if set(map(type, values)) != {int}:
        raise ApiError(f"'{param}' must be a text or a list of token ids", param=param)
    if min(values) < 0 or max(values) >= vocab_size:
        raise ApiError(f"'{param}' has a token id outside 0..{vocab_size - 1}", param=param)
    return values


def _check_common(body: dict[str, Any], served: Served) -> None:
    check_model(body, served)
    if body.get("n") not in (None, 1):
        raise ApiError("the simulated engine gives one choice: 'n' must be 1", param="n")
    for name in UNSUPPORTED:
        if body.get(name):
            raise ApiError(f"the simulated engine does not offer '{name}'", param=name)


def _single(prompt: object) -> object:
    """vLLM takes a list of prompts; here it must hold one."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > 1:
            raise ApiError("the simulated engine takes one prompt a request", param="prompt")
        return prompt[0]
    return prompt


def _generation(
    kind: Kind,
    body: dict[str, Any],
    served: Served,
    prompt: object,
    asked: int | None,
    default_tokens: int,
) -> Generation:
    tokenizer, limit = served.tokenizer, served.max_model_len
    param = "prompt" if kind == "completion" else "messages"
    if isinstance(prompt, str):
        length = tokenizer.count(prompt)
    elif isinstance(prompt, list) and prompt:
        length = len(token_ids(prompt, tokenizer.vocab_size, param))
    else:
        raise ApiError("the prompt must be a text or a list of token ids, not empty", param=param)
    if length == 0:
        raise ApiError("The prompt cannot be empty", param=param)
    if length >= limit:
        raise too_long(limit, length, asked or 1, param)
    output = asked or min(default_tokens, limit - length)
    if length + output > limit:
        raise too_long(limit, length, output, "max_tokens")
    wants_ids = _flag(body, "return_token_ids")
    ids = prompt if isinstance(prompt, list) else tokenizer.encode(prompt) if wants_ids else []
    stream = _flag(body, "stream")
    options = _stream_options(body, stream)
    return Generation(
        kind=kind,
        prompt_tokens=length,
        output_tokens=output,
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        continuous_usage=_flag(options, "continuous_usage_stats"),
        return_token_ids=wants_ids,
        prompt_ids=ids if wants_ids else [],
    )


def _message_text(message: object) -> str:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ApiError("every message must be an object with a 'role'", param="messages")
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return f"<{message['role']}>\n{''.join(map(_part_text, parts))}\n"


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise ApiError("the simulated engine reads only text in messages", param="messages")
    return text


def _tokens(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise ApiError(f"'{name}' must be an integer, not {value!r:.40}", param=name)
    if value < 1:
        raise ApiError(f"{name} must be at least 1, got {value}.", param=name)
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ApiError(f"'{name}' must be true or false, not {value!r:.40}", param=name)
    return value


def _stream_options(body: dict[str, Any], stream: bool) -> dict[str, Any]:
    options = body.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise ApiError("'stream_options' must be an object", param="stream_options")
    if not stream:
        raise ApiError(
            "Stream options can only be defined when `stream=True`.", param="stream_options"
        )
    return options
