"""The head of every HTTP request."""

from __future__ import annotations

import os

from headrace.loadgen.job import Job


def request_heads(job: Job, api_key: str | None) -> list[bytes]:
    """The HTTP request head for each endpoint, up to the value of Content-Length."""
    path = "/v1/chat/completions" if job.traffic.chat else "/v1/completions"
    own = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "User-Agent": "headrace",
    }
    if api_key:
        own["Authorization"] = f"Bearer {api_key}"
    secret = {name: os.environ[env].strip() for name, env in job.access.header_envs.items()}
    lines = [f"{name}: {value}" for name, value in _merged(own, job.access.headers, secret).items()]
    rest = "\r\n".join([*lines, "Content-Length: "])
    return [
        f"POST {endpoint.prefix}{path} HTTP/1.1\r\nHost: {endpoint.authority}\r\n{rest}".encode()
        for endpoint in job.endpoints
    ]


def _merged(*headers: dict[str, str]) -> dict[str, str]:
    """Later headers replace earlier ones of the same name, however it is spelt."""
    merged: dict[str, tuple[str, str]] = {}
    for part in headers:
        merged |= {name.lower(): (name, value) for name, value in part.items()}
    return dict(merged.values())
