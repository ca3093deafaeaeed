from dataclasses import replace

import pytest

from headrace.engines.vllm import args as vllm_args
from headrace.engines.vllm import flags
from headrace.errors import InputError
from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.config import EngineConfig

QWEN35 = load_model("Qwen/Qwen3.5-27B-FP8")
QWEN3 = load_model("Qwen/Qwen3-8B")
CONFIG = EngineConfig(
    version="0.33.0",
    tensor_parallel=1,
    kv_dtype="fp8",
    state_dtype="bfloat16",
    mtp_depth=0,
    max_num_seqs=480,
    max_num_batched_tokens=8192,
    max_model_len=2048,
)


def test_a_plan_of_a_hybrid_model():
    assert vllm_args.engine_args(CONFIG, QWEN35) == {
        "tensor_parallel_size": 1,
        "max_model_len": 2048,
        "max_num_seqs": 480,
        "max_num_batched_tokens": 8192,
        "kv_cache_dtype": "fp8",
        "mamba_ssm_cache_dtype": "bfloat16",
        "enable_prefix_caching": False,
        "language_model_only": True,
        "shutdown_timeout": 20,
        "disable_uvicorn_access_log": True,
    }


def test_a_dense_text_model_has_neither_states_nor_vision():
    args = vllm_args.engine_args(CONFIG, QWEN3)
    assert "mamba_ssm_cache_dtype" not in args
    assert "language_model_only" not in args


def test_what_equals_the_default_of_the_version_is_not_said():
    assert "gpu_memory_utilization" not in vllm_args.engine_args(CONFIG, QWEN35)
    old = vllm_args.engine_args(replace(CONFIG, version="0.18.0"), QWEN35)
    assert old["gpu_memory_utilization"] == 0.92
    args = vllm_args.engine_args(replace(CONFIG, kv_dtype="bf16", state_dtype="float32"), QWEN35)
    assert "kv_cache_dtype" not in args
    assert "mamba_ssm_cache_dtype" not in args
    assert "async_scheduling" not in args


def test_levers_that_differ_from_the_default_are_said():
    config = replace(CONFIG, async_scheduling=False, stream_interval=8, prefix_caching=True)
    args = vllm_args.engine_args(config, QWEN35)
    assert args["async_scheduling"] is False
    assert args["stream_interval"] == 8
    assert args["enable_prefix_caching"] is True


def test_nothing_is_said_when_nothing_is_planned():
    assert vllm_args.engine_args(CONFIG, QWEN35, planned=False) == {}


@pytest.mark.parametrize(
    ("seqs", "depth", "captured"),
    [(512, 0, None), (780, 0, 784), (256, 1, None), (457, 1, 928), (500, 2, 1536)],
)
def test_the_fullest_decode_step_has_a_cuda_graph(seqs, depth, captured):
    args = vllm_args.engine_args(replace(CONFIG, max_num_seqs=seqs, mtp_depth=depth), QWEN35)
    assert args.get("max_cudagraph_capture_size") == captured
    if captured:
        assert captured >= seqs * (1 + depth)
        assert captured % 16 == captured % (1 + depth) == 0


def test_no_more_than_a_step_can_hold_is_captured():
    config = replace(CONFIG, max_num_seqs=780, max_num_batched_tokens=780)
    assert vllm_args.engine_args(config, QWEN35)["max_cudagraph_capture_size"] == 768


@pytest.mark.parametrize("version", flags.table()["versions"])
@pytest.mark.parametrize("depth", [0, 2])
def test_what_a_plan_says_is_read_back_in_every_version(version, depth):
    config = replace(CONFIG, version=version, mtp_depth=depth, stream_interval=4)
    said = vllm_args.engine_args(config, QWEN35)
    fixed = vllm_args.engine_config(said, version)
    captured = said.get("max_cudagraph_capture_size")
    assert replace(config, **fixed) == replace(config, max_captured=captured)
    levers = {"tensor_parallel", "kv_dtype", "state_dtype", "max_num_seqs", "max_model_len"}
    assert levers <= set(fixed)
    assert vllm_args.command("m", said, version)[:3] == ["vllm", "serve", "m"]


def test_defaults_follow_version_and_memory():
    b200, h200, l40s = (load_gpu(name) for name in ("B200", "H200", "L40S"))
    a100 = load_gpu("A100-80GB") if _known("A100-80GB") else load_gpu("A100")

    def batch(version, gpu):
        config = vllm_args.defaults(version, gpu, QWEN35)
        return config.max_num_batched_tokens, config.max_num_seqs

    assert batch("0.18.0", b200) == (8192, 1024)
    assert batch("0.28.0", b200) == (16384, 1024)
    assert batch("0.33.0", h200) == (8192, 1024)
    assert batch("0.33.0", l40s) == (2048, 256)
    assert batch("0.33.0", a100) == (2048, 256)
    assert batch("0.32.0", load_gpu("CPU")) == (2048, 128)


def _known(name):
    try:
        load_gpu(name)
    except InputError:
        return False
    return True


def test_defaults_of_a_hybrid_model():
    old, new = (vllm_args.defaults(v, load_gpu("H200"), QWEN35) for v in ("0.18.0", "0.33.0"))
    assert (old.gpu_memory_utilization, old.prefix_caching) == (0.9, False)
    assert (new.gpu_memory_utilization, new.prefix_caching) == (0.92, True)
    assert (new.state_dtype, new.kv_dtype, new.mtp_depth) == ("float32", "bf16", 0)
    assert (new.max_model_len, new.text_only) == (262144, False)
    assert vllm_args.defaults("0.18.0", load_gpu("H200"), QWEN3).prefix_caching is True


def test_every_kind_of_option_is_written_as_vllm_reads_it():
    args = {
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "headless": False,
        "disable_log_stats": True,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
        "limit_mm_per_prompt": '{"image":0}',
        "cudagraph_capture_sizes": [1, 2, 4],
        "middleware": ["a.b", "c.d"],
        "lora_modules": "name=path",
        "revision": None,
    }
    assert vllm_args.command("org/model", args, "0.33.0", "/opt/vllm") == [
        *("/opt/vllm", "serve", "org/model"),
        *("--max-num-seqs", "8"),
        *("--gpu-memory-utilization", "0.5"),
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--disable-log-stats",
        *("--speculative-config", '{"method":"mtp","num_speculative_tokens":1}'),
        *("--limit-mm-per-prompt", '{"image":0}'),
        *("--cudagraph-capture-sizes", "1", "2", "4"),
        *("--middleware", "a.b", "--middleware", "c.d"),
        *("--lora-modules", "name=path"),
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"enforce_eager": "yes"}, "enforce_eager: expected true or false, found 'yes'"),
        ({"max_num_seqs": [1]}, "max_num_seqs: expected one value, found a list"),
        ({"seed": {"a": 1}}, "seed: expected one value, found a mapping"),
        ({"bogus": 1}, "engine.args.bogus: vLLM 0.33.0 has no option --bogus"),
    ],
)
def test_values_that_an_option_cannot_take(args, message):
    with pytest.raises(InputError, match=message):
        vllm_args.command("m", args, "0.33.0")


def test_unsupported_names_what_a_version_lacks():
    assert vllm_args.unsupported({"grpc": True, "seed": 1}, "0.18.0") == ["grpc"]
    assert vllm_args.unsupported({"grpc": True, "seed": 1}, "0.33.0") == []


def test_the_command_can_be_pasted_into_a_shell():
    words = ["~/my env/vllm", "serve", "m", "--speculative-config", '{"a":1}']
    assert vllm_args.shell(words) == "~/'my env/vllm' serve m --speculative-config '{\"a\":1}'"
    assert vllm_args.shell(["vllm", "serve"]) == "vllm serve"
