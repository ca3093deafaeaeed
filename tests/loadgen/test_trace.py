"""A file of requests as a workload: what is read of it, what is planned with it, what is sent."""

import json
from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InputError
from headrace.loadgen.samples import BLOCK_TOKENS
from headrace.loadgen.trace import SAMPLE, read_trace
from headrace.proof.compare import bench_spec
from headrace.runs import fleet_text
from headrace.spec.load import load_fleet

NO_MODEL = Path("no-model")
FLEET = """
model: Qwen/Qwen3.5-27B-FP8
hardware: {{gpu: B200, gpus_per_node: 4}}
workload: {{trace: trace.jsonl{more}}}
gateway: {{policy: {policy}}}
engine: {{args: {{max_num_batched_tokens: 8192, tensor_parallel_size: 1, max_num_seqs: 64}}}}
"""


def mooncake(*rows):
    """Rows of (ms, blocks, answer tokens); prompts are whole blocks."""
    return "\n".join(
        json.dumps(
            {
                "timestamp": at_ms,
                "input_length": BLOCK_TOKENS * len(blocks),
                "output_length": answer,
                "hash_ids": blocks,
            }
        )
        for at_ms, blocks, answer in rows
    )


def written(tmp_path, text, name="trace.jsonl"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_was_sent_before_is_known_and_as_old_as_what_was_written_since(tmp_path):
    rows = [(0, [1, 2], 100), (1000, [3], 50), (2000, [1, 2, 4], 10)]
    traced = read_trace(written(tmp_path, mooncake(*rows)), "auto", NO_MODEL)
    by_prompt = dict(zip(traced.prompts, zip(traced.known, traced.ages, strict=True), strict=True))
    assert by_prompt[BLOCK_TOKENS] == (0, 0)
    assert by_prompt[3 * BLOCK_TOKENS] == (2 * BLOCK_TOKENS, BLOCK_TOKENS + 50)
    assert traced.request_s == pytest.approx(1.0)
    assert traced.longest_tokens == 3 * BLOCK_TOKENS + 10


def test_a_long_file_is_sampled_with_its_mean(tmp_path):
    lengths = [(7 * i) % 4000 + 1 for i in range(9001)]
    lines = [json.dumps({"input_tokens": n, "output_tokens": 1 + n % 50}) for n in lengths]
    traced = read_trace(written(tmp_path, "\n".join(lines)), "auto", NO_MODEL)
    assert (traced.requests, len(traced.prompts), traced.request_s) == (9001, SAMPLE, None)
    assert sum(traced.prompts) / SAMPLE == pytest.approx(sum(lengths) / len(lengths), rel=0.002)


def test_turns_of_a_conversation_follow_each_other(tmp_path):
    said = [{"from": who, "value": "time " * 4} for who in ("human", "gpt") * 2]
    path = written(tmp_path, json.dumps([{"conversations": said}]), "chat.json")
    with pytest.raises(InputError, match="request 1 in order of time: how long its prompt"):
        read_trace(path, "auto", NO_MODEL)


def test_a_faulty_row_is_named_with_the_line_of_the_fleet_file(tmp_path):
    good = mooncake((0, [1], 5))
    written(tmp_path, f'{good}\n{{"input_length": -3, "output_length": 1, "hash_ids": []}}')
    file = written(tmp_path, FLEET.format(more="", policy="none"), "fleet.yaml")
    with pytest.raises(InputError, match=r"fleet.yaml:4:\d+: workload.trace: .*trace.jsonl:2: inp"):
        load_fleet(file)
    (tmp_path / "trace.jsonl").unlink()
    with pytest.raises(InputError, match="no such file"):
        load_fleet(file)
    both = FLEET.format(more=", input_tokens: 5", policy="none")
    with pytest.raises(InputError, match="input_tokens: follows from the trace"):
        load_fleet(written(tmp_path, both, "fleet.yaml"))


def talks(count):
    """Conversations of four turns, eight at a time; every turn adds two blocks."""
    rows, at_ms = [], 0
    for talk in range(count):
        for turn in range(4):
            at_ms = (talk // 8 * 4 + turn) * 8 + talk % 8
            blocks = [100 * talk + place for place in range(2 * turn + 2)]
            rows.append((at_ms, blocks, 64))
    return mooncake(*sorted(rows))


@pytest.mark.compute
def test_the_plan_has_the_traces_rate_and_reuse_and_the_load_is_the_trace(tmp_path):
    written(tmp_path, talks(256))
    rates = {}
    for policy in ("prefix-affinity", "least-request"):
        text = FLEET.format(more=", request_rate: 20", policy=policy)
        plan = plan_for(load_fleet(written(tmp_path, text, "fleet.yaml")))
        rates[policy] = plan.chosen.prediction.prefix_hit_rate
    assert rates["least-request"] < rates["prefix-affinity"] / 2
    assert rates["prefix-affinity"] > 0.2
    assert plan.chosen.prediction.request_s >= 19.9
    again = load_fleet(written(tmp_path, fleet_text(plan.fleet), "again.yaml"))
    assert again == plan.fleet
    spec = bench_spec(plan, ["http://127.0.0.1:1"], 5.0, None)
    assert spec.dataset == tmp_path / "trace.jsonl"
    assert spec.replay_speed == pytest.approx(20 / plan.fleet.workload.traced.request_s)
