from __future__ import annotations

from pathlib import Path

from headrace.node.log import LogFollower, tail


def test_a_follower_hands_out_every_whole_line_once(tmp_path: Path):
    path = tmp_path / "log"
    follower = LogFollower(path)
    assert follower.new_lines() == []
    path.write_text("one\ntwo\nthr")
    assert follower.new_lines() == ["one", "two"]
    with path.open("a") as log:
        log.write("ee\n")
    assert follower.new_lines() == ["three"]
    assert follower.new_lines() == []


def test_a_line_without_end_does_not_stop_a_follower(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * (1024 * 1024) + b"\nlast\n")
    follower = LogFollower(path)
    assert len(follower.new_lines()[0]) == 1024 * 1024
    assert follower.new_lines()[-1] == "last"


def test_the_tail_leaves_out_what_an_earlier_start_wrote(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("old\nnew 1\nnew 2\n")
    assert tail(path, 10, offset=4) == ["new 1", "new 2"]
    assert tail(path, 1) == ["new 2"]
    assert tail(tmp_path / "absent", 1) == []
