"""What no single field can tell: fields that contradict each other, traps, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headrace.spec.document import Document, FieldPath, Problem
from headrace.spec.fleet import Fleet
from headrace.spec.workload import Workload

_AMBIGUOUS = frozenset({"yes", "no", "on", "off"})
_SECRET = re.compile(r"(^|_)(api_keys?|token|secret|password|passwd)$", re.IGNORECASE)
_ASSIGNED = re.compile(r"\b(\w+)=[^\s$]")


def check_text(document: Document) -> list[Problem]:
    """Traps that can be seen before the fields are validated."""
    if not isinstance(document.value, dict):
        return []
    return [*_engine_traps(document), *_setup_secrets(document)]


def _engine_traps(document: Document) -> list[Problem]:
    engine = document.value.get("engine")
    if not isinstance(engine, dict):
        return []
    return [
        *_ambiguous(document),
        *_options_twice(document, engine.get("args")),
        *_no_value(document, engine.get("args")),
        *_secrets(document, "args", engine.get("args")),
        *_secrets(document, "env", engine.get("env")),
    ]


def check_fleet(fleet: Fleet, document: Document) -> list[Problem]:
    """Fields that contradict each other."""
    return [*_context(fleet, document), *_load(fleet, document)]


def _context(fleet: Fleet, document: Document) -> Iterator[Problem]:
    limit = fleet.engine.args.get("max_model_len")
    needed = fleet.workload.longest_tokens
    if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit < needed:
        at = _option(document, "max_model_len")
        text = (
            f"{limit} is shorter than the longest request, prompt and answer ("
            f"{fleet.workload.in_words}); expected {needed} or more"
        )
        yield document.problem(at, text)


def _load(fleet: Fleet, document: Document) -> Iterator[Problem]:
    load = fleet.workload
    rates = [name for name in ("request_rate", "token_rate") if getattr(load, name) is not None]
    if len(rates) > 1:
        text = "given together with request_rate: both say how much arrives; take one of them out"
        yield document.problem(("workload", "token_rate"), text, key=True)
    if fleet.goal == "fewest-gpus" and not rates and load.trace is None:
        text = "fewest for which load? add workload.request_rate (requests/s) or token_rate"
        yield document.problem(("goal",), text)
    if fleet.spare_replicas and not rates and load.trace is None:
        text = "spare for which load? add workload.request_rate (requests/s) or token_rate"
        yield document.problem(("spare_replicas",), text)
    for name in _settled_by_trace(document) if load.trace is not None else ():
        text = "follows from the trace, and is not stated with one: take it out"
        yield document.problem(("workload", name), text, key=True)
    if load.traced is not None:
        text = "no such field: name a file of requests with workload.trace"
        yield document.problem(("workload", "traced"), text, key=True)
    if load.prefix_hit_rate and load.conversation:
        text = "follows from the turns of a conversation, and is not stated with one: take it out"
        yield document.problem(("workload", "prefix_hit_rate"), text, key=True)
    for name in rates if load.concurrency != "auto" else ():
        text = (
            "given together with concurrency: a load either holds a number of requests in flight "
            "or sends them at a rate; take one of the two out"
        )
        yield document.problem(("workload", name), text, key=True)
    if load.refill > 1:
        yield from _refill(load, rates, document)


def _refill(load: Workload, rates: list[str], document: Document) -> Iterator[Problem]:
    at = ("workload", "refill")
    if rates or load.trace is not None:
        text = "only with a held concurrency: requests that arrive by themselves follow no other"
        yield document.problem(at, text, key=True)
    elif load.concurrency != "auto" and load.refill > load.concurrency:
        text = f"{load.refill} is more than the {load.concurrency} requests in flight"
        yield document.problem(at, text)


def _settled_by_trace(document: Document) -> list[str]:
    names = ("input_tokens", "output_tokens", "conversation", "prefix_hit_rate")
    return [name for name in names if ("workload", name) in document.keys]


def _ambiguous(document: Document) -> Iterator[Problem]:
    """`off` is false to some YAML readers and the text "off" to others; vLLM must not guess."""
    for at, typed in document.typed.items():
        if at[:2] == ("engine", "args") and typed.lower() in _AMBIGUOUS:
            word = typed.lower()
            meant = "true" if word in ("yes", "on") else "false"
            text = f'`{typed}` may mean two things: write {meant}, or "{typed}" for the word'
            yield document.problem(at, text)


def _options_twice(document: Document, args: Any) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in args if isinstance(args, dict) else ():
        option = one_spelling(name)
        if option in first:
            text = f"the same option as `{first[option]}`: take one of them out"
            yield document.problem(("engine", "args", name), text, key=True)
        first.setdefault(option, name)


def _no_value(document: Document, args: Any) -> Iterator[Problem]:
    for name, value in args.items() if isinstance(args, dict) else ():
        if value is None:
            yield document.problem(
                ("engine", "args", name), "has no value: write true for a switch", key=True
            )


def _secrets(document: Document, part: str, values: Any) -> Iterator[Problem]:
    for name in values if isinstance(values, dict) else ():
        if _SECRET.search(one_spelling(name)):
            text = (
                "looks like a secret, and a fleet file is copied into every run's folder; set the "
                "environment variable (VLLM_API_KEY, HF_TOKEN) where headrace is started instead"
            )
            yield document.problem(("engine", part, name), text, key=True)


def _setup_secrets(document: Document) -> Iterator[Problem]:
    """A variable of the shell lines of a Slurm job that is given a secret there."""
    target = document.value.get("target")
    setup = target.get("setup") if isinstance(target, dict) else None
    for name in _ASSIGNED.findall(setup) if isinstance(setup, str) else ():
        if _SECRET.search(name):
            text = (
                f"{name} looks like a secret, and the job's file is copied into every run's "
                "folder; set it in the environment where headrace is started: Slurm passes it on"
            )
            yield document.problem(("target", "setup"), text)


def _option(document: Document, option: str) -> FieldPath:
    """Where an option of engine.args stands, however it is spelled."""
    base = ("engine", "args")
    named = [at for at in document.keys if at[:2] == base and len(at) == 3]
    return next((at for at in named if one_spelling(str(at[2])) == option), base)


def one_spelling(option: str) -> str:
    """`--max-num-seqs`, `max-num-seqs` and `max_num_seqs` are one option."""
    return option.lstrip("-").replace("-", "_")
