from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.loadgen.sse import MAX_PENDING_BYTES, SseOverflowError, SseParser

STREAM = (
    b"\r\n: a comment\r\n\r\ndata: one\n\nevent: x\rid: 7\rdata:two\r\rdata: a\r\ndata: b\r\n\r\n"
    b"data\n\ndata: \xf0\x9f\x8c\x8a\n\n:\n\nretry: 5\ndata: [DONE]\n\n"
)
EVENTS = [b"one", b"two", b"a\nb", b"", b"\xf0\x9f\x8c\x8a", b"[DONE]"]


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=30))
def test_events_are_the_same_however_the_bytes_are_split(places: list[int]) -> None:
    edges = [0, *sorted(places), len(STREAM)]
    parser = SseParser()
    found = [event for start, end in pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert found == EVENTS


@given(st.binary(max_size=60), st.integers(0, 60))
def test_the_short_cut_gives_what_the_whole_parser_gives(data: bytes, at: int) -> None:
    whole, split = SseParser(), SseParser()
    event = b"data: " + data + b"\n\n"
    assert whole.feed(event) == split.feed(event[:at]) + split.feed(event[at:])


def test_clean_only_between_events() -> None:
    parser = SseParser()
    assert parser.clean
    parser.feed(b"data: a\n")
    assert not parser.clean
    parser.feed(b"\n")
    assert parser.clean
    parser.feed(b"data: a\r\n\r")
    assert not parser.clean


def test_a_body_without_line_ends_is_refused() -> None:
    parser = SseParser()
    parser.feed(b"x" * MAX_PENDING_BYTES)
    with pytest.raises(SseOverflowError):
        parser.feed(b"x")
