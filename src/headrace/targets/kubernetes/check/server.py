"""A vLLM server in a manifest: found by its command or image, and its options as they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload

Container = dict[str, Any]
SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/bash")


def servers(cluster: Cluster) -> Iterator[tuple[Workload, Container]]:
    """Every container that serves with vLLM and answers HTTP."""
    for workload in cluster.workloads:
        for container in workload.containers:
            if is_server(container) and not has_option(container, "headless"):
                yield workload, container


def is_server(container: Container) -> bool:
    """Whether it runs `vllm serve`, or an image of vLLM with its own entrypoint."""
    said = " ".join(words(container))
    if "vllm.entrypoints" in said or "vllm serve" in said:
        return True
    image = str(container.get("image", ""))
    return "vllm-openai" in image and not container.get("command")


def words(container: Container) -> list[str]:
    """Command and arguments, a shell's script split into its words."""
    said = [str(word) for word in [*_list(container, "command"), *_list(container, "args")]]
    if runs_shell(container):
        try:
            return [word for part in said for word in shlex.split(part)]
        except ValueError:
            return [word for part in said for word in part.split()]
    return said


def runs_shell(container: Container) -> bool:
    """Whether a shell is the first process."""
    command = [*_list(container, "command"), *_list(container, "args")]
    return bool(command) and str(command[0]) in SHELLS


def option(container: Container, name: str) -> str | None:
    """An option's value as typed; None when it is not there. `--a b` and `--a=b` are one."""
    said = words(container)
    for number, word in enumerate(said):
        head, joined, value = word.replace("_", "-").partition("=")
        if head == f"--{name}":
            if joined:
                return word.partition("=")[2] or value
            return said[number + 1] if number + 1 < len(said) else ""
    return None


def has_option(container: Container, name: str) -> bool:
    """Whether an option is there, with a value or without."""
    return option(container, name) is not None


def model_of(container: Container) -> str | None:
    """What it serves: a hub id or a path."""
    said = words(container)
    if "serve" in said:
        after = said[said.index("serve") + 1 :]
        if after and not after[0].startswith("-"):
            return after[0]
    return option(container, "model")


def shutdown_timeout_s(container: Container) -> float:
    """Seconds for requests in flight; vLLM's default aborts them."""
    try:
        return float(option(container, "shutdown-timeout") or 0)
    except ValueError:
        return 0.0


def pre_stop_s(container: Container) -> float | None:
    """How long the hook before SIGTERM takes; None without one, 0 where it cannot be told."""
    hook = (container.get("lifecycle") or {}).get("preStop")
    if not isinstance(hook, dict):
        return None
    if isinstance(hook.get("sleep"), dict):
        return float(hook["sleep"].get("seconds") or 0)
    said = " ".join(str(word) for word in (hook.get("exec") or {}).get("command") or [])
    after = said.partition("sleep ")[2].split()
    try:
        return float(after[0].rstrip("s;'\"")) if after else 0.0
    except ValueError:
        return 0.0


def _list(container: Container, key: str) -> list[Any]:
    value = container.get(key)
    return value if isinstance(value, list) else []
