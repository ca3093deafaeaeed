from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.spec.load import MAX_BYTES, load_fleet, parse_fleet, where

MINIMAL = "model: Qwen/Qwen3.5-27B-FP8\nhardware: {gpu: B200}\n"


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_fleet(text, "fleet.yaml")
    assert caught.value.exit_status == 2
    assert caught.value.hint
    return str(caught.value)


def with_part(part: str, line: str) -> str:
    """A correct file with one more line in one more part: the line is line 4."""
    return f"{MINIMAL}{part}:\n  {line}\n"


def test_all_but_model_and_gpu_have_defaults():
    fleet = parse_fleet(MINIMAL, "fleet.yaml")

    assert (fleet.hardware.nodes, fleet.hardware.gpus) == (1, 1)
    assert (fleet.workload.input_tokens, fleet.workload.concurrency) == (1024, "auto")
    assert (fleet.engine.kind, fleet.engine.version) == ("vllm", "0.33.0")
    assert (fleet.gateway.policy, fleet.target.kind) == ("least-request", "local")
    assert fleet.slo.ttft_p99_ms is None


def test_a_part_whose_lines_are_all_commented_out_keeps_its_defaults():
    text = MINIMAL + "slo:\n  # ttft_p99_ms: 1\nengine:\n  args:\n"
    assert parse_fleet(text, "f") == parse_fleet(MINIMAL, "f")


@pytest.mark.parametrize("typed", ["0.30", "0.33", "0.18.0", "'0.30'"])
def test_versions_are_kept_as_typed(typed):
    fleet = parse_fleet(with_part("engine", f"version: {typed}"), "f")
    assert fleet.engine.version == typed.strip("'")


def test_text_fields_keep_numbers_as_typed():
    text = MINIMAL + "name: 007\nengine: {env: {A: 1.50, B: true, C: x}}\n"
    fleet = parse_fleet(text, "f")

    assert fleet.name == "007"
    assert fleet.engine.env == {"A": "1.50", "B": "true", "C": "x"}


def test_engine_options_have_one_spelling_and_keep_their_types():
    options = "args: {--max-num-seqs: 256, enforce_eager: true, rate: 1e-1, s: {a-b: [1]}}"
    fleet = parse_fleet(with_part("engine", options), "f")
    assert fleet.engine.args == {
        "max_num_seqs": 256,
        "enforce_eager": True,
        "rate": 0.1,
        "s": {"a-b": [1]},
    }


@pytest.mark.parametrize(
    ("part", "line", "place", "says"),
    [
        ("slo", "tpot_p99: 3", "4:3: slo.tpot_p99", "did you mean `tpot_p99_ms`?"),
        ("slo", "foo: 3", "4:3: slo.foo", "Allowed here: ttft_p50_ms, ttft_p90_ms"),
        ("slo", "tpot_p99_ms: 0", "4:16: slo.tpot_p99_ms", "a number above 0; got 0"),
        ("slo", "tpot_p99_ms: .inf", "4:16: slo.tpot_p99_ms", "a number above 0; got .inf"),
        ("slo", "tpot_p99_ms: [1]", "4:16: slo.tpot_p99_ms", "a number above 0; got a list"),
        ("workload", "input_tokens: '9'", "4:17: workload.input_tokens", "take the quotes off"),
        ("workload", "input_tokens: 1k", "4:17: workload.input_tokens", "values, weights; got 1k"),
        ("workload", "input_tokens: 1.5", "4:17: workload.input_tokens", "got 1.5"),
        ("workload", "input_tokens: true", "4:17: workload.input_tokens", "got true"),
        ("workload", "input_tokens:", "4:16: workload.input_tokens", "got nothing"),
        ("workload", "prefix_hit_rate: 1", "4:20: workload.prefix_hit_rate", "from 0 to below 1"),
        ("workload", "concurrency: many", "4:16: workload.concurrency", "`auto`, or a whole"),
        ("workload", "acceptance: {mtp: 2}", "4:21: workload.acceptance.mtp", "from 0 to 1; got 2"),
        ("workload", "acceptance: {eagle: 0.5}", "4:16: workload.acceptance.eagle", "here: mtp"),
        ("engine", "kind: vLLM", "4:9: engine.kind", "did you mean vllm?"),
        ("engine", "kind: 7", "4:9: engine.kind", "one of vllm, simulated; got 7"),
        ("engine", "version: latest", "4:12: engine.version", "text such as 0.33.0; got latest"),
        ("engine", "planned: no", "4:12: engine.planned", "true or false; got no; write false"),
        ("engine", "env: {A: [1]}", "4:12: engine.env.A", "expected text; got a list"),
        ("engine", "args: {a: off}", "4:13: engine.args.a", "write false, or \"off\""),
        ("engine", "args: {a: [x, yes]}", "4:17: engine.args.a.1", "write true"),
        ("engine", "args: {a: }", "4:10: engine.args.a", "write true for a switch"),
        ("engine", "args: {a-b: 1, a_b: 2}", "4:18: engine.args.a_b", "same option as `a-b`"),
        ("engine", "args: {max-model-len: 1000}", "4:25: engine.args.max-model-len", "1536 or"),
        ("engine", "args: {api-key: x}", "4:10: engine.args.api-key", "looks like a secret"),
        ("engine", "env: {HF_TOKEN: x}", "4:9: engine.env.HF_TOKEN", "looks like a secret"),
        ("engine", "env: {A: 1, A: 2}", "4:15: engine.env.A", "given twice"),
    ],
)  # fmt: skip
def test_one_problem_names_file_line_field_and_what_was_expected(part, line, place, says):
    message = refusal(with_part(part, line))
    assert message.startswith(f"fleet.yaml:{place}: ")
    assert says in message


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("hardware: {gpu: B200}\n", "1:1: model", "missing"),
        ("model: x\n", "1:1: hardware", "add a line such as `hardware: {gpu: B200}`"),
        ("model: x\nhardware: {nodes: 2}\n", "2:1: hardware.gpu", "missing"),
        ("model: x\nhardware:\n", "2:1: hardware.gpu", "missing"),
        ("model:\nhardware: {gpu: B}\n", "1:7: model", "got nothing"),
        ("model: x\nhardware: B200\n", "2:11: hardware", "a mapping with gpu, nodes"),
        (MINIMAL + "name: Über\n", "3:7: name", "text such as qwen35-27b"),
        (MINIMAL + "gpu: B200\n", "3:1: gpu", "it belongs under `hardware:`"),
    ],
)
def test_the_two_fields_without_a_default_and_the_top_level(text, place, says):
    message = refusal(text)
    assert message.startswith(f"fleet.yaml:{place}: ")
    assert says in message


def test_a_load_holds_a_concurrency_or_a_rate():
    text = MINIMAL + "workload:\n  concurrency: 4\n  request_rate: 2\n"
    assert "5:3: workload.request_rate: given together with concurrency" in refusal(text)


def test_requests_that_follow_others_need_a_held_concurrency():
    text = MINIMAL + "workload:\n  request_rate: 2\n  refill: 3\n"
    assert "5:3: workload.refill: only with a held concurrency" in refusal(text)
    text = MINIMAL + "workload:\n  concurrency: 4\n  refill: 8\n"
    assert "5:11: workload.refill: 8 is more than the 4 requests in flight" in refusal(text)


def test_options_that_only_look_like_secrets_are_left_alone():
    args = "args: {max_num_batched_tokens: 9, tokenizer: x, skip_tokenizer_init: true}"
    assert parse_fleet(with_part("engine", args), "f").engine.args["tokenizer"] == "x"


def test_all_problems_are_reported_at_once_in_the_order_of_the_file():
    message = refusal("modle: x\nhardware:\n  nodes: 0\n  gpus: 2\nslo: []\nname: x\nname: y\n")

    first, *rest = message.split("\n")
    assert first == "fleet.yaml: 7 problems"
    assert [line.split(": ")[0].strip() for line in rest] == [
        "fleet.yaml:1:1",
        "fleet.yaml:1:1",
        "fleet.yaml:2:1",
        "fleet.yaml:3:10",
        "fleet.yaml:4:3",
        "fleet.yaml:5:6",
        "fleet.yaml:7:1",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("# nothing yet\n", "the file is empty"),
        ("- a\n", "fleet.yaml:1:1: expected a mapping of `key: value` lines, got a list"),
        ("just words\n", "got a single value"),
        ("a: [1\n", "fleet.yaml:2:1: not valid YAML"),
    ],
)
def test_texts_that_are_no_mapping(text, says):
    assert says in refusal(text)


class TestFiles:
    def refusal(self, path: Path) -> InputError:
        with pytest.raises(InputError) as caught:
            load_fleet(path)
        assert caught.value.exit_status == 2
        return caught.value

    def test_a_missing_file_suggests_its_neighbours(self, tmp_path):
        (tmp_path / "fleet.yaml").write_text(MINIMAL)
        error = self.refusal(tmp_path / "flet.yml")
        assert "no such file" in str(error)
        assert error.hint == f"Did you mean {tmp_path / 'fleet.yaml'}?"

    def test_a_missing_file_with_a_recipes_name(self, tmp_path):
        error = self.refusal(tmp_path / "qwen35-27b-h200x1.yaml")
        assert error.hint is not None
        assert "headrace init qwen35-27b-h200x1" in error.hint

    def test_a_missing_file_in_an_empty_folder(self, tmp_path):
        error = self.refusal(tmp_path / "zzz.yaml")
        assert error.hint is not None
        assert "headrace init" in error.hint

    def test_a_folder(self, tmp_path):
        (tmp_path / "a.yaml").write_text(MINIMAL)
        error = self.refusal(tmp_path)
        assert "is a folder" in str(error)
        assert str(tmp_path / "a.yaml") in str(error.hint)

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"\x7fELF\x00\x01", "a binary file"),
            (b"model: x\n# caf\xe9\n", ":2: not UTF-8 text (byte 0xe9)"),
            (b"#" * (MAX_BYTES + 1), "are no fleet file"),
        ],
    )
    def test_files_that_are_no_text(self, tmp_path, data, says):
        path = tmp_path / "fleet.yaml"
        path.write_bytes(data)
        assert says in str(self.refusal(path))

    def test_a_byte_order_mark_is_no_obstacle(self, tmp_path):
        path = tmp_path / "fleet.yaml"
        path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
        assert load_fleet(path).hardware.gpu == "B200"

    def test_a_hub_id_is_not_a_path(self, tmp_path):
        path = tmp_path / "fleet.yaml"
        path.write_text(MINIMAL)
        assert load_fleet(path).model == "Qwen/Qwen3.5-27B-FP8"

    def test_a_folder_beside_the_file_wins_over_a_hub_id(self, tmp_path, monkeypatch):
        folder = tmp_path / "fleets" / "Qwen" / "Qwen3.5-27B-FP8"
        folder.mkdir(parents=True)
        (tmp_path / "fleets" / "fleet.yaml").write_text(MINIMAL)
        monkeypatch.chdir(tmp_path)
        assert load_fleet(Path("fleets/fleet.yaml")).model == str(folder)

    @pytest.mark.parametrize("written", ["./m", "../fleets/m", "{tmp}/fleets/m"])
    def test_paths_are_seen_from_the_files_folder(self, tmp_path, written):
        (tmp_path / "fleets" / "m").mkdir(parents=True)
        (tmp_path / "fleets" / "gpus.toml").write_text("")
        path = tmp_path / "fleets" / "fleet.yaml"
        model = written.format(tmp=tmp_path)
        path.write_text(f"model: {model}\nhardware: {{gpu: X, catalog: gpus.toml}}\n")

        fleet = load_fleet(path)

        assert fleet.model == str(tmp_path / "fleets" / "m")
        assert fleet.hardware.catalog == str(tmp_path / "fleets" / "gpus.toml")

    def test_paths_that_lead_nowhere_are_reported_with_everything_else(self, tmp_path):
        path = tmp_path / "fleet.yaml"
        path.write_text("model: ./m\nhardware: {gpu: X, catalog: c.toml, nodes: 0}\n")
        message = str(self.refusal(path))
        assert "3 problems" in message
        assert f"{path}:1:8: model: ./m: there is no such folder (seen from {tmp_path}" in message
        assert f"{path}:2:29: hardware.catalog: c.toml: there is no such file" in message

    def test_where_places_a_field_of_an_accepted_file(self, tmp_path):
        path = tmp_path / "fleet.yaml"
        path.write_text(MINIMAL)
        assert where(path, "hardware", "gpu") == f"{path}:2:17: hardware.gpu"
        assert where(tmp_path / "gone.yaml", "model") == f"{tmp_path / 'gone.yaml'}: model"
