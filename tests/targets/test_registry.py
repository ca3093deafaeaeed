from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.node.identity import start_ticks
from headrace.targets.local import registry
from headrace.targets.local.registry import Entry


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path))


def add(name: str, *, alive: bool = True) -> Entry:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    entry = Entry(
        name=name,
        run_dir=Path("/run"),
        agent_pid=os.getpid(),
        agent_start_ticks=ticks if alive else ticks - 1,
    )
    with registry.locked():
        registry.write(entry)
    return entry


def test_the_state_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert registry.folder() == tmp_path / "fleets" / platform.node()
    monkeypatch.delenv("HEADRACE_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert registry.folder() == Path("/x/headrace/fleets") / platform.node()


def test_the_name_may_be_left_out_when_one_fleet_runs():
    one = add("one")
    add("dead", alive=False)
    assert registry.find(None) == one
    add("two")
    with pytest.raises(InputError, match="running: one, two"):
        registry.find(None)


def test_an_unknown_name_tells_which_run():
    add("one")
    with pytest.raises(InputError, match="no fleet 'other' runs on this machine; running: one"):
        registry.find("other")


def test_no_fleet_at_all():
    with pytest.raises(InputError, match="no fleet runs on this machine"):
        registry.find(None)
    with pytest.raises(InputError, match="no fleet is called 'x': none runs"):
        registry.find("x")


def test_a_dead_fleet_is_found_by_name_until_it_is_removed():
    dead = add("dead", alive=False)
    assert registry.find("dead") == dead
    assert registry.running() == []
    registry.remove(dead)
    assert registry.entries() == []


def test_removing_a_fleet_keeps_the_one_that_took_its_name():
    old = add("name", alive=False)
    new = add("name")
    registry.remove(old)
    assert registry.entries() == [new]


def test_a_broken_entry_is_no_entry():
    one = add("one")
    (registry.folder() / "broken.json").write_text("{")
    assert registry.entries() == [one]


def test_a_state_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot write the state folder"), registry.locked():
        pass
