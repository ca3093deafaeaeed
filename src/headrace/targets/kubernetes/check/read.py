"""Manifests of a folder: every object with the place where it was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import InputError
from headrace.targets.kubernetes.check.found import Finding, Source

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
        raise InputError(
            f"{path}: no Kubernetes object in it",
            hint="name a folder with manifests, such as one that headrace render wrote",
        )
    return reading


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
        text = file.read_text(encoding="utf-8")
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        reading.findings.append(
            Finding("yaml", shown, line, file.name, f"not valid YAML: {problem}", "correct it")
        )
        return
    for node in nodes:
        if node is not None:
            _read_node(node, shown, reading)


def _read_node(node: yaml.Node, shown: str, reading: Reading) -> None:
    line = node.start_mark.line + 1
    twice = _twice(node)
    if twice:
        text = f"the key {twice[0]!r} is there twice; the second one wins"
        reading.findings.append(Finding("yaml", shown, twice[1], "", text, "take one of them out"))
    loader = yaml.SafeLoader("")
    value = loader.construct_document(node)
    for found in _objects(value):
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
    if str(value["kind"]).endswith("List") and isinstance(value.get("items"), list):
        yield from (item for item in value["items"] if isinstance(item, dict))
    else:
        yield value


def _twice(node: yaml.Node) -> tuple[str, int] | None:
    """The first key that a mapping has twice, and its line: YAML readers keep the last silently."""
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.value != "<<":
                    return key.value, key.start_mark.line + 1
                seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    return next((found for child in children if (found := _twice(child))), None)
