"""Manifests of a folder: every object with the place where it was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import InputError
from headrace.targets.kubernetes.check.found import Finding, Source
from headrace.targets.kubernetes.check.text import (
    TEMPLATE,
    UnreadableError,
    documents,
    key_twice,
    value_of,
)

SUFFIXES = (".yaml", ".yml", ".json")
NOT_OBJECTS = ("Kustomization", "Component")


@dataclass(frozen=True)
class Reading:
    """What a folder holds. `unread` are files that are no manifests by themselves, and why."""

    sources: list[Source]
    findings: list[Finding]
    unread: list[tuple[str, str]]


def read(path: Path) -> Reading:
    """Every object of a file, or of a folder and those below it.

    Helm templates, their values and kustomizations are left out and named. Raises InputError for a
    path that is not there, and for a folder without any manifest.
    """
    reading = Reading([], [], [])
    for file in _files(path):
        reason = _unread(file, path)
        if reason:
            reading.unread.append((_shown(file, path), reason))
        else:
            _read_file(file, _shown(file, path), reading)
    if not reading.sources and not reading.findings:
        raise InputError(f"{path}: no Kubernetes object in it", hint=_instead(reading))
    return reading


def _instead(reading: Reading) -> str:
    """What to do where nothing could be checked."""
    if reading.unread:
        file, reason = reading.unread[0]
        return f"{file}: {reason}"
    return "name a folder with manifests, such as one that headrace render wrote"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder", hint="check the path")
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix in SUFFIXES and file.is_file() and not _hidden(file, path)
    )


def _hidden(file: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(base).parts)


def _shown(file: Path, base: Path) -> str:
    return str(file.relative_to(base)) if base.is_dir() else str(file)


def _unread(file: Path, base: Path) -> str | None:
    """Why a file is no manifest by itself; None when it is one."""
    for folder in [file.parent, *file.parents]:
        if (folder / "Chart.yaml").is_file():
            return "part of a Helm chart: check what `helm template` makes of it"
        if folder == base:
            break
    if file.stem == "kustomization":
        return "check what `kubectl kustomize` makes of it"
    return None


def _read_file(file: Path, shown: str, reading: Reading) -> None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    text = ""
    try:
        text = data.decode("utf-8-sig")
        for node in documents(text):
            _read_node(node, shown, reading)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reading.findings.append(
            Finding("yaml", shown, line, file.name, "not UTF-8 text", "save it as UTF-8")
        )
    except UnreadableError as error:
        if TEMPLATE in text:
            reading.unread.append(
                (shown, "a template: check what is made of it, as by `helm template`")
            )
            return
        message = f"not valid YAML: {error}"
        reading.findings.append(
            Finding("yaml", shown, error.line, file.name, message, "correct it")
        )


def _read_node(node: yaml.Node, shown: str, reading: Reading) -> None:
    line = node.start_mark.line + 1
    twice = key_twice(node)
    if twice:
        text = f"the key {twice[0]!r} is there twice; the second one wins"
        reading.findings.append(Finding("yaml", shown, twice[1], "", text, "take one of them out"))
    for found in _objects(value_of(node)):
        if isinstance(found.get("metadata"), dict) and found.get("kind") not in NOT_OBJECTS:
            reading.sources.append(Source(found, shown, line))
        elif found.get("kind") not in NOT_OBJECTS:
            text = "an object needs apiVersion, kind and metadata"
            reading.findings.append(
                Finding("schema", shown, line, str(found.get("kind", "")), text, "add them")
            )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a document; a List is taken apart, other YAML is left alone."""
    if not isinstance(value, dict) or "kind" not in value or "apiVersion" not in value:
        return
    items = value.get("items")
    if str(value["kind"]).endswith("List") and (isinstance(items, list) or items is None):
        yield from (item for item in items or [] if isinstance(item, dict))
    else:
        yield value
