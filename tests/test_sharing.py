"""The lock that keeps tests apart, and the order in which files are handed out."""

from __future__ import annotations

import fcntl
from pathlib import Path
from threading import Thread

from tests.sharing import Machine, arrange


def is_held(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_is_alone_waits_for_the_others_and_is_overtaken_by_none(tmp_path: Path):
    early, alone, late = (Machine(tmp_path) for _ in range(3))
    order: list[str] = []

    def taken(machine: Machine, is_alone: bool, name: str) -> Thread:
        thread = Thread(target=lambda: (machine.take(is_alone), order.append(name)))
        thread.start()
        return thread

    early.take(alone=False)
    waiting = taken(alone, True, "alone")
    while not is_held(tmp_path / "machine.gate"):
        pass
    behind = taken(late, False, "late")
    assert order == []
    early.give(next_alone=False)
    waiting.join()
    alone.give(next_alone=True)
    assert is_held(tmp_path / "machine.lock")
    assert order == ["alone"]
    alone.give(next_alone=False)
    behind.join()
    assert order == ["alone", "late"]


def test_those_that_are_not_alone_share(tmp_path: Path):
    one, other = Machine(tmp_path), Machine(tmp_path)
    one.take(alone=False)
    other.take(alone=False)
    one.give(next_alone=False)
    assert is_held(tmp_path / "machine.lock")
    other.give(next_alone=False)
    assert not is_held(tmp_path / "machine.lock")


class Item:
    def __init__(self, file: str, *marks: str) -> None:
        self.path = Path(file)
        self.marks = marks

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


def test_files_come_whole_and_the_dearest_first():
    items = [
        Item("unit"),
        Item("mixed"),
        Item("measures", "integration", "alone"),
        Item("mixed", "integration"),
        Item("engine", "integration", "vllm"),
    ]
    arrange(items)  # type: ignore[arg-type]
    assert [str(item.path) for item in items] == ["measures", "engine", "mixed", "mixed", "unit"]
