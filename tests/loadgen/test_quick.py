"""The compiled way through usual packets says yes only where Python's does."""

import json
import random
import string

import numpy as np
import pytest

from headrace.loadgen.client import LARGEST, NONE, OPENINGS, TAIL
from headrace.loadgen.exchange import Exchange
from headrace.loadgen.fast.chunk import brings_one_token

pytestmark = pytest.mark.compute

TEXT = {
    "id": "cmpl-6b1f0c2d9a3e4f58",
    "object": "text_completion",
    "created": 1770000000,
    "model": "model",
    "choices": [
        {
            "index": 0,
            "text": " water",
            "logprobs": None,
            "finish_reason": None,
            "stop": [-0.5, 1.25],
        }
    ],
    "usage": None,
}
CHAT = TEXT | {"choices": [{"index": 0, "delta": {"content": ' wa"\\\n\x01ter', "role": None}}]}
LLAMA_CPP = (
    '{"content":"x","choices":[{"finish_reason":null,"index":0,"text":"\\u0041\\/"}],"a":[{},[]]}'
)
USUAL = {
    "text": [json.dumps(TEXT), json.dumps(TEXT, separators=(",", ":")), LLAMA_CPP],
    "chat": [json.dumps(CHAT), json.dumps(CHAT, separators=(",", ":"))],
}
JUNK = [
    *(
        '"',
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\t",
        "\r",
        "\n",
        "null",
        "true",
        "0",
        "-",
        ".",
    ),
    *(
        '"usage":{}',
        '"usage":null,',
        '"choices":[],',
        '"text":1,',
        '"text":"",',
        "\\ud800",
        "\\u00zz",
    ),
    *(
        "01",
        "1e5",
        "\x00",
        "ä",
        "\x7f",
        '"content":"",',
        '{"text":"b"},',
        "falsy",
        "d",
        "\\x",
        "--1",
    ),
]
"""What a mutation puts somewhere."""


def framed(payload: bytes) -> bytes:
    event = b"data: %b\n\n" % payload
    return b"%x\r\n%b\r\n" % (len(event), event)


def slow(packet: bytes, *, chat: bool) -> bool:
    """What `Stream.received` does with a packet between two chunks."""
    size = len(packet)
    opening = OPENINGS[size] if size <= LARGEST else NONE
    start = len(opening)
    usual = (
        packet.startswith(opening)
        and packet.find(b"\n", start) == size - 4
        and packet.find(b"\r", start) == size - 2
        and packet.endswith(TAIL)
    )
    exchange = Exchange(chat=chat, exact=True)
    return usual and exchange.brings_token(packet[start:-4])


def quick(packet: bytes, *, chat: bool) -> bool:
    data = np.frombuffer(packet + b'"' * 64, np.uint8)  # what lies behind it does not count
    return bool(brings_one_token(data, len(packet), chat))


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_usual_packets_are_taken_in(kind: str) -> None:
    for payload in USUAL[kind]:
        assert quick(framed(payload.encode()), chat=kind == "chat"), payload
        assert slow(framed(payload.encode()), chat=kind == "chat")


@pytest.mark.parametrize(
    "rare", ['"text":"\u00e4"', '"text":"\\ud83d\\ude00"', '"a":1e5', '"t\\u0065":1']
)
def test_rare_packets_are_left_to_python(rare: str) -> None:
    packet = framed(b'{"choices":[{%b}]}' % rare.encode())
    assert slow(packet, chat=False)
    assert not quick(packet, chat=False)


@pytest.mark.parametrize(
    "payload",
    [
        '{"choices":[]}',
        '{"choices":[{"text":"a"}],"usage":{"prompt_tokens":1}}',
        '{"choices":[{"text":"a"}],"choices":[]}',
        '{"choices":[{"text":5}]}',
        '{"choices":[[]]}',
        '{"choices":{"text":"a"}}',
        '{"choices":[{"text":"a"}]',
        '{"choices":[{"text":"a"}]}}',
        '{"choices":[{"text":"a"},]}',
        '{"choices":[{"text":"a",}]}',
        '{"choices":[{"text":"a"}] "x":1}',
        '{"choices":[{"text":"a"}],"x":01}',
        '{"choices":[{"text":"a"}],"x":nul}',
        '{"cho\\u0069ces":[{"text":"a"}]}',
        '{"x":{"choices":[{"text":"a"}]}}',
        '[{"choices":[{"text":"a"}]}]',
        '{"error":"out of memory"}',
        "[DONE]",
        "",
    ],
)
def test_other_packets_are_not(payload: str) -> None:
    assert not quick(framed(payload.encode()), chat=False)


@pytest.mark.parametrize(
    "delta", ["{}", '{"content":""}', '{"content":null}', '{"reasoning_content":"a"}', "null", "[]"]
)
def test_chat_chunks_without_content_are_not(delta: str) -> None:
    payload = b'{"choices":[{"delta":%b}]}' % delta.encode()
    assert not quick(framed(payload), chat=True)


def test_frames_that_are_not_quite_right_are_not_taken_in() -> None:
    good = framed(USUAL["text"][1].encode())
    assert quick(good, chat=False) == slow(good, chat=False)
    for packet in (good[:-1], good + b"0", b"0" + good, good.upper(), good[1:], good + good, b""):
        assert not quick(packet, chat=False)


def mutated(source: random.Random, payload: str) -> str:
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(payload) + 1)
        gone = source.choice([0, 0, 1, 1, 2, 9])
        put = source.choice([*JUNK, "", source.choice(string.printable)])
        payload = payload[:at] + put + payload[at + gone :]
    return payload


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_what_is_taken_in_brings_a_token_for_python_too(kind: str) -> None:
    source, chat = random.Random(7), kind == "chat"
    said = [0, 0]
    for _ in range(100_000):
        payload = source.choice(USUAL[kind])
        packet = framed(mutated(source, payload).encode())
        if source.random() < 0.1:
            at = source.randrange(len(packet))
            packet = packet[:at] + source.randbytes(1) + packet[at + 1 :]
        taken, wanted = quick(packet, chat=chat), slow(packet, chat=chat)
        assert wanted or not taken, packet
        said[taken] += 1
    assert min(said) > 5_000
