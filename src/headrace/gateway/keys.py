"""API keys: the file that lists them, and the file by which Envoy learns those that are valid.

A line per key: a name, the key, and when it ends, if it does. `#` begins a comment.

    team-a   sk-2f9c...
    guest    sk-81d0...   2026-12-31
    trial    sk-c43a...   2026-12-01T12:00:00+00:00

The file is read again when it changes, so keys are added and withdrawn while the fleet runs.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.errors import InputError
from headrace.gateway.filters import KEY_AUTH, KEYS_FILTER

SHORTEST = 16
"""Characters of a key: less can be guessed."""


@dataclass(frozen=True)
class ApiKey:
    """One line of the file. `ends` is None for a key without an end."""

    name: str
    key: str
    ends: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it may be used now."""
        return self.ends is None or now < self.ends


def read_keys(path: Path) -> list[ApiKey]:
    """All keys of a file. Raises InputError, which never shows a key, for what is wrong with it."""
    try:
        if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise InputError(f"{path}: others may read or change the API keys", hint="chmod 600")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read the API keys: {error.strerror}") from error
    keys = [
        _parse(f"{path}:{number}", line.split("#")[0].split())
        for number, line in enumerate(lines, 1)
        if line.split("#")[0].strip()
    ]
    if not keys:
        raise InputError(f"{path}: it holds no key", hint="add a line: NAME KEY [END]")
    if len({key.key for key in keys}) < len(keys):
        raise InputError(f"{path}: a key stands there twice")
    return keys


def _parse(where: str, words: list[str]) -> ApiKey:
    if len(words) not in (2, 3):
        raise InputError(f"{where}: expected NAME KEY [END], found {len(words)} words")
    if len(words[1]) < SHORTEST:
        raise InputError(f"{where}: the key of {words[0]} is shorter than {SHORTEST} characters")
    return ApiKey(words[0], words[1], _end(where, words[2]) if len(words) == 3 else None)


def _end(where: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{where}: {text}: expected a date such as 2026-12-31") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def discovery(keys: Iterable[ApiKey], version: int) -> dict[str, Any]:
    """Envoy's extension configuration. Without a valid key nobody gets in, rather than everybody.

    Replicas see the client's own `Authorization` header no more, but its name.
    """
    credentials = [{"key": key.key, "client": key.name} for key in keys]
    credentials = credentials or [{"key": os.urandom(32).hex(), "client": "nobody"}]
    config = {
        "@type": KEY_AUTH,
        "credentials": credentials,
        "key_sources": [{"header": "Authorization"}],
        "forwarding": {"header": "x-headrace-client", "hide_credentials": False},
    }
    extension = {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": KEYS_FILTER,
        "typed_config": config,
    }
    return {"version_info": str(version), "resources": [extension]}


def write_valid(path: Path, keys: Iterable[ApiKey], version: int) -> None:
    """Replace the file that Envoy watches; only this user may read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(discovery(keys, version)), encoding="utf-8")
    draft.replace(path)
