"""What vLLM's log says it is doing, and why it ended.

Lines are those of 0.18 to 0.33, from its sources and from runs on a CPU and on GPUs.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

Reason = str | Callable[[re.Match[str]], str]

PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"Application startup complete", "ready"),
        (r"Starting vLLM (API )?server|Available routes are", "opening its port"),
        (r"Graph capturing finished|init engine \(profile", "warming up"),
        (r"Capturing (CUDA|cuda)[ _]?graphs?", "capturing CUDA graphs"),
        (r"(?i)(?<!skipping )flashinfer autotun|DeepGEMM warmup", "tuning kernels"),
        (r"Warming up model for the compilation", "compiling"),
        (r"Warming up|Initial profiling/warmup run", "warming up"),
        (
            r"Dynamo bytecode|[Cc]ompiling a graph|AOT compil|torch\.compile (took|is|and)",
            "compiling",
        ),
        (
            r"Available KV cache memory|(GPU|CPU) KV cache size|Profiling CUDA graph",
            "sizing its cache",
        ),
        (r"Model loading took|Loading weights took", "profiling memory"),
        (
            r"Starting to load model|[Ll]oading .*checkpoint shards|Loading weights",
            "loading weights",
        ),
        (r"Initializing a V1 LLM engine|world_size=\d+ rank=", "starting the engine"),
        (
            r"non-default args|Resolved architecture|version \d+\.\d+\.\d+",
            "reading the model's config",
        ),
        (
            r"Automatically detected platform|cpp_extension\.py|Triton is (not )?installed",
            "importing",
        ),
    )
)
PERCENT = re.compile(r":\s*(\d{1,3})%")
NOT_AN_EVENT = re.compile(r"^\s+File |^\s*#")


def phase(line: str) -> str | None:
    """What the engine is doing, when this line of its log says so."""
    if NOT_AN_EVENT.match(line):
        return None
    for pattern, words in PHASES:
        if pattern.search(line):
            percent = PERCENT.findall(line)
            return f"{words}, {percent[-1]} %" if percent else words
    return None


def _group(match: re.Match[str]) -> str:
    return match[1].strip().rstrip(".")


REASONS: tuple[tuple[re.Pattern[str], Reason], ...] = tuple(
    (re.compile("|".join(patterns)), reason)
    for patterns, reason in (
        (
            ("cudaErrorIllegalAddress", "illegal memory access"),
            "illegal memory access on the GPU (a fault in a kernel; deep MTP is known for it)",
        ),
        (
            ("CUDA out of memory", r"torch\.(cuda\.)?OutOfMemoryError", "CUDA_ERROR_OUT_OF_MEMORY"),
            "out of GPU memory: lower gpu_memory_utilization or max_num_batched_tokens",
        ),
        (
            ("Free memory on device",),
            "too little GPU memory is free: end what else uses it, or lower gpu_memory_utilization",
        ),
        (
            ("No available memory for the cache blocks",),
            "no memory is left for the cache: raise gpu_memory_utilization or tensor_parallel_size",
        ),
        (
            (r"To serve at least one request with the models?'s max seq len[^(]*\((\d+)\)",),
            lambda m: f"the cache cannot hold one request of max_model_len {m[1]}: lower it",
        ),
        (("[Aa]ddress already in use",), "its port is taken by another program"),
        (("unrecognized arguments: (.+)",), lambda m: f"unknown option {_group(m)}"),
        (("error: argument (-.+)",), lambda m: f"bad option {_group(m)}"),
        (
            (r"Model architectures (\[.*?\]) (?:are not supported|failed to be inspected)",),
            lambda m: f"this vLLM does not know the architecture {m[1]}",
        ),
        (
            ("does not recognize this architecture",),
            "this vLLM does not know the model's architecture",
        ),
        (
            ("Cannot find any model weights", "no file named .*safetensors"),
            "the model's weights are missing: its folder holds no safetensors",
        ),
        (
            ("weights were not initialized from checkpoint",),
            "the checkpoint lacks some of the model's weights",
        ),
        (("GatedRepoError", "401 Client Error"), "the model is gated: log in with `hf auth login`"),
        (
            ("LocalEntryNotFoundError", "RepositoryNotFoundError", "not a valid model identifier"),
            "the model is neither a folder nor in the local cache, and could not be downloaded",
        ),
        (
            ("Failed to infer device type", "No CUDA GPUs", "no NVIDIA driver", "no CUDA-capable"),
            "vLLM found no GPU here",
        ),
        (
            ("NCCL error", r"ncclUnhandled\w+", "ncclSystemError", "DistBackendError"),
            "communication between GPUs failed (NCCL)",
        ),
        (("CUDA error: (.+)",), lambda m: f"CUDA error: {_group(m)}"),
        (
            (r"std::bad_alloc", "Cannot allocate memory", "^MemoryError", "DefaultCPUAllocator"),
            "out of main memory",
        ),
        (("No space left on device",), "no space left on a disk (or in /dev/shm)"),
        (("Too many open files",), "too many open files: raise `ulimit -n`"),
        (
            (r"Value error, (.+?)(?: \[type=|$)",),
            lambda m: f"vLLM refused its options: {_group(m)}",
        ),
    )
)
LAST_ERROR = re.compile(r"(?:^|\] ?|\) )((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)
NO_ERROR = re.compile(r"\b(DEBUG|INFO|WARNING) \d\d-\d\d ")
"""Lines of vLLM's logger below an error: they warn of what may happen, or name options."""
SYMPTOMS = ("Engine core initialization failed", "EngineDeadError", "WorkerProc initialization")
"""Errors that only say that another process failed."""


def death_reason(exit_code: int, log_tail: str) -> str:
    """Why vLLM ended, in words: the cause that its log names, else its exit code."""
    return f"{_cause(log_tail) or _killed(exit_code) or 'it said no reason'} ({_ended(exit_code)})"


def _cause(log_tail: str) -> str | None:
    """The first known cause by rank, wherever it stands; else the last error that is no symptom."""
    lines = [line for line in log_tail.splitlines() if not NO_ERROR.search(line)]
    for pattern, reason in REASONS:
        for line in lines:
            match = pattern.search(line)
            if match:
                return reason if isinstance(reason, str) else reason(match)
    errors = [e for e in LAST_ERROR.findall(log_tail) if not any(s in e for s in SYMPTOMS)]
    return errors[-1].strip()[:300] if errors else None


def _killed(exit_code: int) -> str | None:
    number = _signal(exit_code)
    if number == signal.SIGKILL:
        return "killed, most likely by the kernel for lack of main memory (see `dmesg`)"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL):
        return "it crashed outside of Python"
    return None


def _signal(exit_code: int) -> int | None:
    """Popen's -N and a shell's 128 + N."""
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if 128 < exit_code < 160 else None


def _ended(exit_code: int) -> str:
    number = _signal(exit_code)
    if number is None:
        return f"exit status {exit_code}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
