"""Parameter counts against published ones, within 1 % (most agree to the last digit).

Definitions. TOTAL: the language model with token embedding and LM head (one matrix when tied),
without MTP layers and vision tower. ACTIVE: what one token uses of that. The source of each
count stands beside it.
"""

import pytest

from headrace.models.load import load_model, packaged

TOTAL = {
    # safetensors totals on the hub
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "nvidia/Llama-3.1-70B-Instruct-FP8": 70_553_706_496,
    "meta-llama/Llama-3.1-405B-Instruct": 405_853_388_800,
    "Qwen/Qwen3-0.6B": 596_049_920,  # the file stores the tied LM head too: 751,632,384
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-32B-FP8": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-30B-A3B-FP8": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-235B-A22B-FP8": 235_093_634_560,
    "nvidia/Qwen3-235B-A22B-NVFP4": 235_093_634_560,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    # safetensors index of Qwen3-Coder-Next, the same architecture without MTP tensors
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 79_674_391_296,
    "Qwen/Qwen3-Next-80B-A3B-Thinking": 79_674_391_296,
    "Qwen/Qwen3-Next-80B-A3B-Instruct-FP8": 79_674_391_296,
    # tensor tables of the GGUF conversions, which hold the language model only
    "Qwen/Qwen3.5-0.8B": 752_393_024,
    "Qwen/Qwen3.5-2B": 1_881_825_088,
    "Qwen/Qwen3.5-4B": 4_205_751_296,
    "Qwen/Qwen3.5-9B": 8_953_803_264,
    "Qwen/Qwen3.5-27B": 26_895_998_464,
    "Qwen/Qwen3.5-27B-FP8": 26_895_998_464,
    "headrace/Qwen3.5-27B-FP8-rowwise": 26_895_998_464,
    "headrace/Qwen3.5-27B-FP8-tensor": 26_895_998_464,
    "Qwen/Qwen3.5-35B-A3B": 34_660_610_688,
    "Qwen/Qwen3.5-35B-A3B-FP8": 34_660_610_688,
    # names and model cards: 122 B and 397 B
    "Qwen/Qwen3.5-122B-A10B": 122_000_000_000,
    "Qwen/Qwen3.5-122B-A10B-FP8": 122_000_000_000,
    "nvidia/Qwen3.5-122B-A10B-NVFP4": 122_000_000_000,
    "Qwen/Qwen3.5-397B-A17B": 397_000_000_000,
    "Qwen/Qwen3.5-397B-A17B-FP8": 397_000_000_000,
    "nvidia/Qwen3.5-397B-A17B-NVFP4": 397_000_000_000,
    # gpt-oss model card (arXiv 2508.10925), table 1
    "openai/gpt-oss-20b": 20_910_000_000,
    "openai/gpt-oss-120b": 116_830_000_000,
    # model card: 671 B without the 14 B of MTP; tensors of the main model
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
    "deepseek-ai/DeepSeek-R1": 671_026_419_200,
}

ACTIVE = {
    # counted from the tensors with both embeddings, as the cards' 3.3 B and 22 B
    "Qwen/Qwen3-30B-A3B": 3_353_032_704,
    "Qwen/Qwen3-235B-A22B": 22_190_763_520,
    # 12.9 B on the model card, both embeddings counted
    "mistralai/Mixtral-8x7B-v0.1": 12_879_925_248,
    # 37 B on the model card; tensors, both embeddings counted
    "deepseek-ai/DeepSeek-V3": 37_552_297_472,
}

ACTIVE_WITHOUT_INPUT_EMBEDDING = {
    # gpt-oss model card, table 1: "active" leaves the input embedding out
    "openai/gpt-oss-20b": 3_610_000_000,
    "openai/gpt-oss-120b": 5_130_000_000,
}

MTP = {
    # tensors under `mtp.` and the shard index minus the main model; norms are left out here
    "Qwen/Qwen3.5-35B-A3B": 844_640_768,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 1_650_471_424,
}

VISION = {
    # 27,356,728,560 with the tower, 26,895,998,464 without
    "Qwen/Qwen3.5-27B": 460_730_096,
    "Qwen/Qwen3.5-35B-A3B": 446_571_248,
}


def test_every_packaged_model_has_a_published_count() -> None:
    assert set(TOTAL) == set(packaged())


@pytest.mark.parametrize("name", TOTAL)
def test_total_parameters(name: str) -> None:
    assert load_model(name).parameters == pytest.approx(TOTAL[name], rel=0.01)


@pytest.mark.parametrize("name", [n for n, count in TOTAL.items() if count % 10_000_000])
def test_counts_taken_from_tensors_agree_exactly(name: str) -> None:
    assert load_model(name).parameters == TOTAL[name]


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters(name: str) -> None:
    assert load_model(name).active_parameters == pytest.approx(ACTIVE[name], rel=0.001)


@pytest.mark.parametrize("name", ACTIVE_WITHOUT_INPUT_EMBEDDING)
def test_active_parameters_without_input_embedding(name: str) -> None:
    facts = load_model(name)
    active = facts.active_parameters - facts.vocab_size * facts.hidden_size
    assert active == pytest.approx(ACTIVE_WITHOUT_INPUT_EMBEDDING[name], rel=0.01)


@pytest.mark.parametrize("name", MTP)
def test_mtp_parameters(name: str) -> None:
    counted = sum(x.parameters for x in load_model(name).mtp_linears)
    assert counted == pytest.approx(MTP[name], rel=1e-4)


@pytest.mark.parametrize("name", VISION)
def test_vision_parameters(name: str) -> None:
    assert load_model(name).vision_parameters == VISION[name]


@pytest.mark.parametrize("name", packaged())
def test_dense_models_use_all_parameters_and_mixtures_do_not(name: str) -> None:
    facts = load_model(name)
    if facts.experts is None:
        assert facts.active_parameters == facts.parameters
    else:
        assert facts.active_parameters < facts.parameters / 2
