"""What synthetic requests look like: lengths, prefixes, adapters, headers, words, conversations."""

import json
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.loadgen.closed import _lanes
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.head import request_heads
from headrace.loadgen.schedule import refill_sizes
from headrace.loadgen.share import make_jobs, worker_cpus
from headrace.loadgen.source import Source, make_source
from headrace.loadgen.spec import make_spec
from headrace.loadgen.words import COMMON, Words
from headrace.spec.lengths import Uniform
from tests.loadgen.test_input import VALUES, job


def source(tmp_path: Path, **changes: Any) -> Source:
    return make_source(job(tmp_path, **changes))


def sent(made: Source, count: int) -> list[Any]:
    return [json.loads(made.next().body()) for _ in range(count)]


def test_lengths_are_drawn_and_said(tmp_path: Path) -> None:
    made = source(
        tmp_path, input_tokens=Uniform(low=10, high=50), output_tokens=Uniform(low=1, high=9)
    )
    asks = [made.next() for _ in range(2000)]
    assert all(len(json.loads(a.body())["prompt"]) == a.prompt_tokens for a in asks[:50])
    assert fmean(a.prompt_tokens for a in asks) == pytest.approx(30, rel=0.05)
    assert fmean(a.output_tokens for a in asks) == pytest.approx(5, rel=0.05)


def test_groups_of_prefixes(tmp_path: Path) -> None:
    bodies = sent(source(tmp_path, prefix_hit_rate=0.5, prefix_groups=4), 200)
    beginnings = Counter(tuple(body["prompt"][:50]) for body in bodies)
    assert len(beginnings) == 4
    assert min(beginnings.values()) > 20
    assert len({tuple(body["prompt"][50:60]) for body in bodies}) == 200


def test_adapters_take_turns(tmp_path: Path) -> None:
    bodies = sent(source(tmp_path, loras=["sql", "chat"]), 6)
    assert Counter(body["model"] for body in bodies) == {"sql": 3, "chat": 3}


def test_further_fields_and_early_stops(tmp_path: Path) -> None:
    (body,) = sent(source(tmp_path, body={"top_p": 0.5}, ignore_eos=False), 1)
    assert body["top_p"] == 0.5
    assert "ignore_eos" not in body


def test_words_of_one_token_make_text_of_known_length(tmp_path: Path) -> None:
    spec = make_spec(**{**VALUES, "tokenizer": "server", "endpoint": "chat"})
    words = Words(list(COMMON[:30]), overhead_tokens=7)
    made = make_source(make_jobs(spec, [], tmp_path, words=words)[0])
    ask = made.next()
    (message,) = json.loads(ask.body())["messages"]
    assert (len(message["content"].split()), ask.prompt_tokens) == (93, 100)


def test_conversations_repeat_what_was_said(tmp_path: Path) -> None:
    made = source(tmp_path, endpoint="chat", turns=3, think_s=1.0)
    ask, sizes, pauses = made.next(), [], []
    while True:
        sizes.append(len(json.loads(ask.body())["messages"]))
        follow = made.follow(ask, "an answer")
        if follow is None:
            break
        pauses.append(follow[0])
        ask = follow[1]
    assert sizes == [1, 3, 5]
    assert json.loads(ask.body())["messages"][3]["content"] == "an answer"
    assert len(set(pauses)) == 2


def test_a_shortened_ask_ends_its_conversation(tmp_path: Path) -> None:
    ask = source(tmp_path, endpoint="chat", turns=3).next()
    ask.shorten(2)
    assert (ask.output_tokens, ask.keeps_text) == (2, False)


def test_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "s3cret")
    headers = {"headers": {"X-Team": "a", "user-agent": "me"}}
    told = job(tmp_path, header_envs={"X-Api-Key": "MY_SECRET"}, **headers)
    (head,) = request_heads(told, None)
    assert b"X-Team: a\r\n" in head
    assert b"X-Api-Key: s3cret\r\n" in head
    assert head.lower().count(b"user-agent") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"headers": {"Authorization": "Bearer x"}}, "can be read by others"),
        ({"headers": {"Host": "x"}}, "sets this header itself"),
        ({"headers": {"a b": "x"}}, "not a header"),
        ({"headers": {"a": "x\r\ny: z"}}, "not a header"),
        ({"body": {"stream": False}}, "set by other options"),
        ({"turns": 2}, "need --endpoint chat"),
        ({"replay_speed": 1.0}, "expected a trace"),
        ({"request_rate_to": 5.0}, "--rate-to"),
        ({"ramp_s": 1.0, "start": "together"}, "--ramp"),
        ({"refill": 2, "concurrency": None, "request_rate": 1.0}, "--refill: needs --conc"),
        ({"refill": 9, "concurrency": 8}, "more than the 8 requests in flight"),
        ({"refill": 3, "urls": ["http://a", "http://b"]}, "a multiple of the 2 servers"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_spec(**{**VALUES, **changes})


@pytest.mark.parametrize(
    ("servers", "processes", "workers"), [(1, 4, 1), (2, 4, 2), (4, 3, 2), (3, 8, 3)]
)
def test_lanes_that_go_on_together_are_in_one_process(
    tmp_path: Path, servers: int, processes: int, workers: int
) -> None:
    urls = [f"http://h{number}" for number in range(servers)]
    told = {"urls": urls, "processes": processes, "refill": 12, "concurrency": 24}
    spec = make_spec(**{**VALUES, **told})
    endpoints = [Endpoint(f"h{number}", 80, False, "") for number in range(servers)]
    jobs = make_jobs(spec, endpoints, tmp_path)
    assert len(jobs) == workers
    lanes = [_lanes(job, 24) for job in jobs]
    homes = [{lane.url for lane in of_one} for of_one in lanes]
    assert sum(map(len, homes)) == len(set.union(*homes)) == servers
    assert refill_sizes(24, 12, servers) == [12 // servers] * servers


def test_processors() -> None:
    assert worker_cpus([3, 5], 4) == [3, 5]
    assert worker_cpus([], 1) == []
