import pytest

from headrace.engines.vllm.log import death_reason, phase

WORKER = "(Worker pid=26707) INFO 11-24 02:57:50"
CORE = "(EngineCore pid=26560) INFO 11-24 02:57:51"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Triton is installed, but doesn't include CPU backend. Disabling Triton.", "importing"),
        (
            "INFO 08-01 10:00:00 [__init__.py:239] Automatically detected platform cuda.",
            "importing",
        ),
        (
            "(APIServer pid=1) INFO [model.py:733] Resolved architecture: Qwen3_5",
            "reading the model's config",
        ),
        (
            f"{CORE} [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'",
            "starting the engine",
        ),
        (f"{WORKER} [cpu_model_runner.py:68] Starting to load model /m...", "loading weights"),
        (
            "Loading safetensors checkpoint shards:  45% Completed | 5/11 [00:09<00:11, 1.9s/it]",
            "loading weights, 45 %",
        ),
        (
            f"{WORKER} [default_loader.py:501] Loading weights took 0.17 seconds",
            "profiling memory",
        ),
        (
            f"{WORKER} [gpu_model_runner.py:4567] Model loading took 28.1 GiB memory and 9.1 s",
            "profiling memory",
        ),
        (f"{WORKER} [backends.py:1049] Dynamo bytecode transform time: 12.10 s", "compiling"),
        (
            f"{WORKER} [backends.py:388] Compiling a graph for compile range (1, 8192) takes 40 s",
            "compiling",
        ),
        (f"{WORKER} [gpu_worker.py:457] Available KV cache memory: 97.1 GiB", "sizing its cache"),
        (f"{CORE} [kv_cache_utils.py:2327] CPU KV cache size: 104,832 tokens", "sizing its cache"),
        (
            "Capturing CUDA graphs (decode, FULL):  31%|###   | 11/35 [00:02<00:04,  5.1it/s]",
            "capturing CUDA graphs, 31 %",
        ),
        (f"{WORKER} [gpu_model_runner.py:5747] Graph capturing finished in 9 secs", "warming up"),
        (
            f"{CORE} [core.py:402] init engine (profile, create kv cache, warmup model) took 3.1 s",
            "warming up",
        ),
        (
            "(APIServer pid=1) INFO [entry.py:140] Starting vLLM server on http://127.0.0.1:8123",
            "opening its port",
        ),
        ("INFO:     Application startup complete.", "ready"),
        (f"{WORKER} [vllm.py:1703] Enforce eager set, disabling JIT kernel warmup", None),
        (f"{WORKER} [kernel_warmup.py:44] Skipping FlashInfer autotune: it is disabled", None),
        ('  File "backends.py", line 3, in Compiling a graph', None),
        ("", None),
    ],
)
def test_lines_say_what_it_is_doing(line, expected):
    assert phase(line) == expected


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out of GPU memory"),
        (
            "RuntimeError: CUDA error: an illegal memory access was encountered",
            "illegal memory access",
        ),
        ("AcceleratorError: cudaErrorIllegalAddress", "illegal memory access"),
        ("RuntimeError: CUDA error: device-side assert triggered", "CUDA error: device-side"),
        (
            "ValueError: Free memory on device cuda:0 (3.1/139.8 GiB) on startup is less than",
            "too little GPU memory is free",
        ),
        ("ValueError: No available memory for the cache blocks. Try increasing", "for the cache"),
        (
            "ValueError: To serve at least one request with the model's max seq len (262144), 16",
            "cannot hold one request of max_model_len 262144",
        ),
        ("vllm: error: unrecognized arguments: --bogus-flag 3", "unknown option --bogus-flag 3"),
        (
            "vllm serve: error: argument --max-num-seqs: invalid int value: 'abc'",
            "bad option --max-num-seqs: invalid int value: 'abc'",
        ),
        ("OSError: [Errno 98] Address already in use", "its port is taken"),
        (
            "RuntimeError: Cannot find any model weights with `noweights`",
            "the model's weights are missing",
        ),
        (
            "  Value error, Model architectures ['NoSuch'] are not supported for now.",
            "does not know the architecture ['NoSuch']",
        ),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached",
            "neither a folder nor in the local cache",
        ),
        ("RuntimeError: Failed to infer device type, please set", "found no GPU"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out of main memory"),
        (
            "  Value error, User-specified max_model_len (99) is greater than [type=value_error",
            "refused its options: User-specified max_model_len (99) is greater than",
        ),
        ("(Worker pid=9) ERROR [executor.py:3] KeyError: 'layers.0.weight'", "KeyError: 'layers"),
    ],
)
def test_the_cause_is_found_in_the_log(tail, reason):
    wrapped = f"INFO before\n{tail}\nRuntimeError: Engine core initialization failed. See above."
    found = death_reason(1, wrapped)
    assert reason in found
    assert found.endswith("(exit status 1)")


def test_a_warning_is_no_cause():
    warned = (
        "(APIServer pid=1) WARNING 11-24 02:57:00 [system_utils.py:255] Found ulimit of 20000. "
        "This can cause fd limit errors like `OSError: [Errno 24] Too many open files`."
    )
    assert death_reason(-9, warned).startswith("killed")
    assert death_reason(1, f"{warned}\nKeyError: 'a'").startswith("KeyError: 'a'")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "lack of main memory (see `dmesg`) (SIGKILL)"),
        (137, "lack of main memory (see `dmesg`) (SIGKILL)"),
        (-11, "it crashed outside of Python (SIGSEGV)"),
        (3, "it said no reason (exit status 3)"),
        (-64, "it said no reason (SIGRTMAX)"),
    ],
)
def test_without_a_cause_the_exit_code_speaks(code, reason):
    assert death_reason(code, "INFO all is well").endswith(reason)
