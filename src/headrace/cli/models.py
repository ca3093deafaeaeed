"""`headrace models`: the packaged models, or the facts of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.models.facts import Attention, Linear, ModelFacts


def models(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Hub id of a packaged model, or a folder with a config.json.",
            metavar="[NAME_OR_FOLDER]",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the packaged models, or show the facts of one."""
    from headrace.models.load import load_model, packaged

    if model is not None:
        facts = load_model(model)
        print_json(as_document(facts)) if json else _show(facts)
        return
    listed = [load_model(name) for name in packaged()]
    if json:
        print_json({"models": [_summary(facts) for facts in listed]})
    else:
        _show_all(listed)


def as_document(facts: ModelFacts) -> dict[str, Any]:
    """All facts of one model, ready for JSON."""
    return {
        **_summary(facts),
        "architecture": facts.architecture,
        "hidden_size": facts.hidden_size,
        "layers": facts.layers,
        "vocab_size": facts.vocab_size,
        "tied_embeddings": facts.tied_embeddings,
        "embedding_parameters": facts.embedding_parameters,
        "vision_parameters": facts.vision_parameters,
        "mtp_parameters": sum(x.parameters for x in facts.mtp_linears),
        "linear_flops_per_token": facts.linear_flops_per_token,
        "attention": [_attention(part) for part in facts.attention],
        "linears": [_linear(part) for part in facts.linears],
        "mtp_linears": [_linear(part) for part in facts.mtp_linears],
        "path": facts.path,
    }


def _summary(facts: ModelFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "family": facts.family,
        "parameters": facts.parameters,
        "active_parameters": facts.active_parameters,
        "weights_dtype": facts.weights_dtype,
        "max_context_tokens": facts.max_context_tokens,
        "kv_bytes_per_token": {
            "bf16": facts.kv_bytes_per_token("bf16"),
            "fp8": facts.kv_bytes_per_token("fp8"),
        },
        "state_bytes_per_sequence": {
            "float32": facts.state_bytes_per_sequence("float32"),
            "bfloat16": facts.state_bytes_per_sequence("bfloat16"),
        },
        "state_dtype": facts.state_dtype if facts.linear_attention else None,
        "mtp_layers": facts.mtp_layers,
    }


def _attention(part: Attention) -> dict[str, Any]:
    return {
        "layers": part.layers,
        "heads": part.heads,
        "kv_heads": part.kv_heads,
        "head_dim": part.head_dim,
        "latent_dim": part.latent_dim,
        "window_tokens": part.window_tokens,
    }


def _linear(part: Linear) -> dict[str, Any]:
    return {
        "name": part.name,
        "k": part.k,
        "n": part.n,
        "count": part.count,
        "stored": part.stored,
        "quantized": part.quantized,
    }


def _show_all(listed: list[ModelFacts]) -> None:
    """One model a line, in 80 columns: ids must stay whole to be copied."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("model", "family", "B", "active", "weights", "KV KiB"):
        justify: Literal["left", "right"] = (
            "right" if column in ("B", "active", "KV KiB") else "left"
        )
        table.add_column(column, justify=justify, no_wrap=True)
    for facts in listed:
        table.add_row(
            facts.name,
            facts.family,
            f"{facts.parameters / 1e9:.1f}",
            f"{facts.active_parameters / 1e9:.1f}",
            facts.weights_dtype,
            f"{facts.kv_bytes_per_token('bf16') / 1024:.0f}",
        )
    console.print(table)
    console.print(
        "\nBillions of parameters, and of those one token uses; KV per token in bf16.\n"
        "One model in full: headrace models NAME. Any other: a folder with its config.json.",
        soft_wrap=True,
    )


def _show(facts: ModelFacts) -> None:
    """One model, a fact a line, then its matrices."""
    console.print(f"[bold]{escape(facts.name)}[/]  {facts.architecture}")
    for label, value in _lines(facts):
        console.print(f"  {label:<22}{value}", soft_wrap=True)
    table = Table(box=None, title="Matrices (k x n, per token / in memory)", title_justify="left")
    for column in ("name", "k", "n", "per token", "in memory", "dtype"):
        table.add_column(column, justify="left" if column in ("name", "dtype") else "right")
    for part in facts.linears:
        dtype = facts.weights_dtype if part.quantized else "16 bit"
        table.add_row(part.name, str(part.k), str(part.n), str(part.count), str(part.stored), dtype)
    console.print(table)


def _lines(facts: ModelFacts) -> list[tuple[str, str]]:
    kv = {dtype: facts.kv_bytes_per_token(dtype) / 1024 for dtype in ("bf16", "fp8")}
    lines = [
        (
            "parameters",
            f"{_billions(facts.parameters)}, {_billions(facts.active_parameters)} active",
        ),
        ("weights", facts.weights_dtype),
        ("context", f"{facts.max_context_tokens:,} tokens"),
        ("layers", f"{facts.layers}, hidden size {facts.hidden_size}"),
        ("KV per token", f"{kv['bf16']:g} KiB in bf16, {kv['fp8']:g} KiB in fp8"),
        ("linear layers", f"{facts.linear_flops_per_token / 1e9:.1f} GFLOP per token"),
    ]
    if facts.linear_attention:
        sizes = [facts.state_bytes_per_sequence(d) / 1e6 for d in ("float32", "bfloat16")]
        state = f"{sizes[0]:.0f} MB in float32, {sizes[1]:.0f} MB in bfloat16"
        lines.append(("state per sequence", f"{state} (vLLM's default: {facts.state_dtype})"))
    if facts.experts:
        experts = (
            f"{facts.experts.active} of {facts.experts.total} in {facts.experts.layers} layers"
        )
        lines.append(("experts", experts))
    if facts.mtp_layers:
        size = _billions(sum(x.parameters for x in facts.mtp_linears))
        lines.append(("MTP", f"{facts.mtp_layers} layer(s), {size} parameters"))
    if facts.vision_parameters:
        lines.append(("vision tower", f"{_billions(facts.vision_parameters)} parameters"))
    return lines


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B"
