import json
from dataclasses import replace
from typing import Any

import pytest

from headrace.errors import HeadraceError, InputError
from headrace.loadgen.endpoint import Endpoint, parse_endpoint, resolve
from headrace.loadgen.head import request_heads
from headrace.loadgen.job import Job, decode, encode
from headrace.loadgen.share import make_jobs
from headrace.loadgen.source import make_source
from headrace.loadgen.spec import make_spec

VALUES: dict[str, Any] = {
    "urls": ["http://127.0.0.1:8000"],
    "model": "m",
    "input_tokens": 100,
    "output_tokens": 8,
    "concurrency": 4,
    "requests": 10,
}


def job(tmp_path: Any, **changes: Any) -> Job:
    spec = make_spec(**{**VALUES, **changes})
    endpoints = [parse_endpoint(url) for url in spec.urls]
    return make_jobs(spec, endpoints, tmp_path)[0]


def written(told: Job, count: int = 1) -> list[dict[str, Any]]:
    """The next request bodies of a worker."""
    source = make_source(told)
    return [json.loads(source.next().body()) for _ in range(count)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"concurrency": None}, "--concurrency or --rate"),
        ({"request_rate": 2.0}, "got both"),
        ({"duration_s": 2.0}, "--requests or --duration"),
        ({"input_tokens": 0}, "--input-tokens 0"),
        ({"concurrency": None, "request_rate": -1.0}, "--rate -1.0"),
        ({"endpoint": "poem"}, "--endpoint 'poem'"),
        ({"token_ids": (5, 5)}, "token_ids"),
        ({"slo": {"ttft": 1.0}}, "unknown goal ttft"),
    ],
)
def test_a_wrong_spec_names_the_option(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make_spec(**{**VALUES, **changes})


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:8000", Endpoint("h", 8000, False, "")),
        ("http://h:8000/v1/", Endpoint("h", 8000, False, "")),
        ("https://api.example.com/openai/v1", Endpoint("api.example.com", 443, True, "/openai")),
        ("http://[::1]:80/", Endpoint("::1", 80, False, "")),
    ],
)
def test_base_urls(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize(
    "url", ["h:8000", "ftp://h", "http://", "http://h:99999", "http://h/?a=b", "http://h/a b"]
)
def test_a_malformed_url_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="--url"):
        parse_endpoint(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        parse_endpoint("http://me:s3cret@h:80")
    assert "s3cret" not in str(caught.value)


def test_an_unknown_host_says_so() -> None:
    with pytest.raises(HeadraceError, match="does not resolve"):
        resolve(parse_endpoint("http://no-such-host.invalid"))


def test_prompts_have_the_exact_length_and_differ(tmp_path: Any) -> None:
    bodies = written(job(tmp_path), 2)
    assert [len(body["prompt"]) for body in bodies] == [100, 100]
    assert [body["max_tokens"] for body in bodies] == [8, 8]
    assert bodies[0]["prompt"][:32] != bodies[1]["prompt"][:32]
    assert all(100 <= token < 1000 for token in bodies[0]["prompt"])
    assert bodies[0]["ignore_eos"] is True
    assert bodies[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("tokens", [1, 31, 32, 33])
def test_short_prompts(tmp_path: Any, tokens: int) -> None:
    (body,) = written(job(tmp_path, input_tokens=tokens))
    assert len(body["prompt"]) == tokens


def test_all_workers_share_the_prefix_and_nothing_after_it(tmp_path: Any) -> None:
    one = job(tmp_path, prefix_hit_rate=0.5, processes=2)
    two = replace(one, index=1)
    prompts = [written(j)[0]["prompt"] for j in (one, one, two)]
    assert len(prompts[0]) == 100
    assert prompts[0][:50] == prompts[1][:50] == prompts[2][:50]
    assert prompts[0] == prompts[1]  # the same seed and worker give the same prompts
    assert prompts[0][50:60] != prompts[2][50:60]


def test_chat_sends_words(tmp_path: Any) -> None:
    (body,) = written(job(tmp_path, endpoint="chat"))
    assert len(body["messages"][0]["content"].split()) == 100


def test_the_key_is_in_the_head_only(tmp_path: Any) -> None:
    told = job(tmp_path, api_key_env="KEY_VARIABLE")
    assert b"Authorization: Bearer k3y\r\n" in request_heads(told, "k3y")[0]
    assert b"Authorization" not in request_heads(told, None)[0]


def test_a_job_survives_the_pipe(tmp_path: Any) -> None:
    told = job(tmp_path)
    assert decode(encode(told)) == told


def test_no_more_workers_than_requests_in_flight(tmp_path: Any) -> None:
    spec = make_spec(**{**VALUES, "processes": 9})
    assert len(make_jobs(spec, [], tmp_path)) == 4
