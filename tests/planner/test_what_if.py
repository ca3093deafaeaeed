import pytest

from headrace.errors import InputError
from headrace.planner.what_if import changed, parse_changes
from headrace.spec.fleet import Fleet
from headrace.spec.load import parse_fleet

FLEET = parse_fleet(
    """
name: small
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: B200, gpus_per_node: 8, usd_per_gpu_hour: 3.0}
engine: {version: 0.30.0, args: {max-num-seqs: 64}}
""",
    "small.yaml",
)


def with_changes(*texts: str) -> Fleet:
    return changed(FLEET, parse_changes(texts))


def refusal(*texts: str) -> str:
    with pytest.raises(InputError) as caught:
        with_changes(*texts)
    return str(caught.value)


def test_all_changes_are_made_together_and_nothing_else() -> None:
    made = with_changes("workload.output_tokens=1024", "slo.tpot_p99_ms=40")
    assert made.workload.output_tokens == 1024
    assert made.slo.tpot_p99_ms == 40
    assert made.hardware == FLEET.hardware
    assert made.engine == FLEET.engine


def test_values_are_yaml_and_text_stays_as_typed() -> None:
    made = with_changes(
        "engine.version=0.30", "engine.args.speculative_config={method: mtp, n: 2}", "slo=null"
    )
    assert made.engine.version == "0.30"
    assert made.engine.args["speculative_config"] == {"method": "mtp", "n": 2}


def test_an_option_replaces_its_other_spelling() -> None:
    assert with_changes("engine.args.--max-num-seqs=8").engine.args == {"max_num_seqs": 8}


def test_the_files_price_goes_with_its_gpu() -> None:
    assert with_changes("hardware.gpu=H200").hardware.usd_per_gpu_hour is None
    assert with_changes("hardware.gpu=B200").hardware.usd_per_gpu_hour == 3.0
    both = with_changes("hardware.gpu=H200", "hardware.usd_per_gpu_hour=2")
    assert both.hardware.usd_per_gpu_hour == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workload.output_tokns=3", "workload.output_tokns: unknown key; did you mean `output_t"),
        ("output_tokens=3", "it belongs under `workload:`"),
        ("hardwre.gpu=H200", "did you mean `hardware`?"),
        ("workload.output_tokens=many", "expected a whole number above 0, or a mapping"),
        ("model.name=x", "model: expected text"),
        ("workload.output_tokens", "expected FIELD=VALUE"),
        ("workload..output_tokens=3", "expected FIELD=VALUE"),
        ("=3", "expected FIELD=VALUE"),
        ("slo=[1", "not valid YAML"),
        ("slo={a: 1, a: 2}", "given twice"),
        ("slo=!!python/name:os.system x", "no tags"),
        ("engine.args.max_model_len=100", "shorter than the longest request"),
        ("engine.args.api_key=abc", "looks like a secret"),
        ("workload.output_tokens=", "got nothing"),
    ],
)
def test_a_wrong_change_names_the_option_and_the_field(text: str, says: str) -> None:
    message = refusal("name=other", text)
    assert message.startswith(f"--what-if {text}: ")
    assert says in message


def test_a_field_given_twice() -> None:
    assert "given twice" in refusal("name=a", "name=b")


def test_every_wrong_change_is_named() -> None:
    message = refusal("hardware.nodes=0", "slo.tpot=3")
    assert "--what-if hardware.nodes=0: hardware.nodes" in message
    assert "--what-if slo.tpot=3: slo.tpot" in message
