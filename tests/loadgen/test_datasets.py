"""Datasets and traces of other tools, and what is sent for them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.loadgen.datasets import check_samples, load_dataset
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.job import Job
from headrace.loadgen.samples import Sample, read_samples, write_samples
from headrace.loadgen.share import make_jobs
from headrace.loadgen.source import make_source
from headrace.loadgen.spec import make_spec

MOONCAKE = (
    '{"timestamp": 1000, "input_length": 600, "output_length": 10, "hash_ids": [1, 2]}\n'
    '{"timestamp": 3500, "input_length": 700, "output_length": 12, "hash_ids": [1, 3]}\n'
)
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,GPT-4,1087,230,1317,API log
118,GPT-4,417,0,417,API log
"""
NEWER_BURST = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Log Type
5,17,1.5,ChatGPT,472,18,Conversation log
45.5,,2.5,GPT-4,1087,230,API log

"""
SHARE = [
    {
        "id": "a",
        "conversations": [
            {"from": "system", "value": "be kind"},
            {"from": "human", "value": "how are you"},
            {"from": "gpt", "value": "fine thanks"},
            {"from": "human", "value": "good"},
            {"from": "gpt", "value": "yes"},
            {"from": "human", "value": "unanswered"},
        ],
    },
    {"id": "b", "conversations": [{"from": "gpt", "value": "nobody asked"}]},
]


def words(text: str) -> int:
    return len(text.split())


def read(tmp_path: Path, text: str, kind: str = "auto", **options: Any) -> list[Sample]:
    path = tmp_path / "data"
    path.write_text(text)
    return load_dataset(path, kind, options.get("count"))


def job(tmp_path: Path, samples: list[Sample], index: int = 0, **changes: Any) -> Job:
    values = {"model": "m", "input_tokens": 8, "output_tokens": 4, "concurrency": 2}
    spec = make_spec(urls=["http://h"], **{**values, "requests": 9, **changes})
    path = tmp_path / "samples.jsonl"
    write_samples(samples, path)
    made = make_jobs(spec, [Endpoint("h", 80, False, "")], tmp_path, samples=path)[0]
    return replace(made, index=index)


def bodies(told: Job, count: int) -> list[Any]:
    source = make_source(told)
    return [json.loads(source.next().body()) for _ in range(count)]


def test_mooncake(tmp_path: Path) -> None:
    samples = read(tmp_path, MOONCAKE)
    assert [(s.prompt_tokens, s.answer_tokens, s.at_s) for s in samples] == [
        (600, [10], 0.0),
        (700, [12], 2.5),
    ]
    one, two = (body["prompt"] for body in bodies(job(tmp_path, samples), 2))
    assert (len(one), len(two)) == (600, 700)
    assert one[:512] == two[:512]
    assert one[512:] != two[512:600]


@pytest.mark.parametrize("file", [BURST, NEWER_BURST])
def test_burstgpt_leaves_out_failures(tmp_path: Path, file: str) -> None:
    samples = read(tmp_path, file)
    assert [(s.prompt_tokens, s.answer_tokens, s.at_s) for s in samples] == [
        (472, [18], 0.0),
        (1087, [230], 40.5),
    ]


def test_sharegpt_with_and_without_counting(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, json.dumps(SHARE), count=words)
    assert sample.said == ["how are you", "good"]
    assert sample.answer_tokens == [2, 1]
    assert sample.messages == [{"role": "system", "content": "be kind"}]
    (plain,) = read(tmp_path, "\n".join(map(json.dumps, SHARE)))
    assert plain.answer_tokens == [0, 0]


def test_a_recorded_conversation_goes_on_with_the_real_answers(tmp_path: Path) -> None:
    samples = read(tmp_path, json.dumps(SHARE), count=words)
    source = make_source(job(tmp_path, samples, endpoint="chat", think_s=2.0))
    ask = source.next()
    first = json.loads(ask.body())
    assert [m["content"] for m in first["messages"]] == ["be kind", "how are you"]
    assert (first["max_tokens"], ask.keeps_text) == (2, True)
    follow = source.follow(ask, "really fine")
    assert follow is not None
    pause_s, later = follow
    assert pause_s >= 0
    second = json.loads(later.body())
    assert [m["content"] for m in second["messages"][2:]] == ["really fine", "good"]
    assert (second["max_tokens"], later.turn, later.keeps_text) == (1, 1, False)
    assert source.follow(later, "") is None


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ({"prompt": "hi there", "output_tokens": 7}, {"prompt": "hi there", "max_tokens": 7}),
        ({"prompt": [5, 6, 7], "output_len": 3}, {"prompt": [5, 6, 7], "max_tokens": 3}),
        ({"question": "why"}, {"prompt": "why", "max_tokens": 4}),
    ],
)
def test_any_jsonl(tmp_path: Path, line: dict[str, Any], body: dict[str, Any]) -> None:
    samples = read(tmp_path, json.dumps(line))
    (sent,) = bodies(job(tmp_path, samples), 1)
    assert body.items() <= sent.items()


def test_lengths_alone_and_messages(tmp_path: Path) -> None:
    (sent,) = bodies(job(tmp_path, read(tmp_path, '{"isl": 33, "osl": 5}')), 1)
    assert (len(sent["prompt"]), sent["max_tokens"]) == (33, 5)
    chat = read(tmp_path, '{"messages": [{"role": "user", "content": "x"}], "timestamp": 1.5}')
    (sent,) = bodies(job(tmp_path, chat, endpoint="chat"), 1)
    assert sent["messages"] == [{"role": "user", "content": "x"}]


def test_workers_share_the_samples(tmp_path: Path) -> None:
    samples = [Sample(ids=[number], answer_tokens=[1]) for number in range(5)]
    told = [job(tmp_path, samples, index, processes=2) for index in (0, 1)]
    assert [b["prompt"] for b in bodies(told[0], 4)] == [[0], [2], [4], [0]]
    assert [b["prompt"] for b in bodies(told[1], 3)] == [[1], [3], [1]]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("{", "jsonl", "data:1: not JSON"),
        ('{"x": 1}', "auto", "neither a prompt nor a length"),
        ('{"isl": "many"}', "auto", "isl: expected a number"),
        ('{"timestamp": 0, "input_length": 5, "hash_ids": []}', "mooncake", "output_length"),
        ("a,b\n1,2\n", "auto", "no column 'Timestamp'"),
        ("[{", "auto", "not JSON"),
        ("[]", "auto", "no usable sample"),
        (BURST.replace("472", "x"), "auto", "data:2: expected numbers"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, text: str, kind: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, text, kind)


def test_chats_need_the_chat_endpoint_and_ids_the_other(tmp_path: Path) -> None:
    chats = [Sample(messages=[{"role": "user", "content": "x"}])]
    with pytest.raises(InputError, match="it holds chats"):
        check_samples(chats, tmp_path, chat=False)
    with pytest.raises(InputError, match="takes no token ids"):
        check_samples([Sample(ids=[1])], tmp_path, chat=True)


def test_samples_survive_their_file(tmp_path: Path) -> None:
    samples = [Sample(3, [4], 0.5, ["a"], [{"role": "user"}], [1], [2]), Sample()]
    write_samples(samples, tmp_path / "s")
    assert read_samples(tmp_path / "s") == samples
