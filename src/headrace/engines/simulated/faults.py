"""What a request is answered when it cannot be served, in vLLM's words and shapes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """Ends a request with this status and an OpenAI error body."""

    def __init__(
        self,
        message: str,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        kind: str = "BadRequestError",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        error = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.status.value,
        }
        return {"error": error}


def unknown_model(name: object) -> ApiError:
    """404, as vLLM answers for a model that it does not serve."""
    return ApiError(
        f"The model `{name}` does not exist.", HTTPStatus.NOT_FOUND, "NotFoundError", "model"
    )


def plain(status: HTTPStatus, message: str | None = None) -> ApiError:
    """An error of HTTP itself, whose type is the status phrase."""
    return ApiError(message or status.phrase, status, status.phrase)


def too_long(limit: int, prompt: int, output: int, param: str) -> ApiError:
    """400: prompt and output do not fit the context."""
    return ApiError(
        f"This model's maximum context length is {limit} tokens. However, you requested "
        f"{prompt + output} tokens ({prompt} in the prompt, {output} for the output). Shorten the "
        "prompt or ask for fewer output tokens.",
        param=param,
    )
