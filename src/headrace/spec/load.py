"""Read a fleet file: every problem in it at once, each with file, line, field and what to do."""

from __future__ import annotations

import difflib
from pathlib import Path

from headrace.errors import InputError
from headrace.spec.checks import check_fleet, check_text
from headrace.spec.document import BrokenYamlError, Document, FieldPath, Problem, read_document
from headrace.spec.fleet import Fleet, Gateway
from headrace.spec.validate import validate

MAX_BYTES = 1_000_000
HOW_TO_LEARN = "`headrace schema` lists every field; `headrace init --list` the recipes."
GATEWAY_FILES: tuple[FieldPath, ...] = (
    ("gateway", "keys_file"),
    ("gateway", "tls", "certificate"),
    ("gateway", "tls", "key"),
    ("gateway", "tls", "client_ca"),
)
HOW_TO_START = "`headrace init` writes a commented fleet file to start from."


def load_fleet(path: Path) -> Fleet:
    """The fleet of a file; folders that it names are resolved against the file's own folder.

    Raises InputError that lists all problems of the file.
    """
    name = str(path)
    document = _document(_text(path), name)
    fleet, problems = _judge(document)
    folder = path.resolve().parent
    problems += _missing_paths(document, folder)
    if problems or fleet is None:
        raise _refused(name, problems)
    return _with_trace(_resolved(fleet, folder), path)


def _with_trace(fleet: Fleet, path: Path) -> Fleet:
    """The fleet with what its trace says, and with the trace's rate where it states no load.

    Raises InputError that names the trace's faulty row.
    """
    load = fleet.workload
    if load.trace is None:
        return fleet
    from headrace.loadgen.trace import read_trace

    try:
        traced = read_trace(Path(load.trace), load.trace_format, Path(fleet.model))
    except InputError as error:
        said = str(error).removeprefix("--dataset ")
        raise InputError(f"{where(path, 'workload', 'trace')}: {said}", hint=error.hint) from error
    update: dict[str, object] = {"traced": traced}
    if not {"concurrency", "request_rate", "token_rate"} & load.model_fields_set:
        update["request_rate"] = traced.request_s
    fleet = fleet.model_copy(update={"workload": load.model_copy(update=update)})
    if fleet.goal == "fewest-gpus" and fleet.workload.stated_rate is None:
        raise InputError(
            f"{where(path, 'workload', 'trace')}: it does not say when its requests were sent, so "
            "that there is no rate to serve with the fewest GPUs",
            hint="add workload.request_rate (requests/s) or token_rate",
        )
    return fleet


def parse_fleet(text: str, name: str) -> Fleet:
    """The fleet of a text, `name` being what messages call it; paths are left as they are."""
    fleet, problems = _judge(_document(text, name))
    if problems or fleet is None:
        raise _refused(name, problems)
    return fleet


def where(path: Path, *field: str | int) -> str:
    """`fleet.yaml:4:14: hardware.gpu`, for errors found after the file was accepted."""
    name = ".".join(map(str, field))
    try:
        mark = read_document(path.read_text(encoding="utf-8-sig")).mark(field)
    except (OSError, UnicodeDecodeError, BrokenYamlError):
        return f"{path}: {name}"
    return f"{path}:{mark.line}:{mark.column}: {name}"


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint=_nearby(path)) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a fleet file", hint=_inside(path)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        text = f"{path}: {len(data):,} bytes are no fleet file (at most {MAX_BYTES:,})"
        raise InputError(text, hint=HOW_TO_START)
    return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> str:
    if b"\0" in data:
        raise InputError(f"{path}: a binary file, expected YAML text", hint=HOW_TO_START)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x})",
            hint=f"Save it as UTF-8. {HOW_TO_START}",
        ) from None


def _nearby(path: Path) -> str:
    """The fleet file or the recipe that may have been meant."""
    from headrace.spec.recipes import nearest_recipe

    folder = path.parent if path.parent.is_dir() else Path()
    files = _yaml_files(folder)
    near = difflib.get_close_matches(path.name, files, n=1)
    recipe = nearest_recipe(path.stem)
    if recipe and not near:
        return f"`headrace init {recipe} -o {path.name}` writes the recipe of that name here."
    here = ", ".join(str(folder / file) for file in near or files[:3])
    return f"Did you mean {here}?" if here else HOW_TO_START


def _inside(folder: Path) -> str:
    files = _yaml_files(folder)
    named = ", ".join(str(folder / file) for file in files[:5])
    return f"Name one of its files: {named}." if files else HOW_TO_START


def _yaml_files(folder: Path) -> list[str]:
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return sorted(file.name for file in found if file.is_file())


def _document(text: str, name: str) -> Document:
    try:
        document = read_document(text)
    except BrokenYamlError as error:
        raise _refused(name, [error.problem]) from None
    if document.value is None:
        raise InputError(f"{name}: the file is empty, expected a fleet", hint=HOW_TO_START)
    if not isinstance(document.value, dict):
        kind = "a list" if isinstance(document.value, list) else "a single value"
        mark = document.mark(())
        raise InputError(
            f"{name}:{mark.line}:{mark.column}: expected a mapping of `key: value` lines, got "
            f"{kind}",
            hint=HOW_TO_START,
        )
    return document


def _judge(document: Document) -> tuple[Fleet | None, list[Problem]]:
    fleet, problems = validate(document)
    problems += document.problems + check_text(document)
    if fleet is not None:
        problems += check_fleet(fleet, document)
    return fleet, problems


def _refused(name: str, problems: list[Problem]) -> InputError:
    ordered = sorted(problems, key=lambda problem: (problem.mark, str(problem.field)))
    lines = [_line(name, problem) for problem in ordered]
    if len(lines) == 1:
        return InputError(lines[0], hint=HOW_TO_LEARN)
    listed = "\n".join(f"  {line}" for line in lines)
    return InputError(f"{name}: {len(lines)} problems\n{listed}", hint=HOW_TO_LEARN)


def _line(name: str, problem: Problem) -> str:
    field = ".".join(str(part) for part in problem.field)
    place = f"{name}:{problem.mark.line}:{problem.mark.column}"
    return f"{place}: {field}: {problem.text}" if field else f"{place}: {problem.text}"


def _missing_paths(document: Document, folder: Path) -> list[Problem]:
    """Paths that lead nowhere. A hub id is no path, unless a folder of that name is there."""
    assert isinstance(document.value, dict)
    hardware = document.value.get("hardware")
    model = document.value.get("model")
    catalog = hardware.get("catalog") if isinstance(hardware, dict) else None
    problems = []
    listed = document.value.get("checkpoints")
    checkpoints = enumerate(listed if isinstance(listed, list) else ())
    models: dict[FieldPath, object] = {("model",): model}
    models |= {("checkpoints", place): each for place, each in checkpoints}
    for at, each in models.items():
        if isinstance(each, str) and _is_path(each) and not _against(folder, each).exists():
            text = (
                f"{each}: there is no such folder {_seen_from(folder)}; "
                "expected one with config.json"
            )
            problems.append(document.problem(at, text))
    workload = document.value.get("workload")
    trace = workload.get("trace") if isinstance(workload, dict) else None
    if isinstance(trace, str) and not _against(folder, trace).is_file():
        text = f"{trace}: there is no such file {_seen_from(folder)}; expected a file of requests"
        problems.append(document.problem(("workload", "trace"), text))
    if isinstance(catalog, str) and not _against(folder, catalog).is_file():
        text = f"{catalog}: there is no such file {_seen_from(folder)}; expected a TOML catalog"
        problems.append(document.problem(("hardware", "catalog"), text))
    return problems + _missing_gateway_files(document, folder)


def _missing_gateway_files(document: Document, folder: Path) -> list[Problem]:
    problems = []
    for at in GATEWAY_FILES:
        value: object = document.value
        for name in at:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and not _against(folder, value).is_file():
            text = f"{value}: there is no such file {_seen_from(folder)}"
            problems.append(document.problem(at, text))
    return problems


def _seen_from(folder: Path) -> str:
    return f"(seen from {folder}, where the fleet file is)"


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~"))


def _against(folder: Path, path: str) -> Path:
    return folder / Path(path).expanduser()


def _model(model: str, folder: Path) -> str:
    """A folder's whole path; a hub id as it is."""
    if _is_path(model) or _against(folder, model).is_dir():
        return str(_against(folder, model).resolve())
    return model


def _resolved(fleet: Fleet, folder: Path) -> Fleet:
    update: dict[str, object] = {}
    update["model"] = _model(fleet.model, folder)
    update["checkpoints"] = [_model(each, folder) for each in fleet.checkpoints]
    if fleet.hardware.catalog is not None:
        catalog = str(_against(folder, fleet.hardware.catalog).resolve())
        update["hardware"] = fleet.hardware.model_copy(update={"catalog": catalog})
    if fleet.workload.trace is not None:
        trace = str(_against(folder, fleet.workload.trace).resolve())
        update["workload"] = fleet.workload.model_copy(update={"trace": trace})
    update["gateway"] = _resolved_gateway(fleet.gateway, folder)
    return fleet.model_copy(update=update)


def _resolved_gateway(gateway: Gateway, folder: Path) -> Gateway:
    def against(path: str | None) -> str | None:
        return None if path is None else str(_against(folder, path).resolve())

    tls = gateway.tls
    if tls is not None:
        files = {name: against(path) for name, path in tls.model_dump().items()}
        tls = tls.model_copy(update=files)
    return gateway.model_copy(update={"keys_file": against(gateway.keys_file), "tls": tls})
