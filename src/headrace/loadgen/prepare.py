"""What a measurement needs before the load: servers that answer, samples, words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError
from headrace.loadgen.datasets import check_samples, load_dataset
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.preflight import api_key, check_servers
from headrace.loadgen.samples import Sample, write_samples
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.tokens import counter, find_words
from headrace.loadgen.words import Words

SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Prepared:
    """A measurement that can begin. `spec` says how many requests a replayed trace has."""

    spec: BenchSpec
    endpoints: list[Endpoint]
    engine: str
    key: str | None
    samples: list[Sample]
    words: Words | None

    def samples_file(self, folder: Path) -> Path | None:
        """The samples where workers read them; None without a dataset."""
        if not self.samples:
            return None
        path = folder / SAMPLES
        write_samples(self.samples, path)
        return path


def prepare(spec: BenchSpec) -> Prepared:
    """Look at the servers and read the dataset.

    Raises InputError for bad input, HeadraceError for a server that cannot be reached.
    """
    key = api_key(spec.api_key_env)
    if spec.dataset is not None and not spec.dataset.is_file():
        raise InputError(f"--dataset {spec.dataset}: no such file")
    endpoints, engine = check_servers(spec)
    count = counter(spec, endpoints[0], key)
    samples = _samples(spec, count)
    words = find_words(spec, endpoints[0], key) if not samples else None
    if spec.replay_speed is not None:
        samples, spec = _replayed(spec, samples)
    return Prepared(spec, endpoints, engine, key, samples, words)


def _samples(spec: BenchSpec, count: Callable[[str], int] | None) -> list[Sample]:
    if spec.dataset is None:
        return []
    samples = load_dataset(spec.dataset, spec.dataset_format, count)
    check_samples(samples, spec.dataset, chat=spec.endpoint == "chat")
    return samples


def _replayed(spec: BenchSpec, samples: list[Sample]) -> tuple[list[Sample], BenchSpec]:
    """The part of the trace that is replayed, and a spec that counts its requests."""
    assert spec.replay_speed is not None
    if samples[-1].at_s <= 0:
        raise InputError(
            f"--replay: {spec.dataset} has no times in it", hint="pass --concurrency or --rate"
        )
    if spec.duration_s is not None:
        last_s = spec.duration_s * spec.replay_speed
        samples = [sample for sample in samples if sample.at_s <= last_s]
    samples = samples[: spec.requests]
    told = {"requests": len(samples), "duration_s": None}
    return samples, spec.model_copy(update=told)
