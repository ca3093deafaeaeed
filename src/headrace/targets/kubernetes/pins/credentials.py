"""Registries' credentials, from where Docker keeps them: never from the command line.

DOCKER_AUTH_CONFIG (the file's content, as CI systems set it), then the file REGISTRY_AUTH_FILE
(Podman's), then config.json in DOCKER_CONFIG or ~/.docker, with its credential helpers (which is
how the clouds' registries are logged in to).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, InputError
from headrace.targets.kubernetes.pins.image import DOCKER_HUB

HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
"""Names of Docker Hub in these files; the first is the one that `docker login` writes."""
HELPER_TIMEOUT_S = 30
TOKEN_USER = "<token>"
"""A helper's word for: the secret is an identity token."""


@dataclass(frozen=True)
class Credentials:
    """Who asks a registry."""

    user: str
    secret: str = field(repr=False)
    source: str
    """Where they were found, for messages."""

    @property
    def is_identity_token(self) -> bool:
        """Whether the secret is to be traded for a token, instead of sent as a password."""
        return self.user == TOKEN_USER


def credentials_for(host: str) -> Credentials | None:
    """The credentials for a registry; None where none are kept.

    Raises InputError for a file that cannot be read, HeadraceError for a helper that fails.
    """
    for source, config in _configs():
        found = _in_config(config, host, source)
        if found:
            return found
    return None


def _configs() -> list[tuple[str, dict[str, Any]]]:
    found = []
    if text := os.environ.get("DOCKER_AUTH_CONFIG"):
        found.append(("DOCKER_AUTH_CONFIG", _parsed("DOCKER_AUTH_CONFIG", text)))
    files = [Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser() / "config.json"]
    if podman := os.environ.get("REGISTRY_AUTH_FILE"):
        files.insert(0, Path(podman).expanduser())
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read: {error}") from None
        found.append((str(file), _parsed(str(file), text)))
    return found


def _parsed(source: str, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"{source}: not JSON: {error}", hint="docker login writes it") from None
    if not isinstance(config, dict):
        raise InputError(f"{source}: expected a JSON object", hint="docker login writes it")
    return config


def _in_config(config: dict[str, Any], host: str, source: str) -> Credentials | None:
    keys = HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}", f"https://{host}/v2/")
    helpers, auths = config.get("credHelpers") or {}, config.get("auths") or {}
    for key in keys:
        helper = helpers.get(key) or config.get("credsStore")
        found = _asked(str(helper), key) if helper else None
        if found or (found := _written(auths.get(key), source)):
            return found
    return None


def _written(entry: Any, source: str) -> Credentials | None:
    """An entry of `auths`: user and password in base64, apart, or an identity token."""
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Credentials(TOKEN_USER, str(token), source)
    user, secret = entry.get("username"), entry.get("password")
    if auth := entry.get("auth"):
        try:
            user, _, secret = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except ValueError:
            text = f"{source}: an entry's `auth` is not base64 of USER:PASSWORD"
            raise InputError(text, hint="docker login writes it anew") from None
    return Credentials(str(user), str(secret), source) if user and secret else None


def _asked(helper: str, key: str) -> Credentials | None:
    """What a credential helper says: the registry's name goes in by stdin, JSON comes out."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key,
            capture_output=True,
            text=True,
            check=False,
            timeout=HELPER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else "it did not answer"
        raise HeadraceError(
            f"no credentials for {key}: {program}: {why}",
            hint=f"put {program} on PATH, or take it out of Docker's config.json",
        ) from None
    if done.returncode:
        return None
    try:
        said = json.loads(done.stdout)
        return Credentials(str(said["Username"]), str(said["Secret"]), program)
    except (ValueError, KeyError, TypeError):
        raise HeadraceError(f"no credentials for {key}: {program} said no credentials") from None
