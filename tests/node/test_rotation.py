from __future__ import annotations

from pathlib import Path

from headrace.node.log import LogFollower, tail
from headrace.node.rotation import rotate


def test_a_log_that_is_written_on_is_cut(tmp_path: Path):
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as program:
        program.write(b"one\n" * 10)
        follower = LogFollower(log)
        assert len(follower.new_lines()) == 10
        assert not rotate(log, max_bytes=1000)
        assert rotate(log, max_bytes=10)
        program.write(b"two\n")
        assert follower.new_lines() == ["two"]
        assert tail(log, 5, offset=30) == ["two"]
        assert rotate(log, max_bytes=1)
        program.write(b"three\n")
    assert log.read_text() == "three\n"
    assert (tmp_path / "log.1").read_text() == "two\n"
    assert (tmp_path / "log.2").read_text() == "one\n" * 10
    assert not rotate(tmp_path / "absent")
