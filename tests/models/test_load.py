import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.models.load import CATALOG, facts_from, load_model, packaged


def write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def refuse(model: str | Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load_model(str(model))
    assert caught.value.hint
    return caught.value


def test_a_folder_and_the_file_in_it_are_the_same_model(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    folder = write(tmp_path, small)
    facts = load_model(str(folder))
    assert facts == load_model(str(folder / "config.json"))
    assert facts.name == folder.name
    assert facts.path == str(folder)


def test_text_config_is_looked_into(small: dict[str, Any]) -> None:
    architectures = small.pop("architectures")
    nested = {"architectures": architectures, "text_config": small}
    flat = facts_from({"architectures": architectures, **small}, "m")
    assert facts_from(nested, "m") == flat


def test_packaged_ids_are_found_in_any_case() -> None:
    assert load_model("qwen/qwen3.5-27b-fp8").name == "Qwen/Qwen3.5-27B-FP8"


def test_packaged_models_have_no_path_and_a_source() -> None:
    for name in packaged():
        assert load_model(name).path is None
        document = json.loads((CATALOG / f"{name.replace('/', '__')}.json").read_text())
        assert document["_source"]


def test_unknown_id_names_the_nearest_and_how_to_get_a_config() -> None:
    error = refuse("Qwen/Qwen3.5-27B-FP")
    assert "Qwen/Qwen3.5-27B-FP8" in str(error)
    assert "config.json" in (error.hint or "")


@pytest.mark.parametrize("model", ["./missing", "/no/such/folder", "just-a-name", "a/b/c"])
def test_missing_folder(model: str) -> None:
    assert "no such folder" in str(refuse(model))


def test_folder_without_config(tmp_path: Path) -> None:
    assert "no config.json" in str(refuse(tmp_path))


def test_invalid_json_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n  "hidden_size": ,\n}')
    assert f"{tmp_path / 'config.json'}:2: not valid JSON" in str(refuse(tmp_path))


def test_json_that_is_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        load_model(str(tmp_path))


def test_config_without_architectures(tmp_path: Path) -> None:
    assert "`architectures` is missing" in str(refuse(write(tmp_path, {"hidden_size": 8})))


def test_unknown_architecture_says_what_is_supported_and_missing(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    small["architectures"] = ["RwkvForCausalLM"]
    del small["num_attention_heads"]
    message = str(refuse(write(tmp_path, small)))
    assert "'RwkvForCausalLM' is not supported" in message
    assert "it lacks num_attention_heads" in message
    assert "Qwen3_5ForConditionalGeneration" in message


def test_missing_fields_are_all_named(tmp_path: Path, small: dict[str, Any]) -> None:
    del small["hidden_size"], small["intermediate_size"]
    assert "lacks: hidden_size, intermediate_size" in str(refuse(write(tmp_path, small)))


@pytest.mark.parametrize("value", ["64", -1, 1.5, True, 0])
def test_fields_that_are_not_counts(tmp_path: Path, small: dict[str, Any], value: object) -> None:
    small["hidden_size"] = value
    assert "hidden_size is" in str(refuse(write(tmp_path, small)))


def test_layer_types_of_the_wrong_length(tmp_path: Path) -> None:
    config = json.loads((CATALOG / "openai__gpt-oss-20b.json").read_text())
    config["layer_types"] = config["layer_types"][:-1]
    assert "list of 24 names" in str(refuse(write(tmp_path, config)))


def test_unknown_layer_kind(tmp_path: Path) -> None:
    config = json.loads((CATALOG / "Qwen__Qwen3-Next-80B-A3B-Instruct.json").read_text())
    config["layer_types"] = ["mamba"] * 48
    assert "layer_types has mamba" in str(refuse(write(tmp_path, config)))


def test_quantization_in_a_file_of_its_own(tmp_path: Path, small: dict[str, Any]) -> None:
    """NVIDIA's checkpoints put it into hf_quant_config.json beside config.json."""
    quantization = {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    document = {"producer": {"name": "modelopt"}, "quantization": quantization}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(document))
    assert load_model(str(write(tmp_path, small))).weights_dtype == "fp8_tensor"


def test_biases_and_windows_are_counted(small: dict[str, Any]) -> None:
    qwen2 = {**small, "architectures": ["Qwen2ForCausalLM"]}
    llama = {**small, "architectures": ["LlamaForCausalLM"], "attention_bias": True}
    mistral = {**small, "architectures": ["MistralForCausalLM"], "sliding_window": 256}
    norms = 64 + 2 * 2 * 64
    assert facts_from(qwen2, "m").extra_parameters == norms + 2 * 128
    assert facts_from(llama, "m").extra_parameters == norms + 2 * (128 + 64)
    assert facts_from(mistral, "m").attention[0].window_tokens == 256
    assert (
        facts_from({**small, "sliding_window": 256, "use_sliding_window": False}, "m")
        .attention[0]
        .window_tokens
        is None
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("fp8", "expected an object"),
        ({"quant_method": "fp8", "ignore": "lm_head"}, "ignore: expected a list"),
        ({"quant_method": "fp8", "ignore": ["re:*["]}, "not a regular expression"),
        ({"quant_method": "compressed-tensors", "config_groups": []}, "0 weight formats"),
        ({"quant_method": "awq", "bits": "four"}, "'four' bits"),
    ],
)
def test_broken_quantization_settings(small: dict[str, Any], settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        facts_from({**small, "quantization_config": settings}, "m")


def test_layers_that_are_stated_as_none() -> None:
    config = json.loads((CATALOG / "deepseek-ai__DeepSeek-V3.json").read_text())
    facts = facts_from({**config, "first_k_dense_replace": 0, "num_nextn_predict_layers": 0}, "m")
    assert facts.mtp_attention is None
    assert {x.name for x in facts.linears}.isdisjoint({"mlp.gate_up", "mlp.down"})


@pytest.mark.parametrize(
    ("metadata", "drawn"),
    [({"random_weights": "normal, seed 0"}, "normal, seed 0"), ({"total_size": 8}, None)],
)
def test_weights_that_were_drawn_say_so_in_their_index(
    tmp_path: Path, small: dict[str, Any], metadata: dict[str, Any], drawn: str | None
) -> None:
    index = {"metadata": metadata, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = load_model(str(write(tmp_path, small)))
    assert facts.random_weights == drawn
