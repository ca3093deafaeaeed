import errno
from pathlib import Path

import pytest

from headrace import __version__, cli
from headrace.cli.main import VERBS, main
from headrace.errors import GoalMissedError, HeadraceError, InfeasibleError, InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "help"


def headrace(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line as the console script does; its exit status."""
    monkeypatch.setattr("sys.argv", ["headrace", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_every_verb_has_a_module_and_every_module_is_listed():
    folder = Path(cli.__file__).parent
    assert [verb for verb in VERBS if not (folder / f"{verb}.py").is_file()] == []


def test_the_version(monkeypatch, capsys):
    assert headrace(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"headrace {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["init", "--help"], ["schema", "--help"]])
def test_help(monkeypatch, capsys, words):
    assert headrace(monkeypatch, *words) == 0

    printed = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    name = "-".join(["headrace", *words[:-1]])
    assert printed == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inti"], "Did you mean 'init'?"),
        (["plan"], "Missing argument 'FLEET'"),
        (["init", "--frce"], "--force"),
        (["init", "--output"], "requires an argument"),
    ],
)
def test_wrong_command_lines_exit_with_2(monkeypatch, capsys, words, says):
    assert headrace(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HeadraceError("it broke"), 1),
        (InputError("it broke", hint="mend [it]"), 2),
        (InfeasibleError("it broke"), 3),
        (GoalMissedError("it broke"), 4),
    ],
)
def test_errors_end_in_one_message_and_their_status(monkeypatch, capsys, error, status):
    monkeypatch.setattr("headrace.cli.schema.schema", _raiser(error))
    assert headrace(monkeypatch, "schema") == status
    captured = capsys.readouterr()
    assert captured.err.startswith("error: it broke\n")
    assert (f"next:  {error.hint}" in captured.err) == (error.hint is not None)
    assert captured.out == ""


def test_a_full_disk_is_one_message(monkeypatch, capsys):
    error = OSError(errno.ENOSPC, "No space left on device", "runs/x/plan.json")
    monkeypatch.setattr("headrace.cli.schema.schema", _raiser(error))
    assert headrace(monkeypatch, "schema") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: runs/x/plan.json: No space left on device\n")
    assert "next:" in captured.err


def test_ctrl_c_exits_with_130(monkeypatch, capsys):
    monkeypatch.setattr("headrace.cli.schema.schema", _raiser(KeyboardInterrupt()))
    assert headrace(monkeypatch, "schema") == 130
    assert "Traceback" not in capsys.readouterr().err


def _raiser(error: BaseException):
    def verb() -> None:
        raise error

    return verb
