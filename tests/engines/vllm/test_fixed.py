import pytest

from headrace.engines.vllm.fixed import engine_config
from headrace.errors import InputError


@pytest.mark.parametrize(
    ("args", "fixed"),
    [
        ({}, {}),
        ({"max_num_seqs": 64}, {"max_num_seqs": 64}),
        ({"max_num_batched_tokens": "16k"}, {"max_num_batched_tokens": 16_000}),
        ({"max_model_len": "16K"}, {"max_model_len": 16_384}),
        ({"max_model_len": "25.6k"}, {"max_model_len": 25_600}),
        ({"tensor_parallel_size": "2"}, {"tensor_parallel": 2}),
        ({"kv_cache_dtype": "fp8_e4m3"}, {"kv_dtype": "fp8"}),
        ({"kv_cache_dtype": "auto"}, {"kv_dtype": "bf16"}),
        ({"mamba_ssm_cache_dtype": "float16"}, {"state_dtype": "bfloat16"}),
        ({"mamba_ssm_cache_dtype": "float32"}, {"state_dtype": "float32"}),
        ({"mamba_ssm_cache_dtype": "auto"}, {}),
        ({"gpu_memory_utilization": 0.8}, {"gpu_memory_utilization": 0.8}),
        ({"enable_prefix_caching": True}, {"prefix_caching": True}),
        ({"async_scheduling": False}, {"async_scheduling": False}),
        ({"stream_interval": 10}, {"stream_interval": 10}),
        ({"language_model_only": False}, {"text_only": False}),
        ({"limit_mm_per_prompt": '{"image": 0, "video": 0}'}, {"text_only": True}),
        ({"limit_mm_per_prompt": {"image": 2}}, {"text_only": False}),
        ({"speculative_config": {"method": "qwen3_next_mtp", "num_speculative_tokens": 3}}, 3),
        ({"speculative_config": '{"method": "mtp"}'}, 1),
        ({"spec_method": "mtp", "spec_tokens": 2}, 2),
        ({"data_parallel_size": 1, "seed": 3, "max_num_seqs": None}, {}),
        ({"enforce_eager": True}, {"enforce_eager": True}),
        ({"cudagraph_capture_sizes": [8, "1k"]}, {"captured": (8, 1000)}),
        ({"linear_backend": "Deep-GEMM"}, {"linear_backend": "deep_gemm"}),
        ({"attention_backend": "FLASHINFER"}, {"attention_backend": "flashinfer"}),
        ({"attention_config": '{"backend": "TRITON_ATTN"}'}, {"attention_backend": "triton_attn"}),
        ({"attention_config": {"flash_attn_version": 3}}, {}),
        ({"gdn_prefill_backend": "triton"}, {"gdn_prefill_backend": "triton"}),
        ({"max_cudagraph_capture_size": 1024}, {"max_captured": 1024}),
    ],
)
def test_what_the_args_fix(args, fixed):
    expected = {"mtp_depth": fixed} if isinstance(fixed, int) else fixed
    assert engine_config(args, "0.33.0") == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"max_num_seqs": "many"}, "max_num_seqs: expected a whole number above 0"),
        ({"max_num_seqs": 0}, "max_num_seqs: expected a whole number above 0"),
        ({"max_num_seqs": True}, "max_num_seqs: expected a whole number above 0"),
        ({"max_num_seqs": 1.5}, "max_num_seqs: expected a whole number above 0"),
        ({"max_model_len": "auto"}, "the plan must know it"),
        ({"gpu_memory_utilization": 92}, "above 0 and at most 1, found 92"),
        ({"gpu_memory_utilization": "most"}, "a share of the memory"),
        ({"kv_cache_dtype": "nvfp4"}, "others are not modelled"),
        ({"mamba_ssm_cache_dtype": "int8"}, "float32, bfloat16 or float16, found 'int8'"),
        ({"enable_prefix_caching": "no"}, "true or false, found 'no'"),
        ({"limit_mm_per_prompt": "{"}, "a mapping or its JSON"),
        ({"speculative_config": [1]}, "a mapping or its JSON"),
        ({"speculative_config": {"method": "ngram"}}, "found 'ngram'"),
        ({"spec_tokens": 2}, "found None"),
        ({"data_parallel_size": 8}, "independent replicas"),
        ({"port": 8000}, "engine.args.port: cannot be set here"),
        ({"api_key": "x"}, "engine.args.api_key: cannot be set here"),
        ({"max_num_seq": 8}, "has no option --max-num-seq"),
    ],
)
def test_what_the_plan_cannot_take(args, message):
    with pytest.raises(InputError, match=message):
        engine_config(args, "0.33.0")


def test_a_secret_is_sent_to_the_environment_and_not_repeated():
    with pytest.raises(InputError) as caught:
        engine_config({"hf_token": "hf_secret"}, "0.33.0")
    assert "HF_TOKEN" in str(caught.value.hint)
    assert "hf_secret" not in f"{caught.value} {caught.value.hint}"
