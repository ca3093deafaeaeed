"""Write random weights of realistic size and spread beside a config.json, on the machine itself.

    python benchmarks/gpu/weights.py FOLDER                # a folder that models.py wrote
    python benchmarks/gpu/weights.py FOLDER --list         # only say which tensors, as JSON lines

vLLM's `load_format: dummy` draws between -0.001 and 0.001, of which FP8 keeps almost nothing: the
GPU multiplies zeros, draws less power and is quicker than it will be with a checkpoint. Here every
matrix is normal with a deviation of one over the square root of its inputs, so that activations are
of order one through all layers, and FP8 codes use their range. What it says is noise.

Needs PyTorch, transformers and safetensors (`python3` of a machine that runs vLLM, not Headrace's
own). On a GPU, where there is one, the disk sets the pace. The index names the weights as random;
Headrace reads that and says so in every plan and result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from parameters import Format, Parameter, Stored, parameters, read_format

from headrace.errors import HeadraceError

sys.path.remove(str(Path(__file__).resolve().parent))
"""transformers would take `kernels.py` beside this file for a package of that name."""

SHARD_BYTES = 3 * 10**9
SPARE_BYTES = 2**30
"""What stays free on the disk."""
FP8_MAX = 448.0
INPUT_MAX = 16.0
"""Static scales of inputs reach this far: activations are of order one, products of two further."""
INTO_RESIDUAL = ("o_proj", "out_proj", "down_proj", "linear_fc2")
"""What adds to the residual stream; in smaller steps, so that it stays of order one."""
NEUTRAL = {"Qwen3_5RMSNorm": 0.0}
"""The weight at which a norm only normalizes: this one multiplies by 1 + weight, others by it."""
INDEX = "model.safetensors.index.json"
DECAY = (1.0, 16.0)
STEP = (0.001, 0.1)
"""Of Mamba 2 and Gated DeltaNet before training: how fast states decay, and the size of a step."""


@dataclass
class Source:
    """Where random values come from. `depth` is the number of decoder layers."""

    seed: int
    device: str
    depth: int
    tied: bool

    def __post_init__(self) -> None:
        import torch

        self._generator = torch.Generator(self.device).manual_seed(self.seed)

    def values(self, parameter: Parameter, dtype: str) -> Any:
        """A tensor for `parameter`, in float32 where it is to be quantized. Raises ValueError."""
        leaf = parameter.name.rpartition(".")[2]
        if leaf == "A_log":
            return self._uniform(parameter.shape, *DECAY).log()
        if leaf == "dt_bias":
            step = self._uniform(parameter.shape, *map(math.log, STEP)).exp()
            return step + (-(-step).expm1()).log()  # the inverse of softplus
        if leaf == "bias":
            return self._empty(parameter.shape).zero_()
        if "Norm" in parameter.kind:
            return self._empty(parameter.shape).fill_(NEUTRAL.get(parameter.kind, 1.0))
        if len(parameter.shape) < 2:
            raise ValueError(f"{parameter.name}: what {parameter.kind} does with it is not known")
        return self._empty(parameter.shape, dtype).normal_(
            0.0, self._deviation(parameter), generator=self._generator
        )

    def _deviation(self, parameter: Parameter) -> float:
        """So that outputs are of order one where inputs are."""
        if parameter.kind == "Embedding":
            return 1 / math.sqrt(parameter.shape[1]) if self.tied else 1.0
        adds = parameter.module.endswith(INTO_RESIDUAL)
        gain = 1 / math.sqrt(2 * self.depth) if adds else 1.0
        return gain / math.sqrt(math.prod(parameter.shape[1:]))

    def _empty(self, shape: tuple[int, ...], dtype: str = "F32") -> Any:
        import torch

        kind = torch.bfloat16 if dtype == "BF16" else torch.float32
        return torch.empty(shape, dtype=kind, device=self.device)

    def _uniform(self, shape: tuple[int, ...], low: float, high: float) -> Any:
        return self._empty(shape).uniform_(low, high, generator=self._generator)


def tensors(parameter: Parameter, form: Format, source: Source) -> dict[str, Any]:
    """The stored tensors of a parameter, by name, in main memory."""
    import torch

    codes, *_ = form.stored(parameter)
    drawn = source.values(parameter, codes.dtype)
    if codes.dtype != "F8_E4M3":
        return {parameter.name: drawn.to("cpu", torch.bfloat16)}
    scales, spread = _scales(drawn, form)
    made = {
        parameter.name: drawn.div_(spread).clamp_(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).cpu(),
        form.scale_name(parameter): scales.cpu(),
    }
    if form.static_inputs:
        made[f"{parameter.module}.input_scale"] = torch.tensor([INPUT_MAX / FP8_MAX])
    return made


def _scales(drawn: Any, form: Format) -> tuple[Any, Any]:
    """Scales at which the largest value has the largest code; and the same, spread over values."""
    if form.quantization.dtype == "fp8_tensor":
        scales = drawn.abs().amax().reshape(1) / FP8_MAX
        return scales, scales
    if form.quantization.dtype == "fp8_channel":
        scales = drawn.abs().amax(dim=1, keepdim=True) / FP8_MAX
        return scales, scales
    return _block_scales(drawn, form.block)


def _block_scales(drawn: Any, block: tuple[int, int]) -> tuple[Any, Any]:
    """Outputs and inputs that fill no block have the scale of what there is."""
    import torch

    (outputs, inputs), (high, wide) = drawn.shape, block
    padded = torch.nn.functional.pad(drawn, (0, -inputs % wide, 0, -outputs % high))
    tiles = padded.view(padded.shape[0] // high, high, padded.shape[1] // wide, wide)
    scales = tiles.abs().amax(dim=(1, 3)) / FP8_MAX
    spread = scales.repeat_interleave(high, 0).repeat_interleave(wide, 1)
    return scales, spread[:outputs, :inputs]


def shards(every: Sequence[Parameter], form: Format) -> list[list[Parameter]]:
    """Consecutive parameters in files of `SHARD_BYTES`, or of one larger tensor."""
    made: list[list[Parameter]] = [[]]
    left = SHARD_BYTES
    for parameter in every:
        size = sum(tensor.bytes for tensor in form.stored(parameter))
        if size > left and made[-1]:
            made.append([])
            left = SHARD_BYTES
        made[-1].append(parameter)
        left -= size
    return made


def write(folder: Path, files: list[list[Parameter]], form: Format, source: Source) -> None:
    """Write all files into a draft folder, then put them in place; index last, all or nothing."""
    draft = folder / f".weights-{os.getpid()}"
    draft.mkdir()
    try:
        index: dict[str, str] = {}
        for number, file in enumerate(files, start=1):
            name = f"model-{number:05}-of-{len(files):05}.safetensors"
            index |= dict.fromkeys(_write_shard(draft / name, file, form, source), name)
        about = _about(files, form, source.seed)
        document = json.dumps({"metadata": about, "weight_map": index}, indent=1)
        (draft / INDEX).write_text(document + "\n", encoding="utf-8")
        _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _about(files: list[list[Parameter]], form: Format, seed: int) -> dict[str, Any]:
    """What the index says of the weights; Headrace reads `random_weights`."""
    return {"total_size": _bytes(files, form), "random_weights": f"normal, seed {seed}"}


def _is_made(folder: Path, files: list[list[Parameter]], form: Format, seed: int) -> bool:
    """Whether the same weights are there, whole: the index comes last."""
    if not (folder / INDEX).is_file():
        return False
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    names = {tensor.name for tensor in _all(files, form)}
    return bool(
        index["metadata"] == _about(files, form, seed) and set(index["weight_map"]) == names
    )


def _write_shard(path: Path, file: list[Parameter], form: Format, source: Source) -> list[str]:
    from safetensors.torch import save_file  # type: ignore[import-not-found]

    began = time.perf_counter()
    made: dict[str, Any] = {}
    for parameter in file:
        made |= tensors(parameter, form, source)
    drawn = time.perf_counter()
    save_file(made, path, metadata={"format": "pt"})
    ended = time.perf_counter()
    megabytes = path.stat().st_size / 1e6
    _say(
        f"{path.name}  {megabytes:,.0f} MB, drawn in {drawn - began:.1f} s, "
        f"written in {ended - drawn:.1f} s: {megabytes / (ended - began):,.0f} MB/s"
    )
    return list(made)


def _put_in_place(draft: Path, folder: Path) -> None:
    """Renames take no time, and nothing may come between them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for old in _weights(folder):
        old.unlink()
    for file in sorted(draft.iterdir()):
        file.replace(folder / file.name)


def _weights(folder: Path) -> list[Path]:
    return [*folder.glob("*.safetensors"), *folder.glob(INDEX)]


def _all(files: list[list[Parameter]], form: Format) -> Iterator[Stored]:
    return (tensor for file in files for p in file for tensor in form.stored(p))


def _bytes(files: list[list[Parameter]], form: Format) -> int:
    return sum(tensor.bytes for tensor in _all(files, form))


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write random weights beside a config.json.")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="other values; by device too")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--list", action="store_true", help="write nothing, print the tensors")
    parser.add_argument("--force", action="store_true", help="replace weights that are there")
    return parser.parse_args()


def main() -> int:
    """Exit status 2 for what the caller can put right, before anything is written."""
    options = _options()
    folder: Path = options.folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        form = read_format(config, str(folder / "config.json"))
        files = shards(parameters(folder), form)
    except (OSError, ValueError, HeadraceError) as error:
        _say(f"{error}\ngive a folder that models.py wrote")
        return 2
    except ImportError as error:
        _say(f"{error}: start it with the python3 that has PyTorch and transformers")
        return 2
    if options.list:
        for tensor in _all(files, form):
            print(json.dumps(asdict(tensor)))
        return 0
    if not options.force and _is_made(folder, files, form, options.seed):
        _say(f"{folder} has these weights already")
        return 0
    reason = _refusal(folder, files, form, options.force)
    if reason:
        _say(reason)
        return 2
    text = config.get("text_config") or config
    tied = bool(text.get("tie_word_embeddings"))
    source = Source(options.seed, _device(options.device), text["num_hidden_layers"], tied)
    return _make(folder, files, form, source)


def _refusal(folder: Path, files: list[list[Parameter]], form: Format, force: bool) -> str | None:
    if _weights(folder) and not force:
        return f"{folder} has other weights: name another folder, or say --force to replace them"
    needed = _bytes(files, form)
    free = shutil.disk_usage(folder).free
    if free >= needed + SPARE_BYTES:
        return None
    return (
        f"{folder}: {needed / 1e9:.1f} GB are to be written and {free / 1e9:.1f} GB are free: "
        "give a folder on a larger disk (/dev/shm is memory)"
    )


def _make(folder: Path, files: list[list[Parameter]], form: Format, source: Source) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # ignored in a shell's background
        signal.signal(number, signal.default_int_handler)
    began = time.perf_counter()
    try:
        write(folder, files, form, source)
    except KeyboardInterrupt:
        _say("interrupted: nothing was kept")
        return 130
    except (OSError, ValueError) as error:
        _say(f"{folder}: {error}: nothing was kept")
        return 1
    size = _bytes(files, form) / 1e9
    elapsed = time.perf_counter() - began
    _say(f"{folder}: {size:.2f} GB on {source.device} in {elapsed:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
