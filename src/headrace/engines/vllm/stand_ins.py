"""What may stand in for the real thing when only speed is measured, and how results say so.

Random weights cost as much time per token as trained ones where they are of their size (a router of
experts spreads them evenly; a GPU that multiplies zeros is quicker), and a drafted token
that is accepted by chance costs what any other does. So a configuration can be measured without its
checkpoint. What came out is about speed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.engines.vllm import flags
from headrace.errors import InputError
from headrace.spec.fleet import Engine

SYNTHETIC_SINCE = "0.20.0"
"""The first version with `synthetic_acceptance_rates` (0.19 has an older, single rate)."""


def with_stand_ins(args: Mapping[str, Any], engine: Engine, acceptance: float) -> dict[str, Any]:
    """`args` with the options behind `engine.load_format` and `engine.synthetic_acceptance`.

    Without drafting there is nothing to accept, and nothing is added. Raises InputError for a
    version that cannot draw acceptance by chance.
    """
    made = dict(args)
    if engine.load_format != "auto":
        made["load_format"] = engine.load_format
    if engine.synthetic_acceptance and "speculative_config" in made:
        _check_synthetic(engine.version)
        made["speculative_config"] = _synthetic(made["speculative_config"], acceptance)
    return made


def stand_ins(args: Mapping[str, Any], random_weights: str | None = None) -> dict[str, str]:
    """What is not the real thing in an engine with these options, by what it replaces.

    `random_weights` is what the checkpoint says of its own (`ModelFacts.random_weights`). vLLM's
    dummy loader draws so near to zero that a GPU has less to do, so results tell the two apart.
    """
    found = {}
    if args.get("load_format") == "dummy":
        found["weights"] = "random, near zero"
    elif random_weights:
        found["weights"] = f"random, {random_weights}"
    drafting = args.get("speculative_config")
    if isinstance(drafting, dict) and drafting.get("rejection_sample_method") == "synthetic":
        rates = drafting.get("synthetic_acceptance_rates") or []
        shown = ", ".join(f"{rate:g}" for rate in rates)
        found["acceptance"] = f"synthetic ({shown})" if shown else "synthetic"
    if args.get("skip_tokenizer_init"):
        found["tokenizer"] = "none: token ids in, no text out"
    return found


def described(found: Mapping[str, str]) -> str:
    """One line: `weights random, near zero; acceptance synthetic (0.8)`; empty when all is real."""
    return "; ".join(f"{name} {what}" for name, what in found.items())


def _check_synthetic(version: str) -> None:
    if flags.key(version) < flags.key(SYNTHETIC_SINCE):
        raise InputError(
            f"engine.synthetic_acceptance: vLLM {version} cannot accept drafts by chance",
            hint=f"set engine.version to {SYNTHETIC_SINCE} or later, or leave it out",
        )


def _synthetic(drafting: Any, acceptance: float) -> dict[str, Any]:
    """vLLM takes the chance that a draft and all before it are accepted, per position."""
    if not isinstance(drafting, dict):
        raise InputError(
            "engine.synthetic_acceptance: engine.args.speculative_config is text",
            hint="write speculative_config as a mapping, so that the acceptance can be added",
        )
    depth = int(drafting.get("num_speculative_tokens", 1))
    rates = [round(acceptance ** (position + 1), 6) for position in range(depth)]
    chance = {"rejection_sample_method": "synthetic", "synthetic_acceptance_rates": rates}
    return drafting | chance
