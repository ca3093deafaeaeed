"""The fleet file's nouns: what is served, on what, for which load, and how well it must go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from headrace.spec.part import Part
from headrace.spec.slo import Slo
from headrace.spec.target import LocalTarget, Target
from headrace.spec.workload import Probability, Workload


class Hardware(Part):
    """The machines: a GPU of the catalog, how many per node, and what an hour of one costs."""

    gpu: str = Field(
        description="A GPU of the catalog: `headrace hardware` lists them.", examples=["B200"]
    )
    nodes: PositiveInt = Field(1, description="Machines in the fleet.")
    gpus_per_node: PositiveInt = Field(1, description="GPUs in each machine.")
    usd_per_gpu_hour: PositiveFloat | None = Field(
        None, description="Price of one GPU for an hour in USD; the catalog's price when left out."
    )
    host_time: PositiveFloat = Field(
        1.0,
        description="How long one core of the machine takes to launch kernels, over the machines "
        "that calibrations were made on: 1.5 is a host half as slow again.",
    )
    catalog: str | None = Field(
        None, description="A TOML file whose entries are added to the catalog or override it."
    )

    @property
    def gpus(self) -> int:
        """All GPUs of the fleet."""
        return self.nodes * self.gpus_per_node


class Engine(Part):
    """The server that runs on the GPUs. `args` are vLLM's own and win over the plan."""

    kind: Literal["vllm", "simulated"] = Field("vllm", description="Stock vLLM, or its simulation.")
    version: str = Field(
        "0.33.0",
        pattern=r"^\d+\.\d+(\.\d+)?$",
        description="The vLLM version.",
        examples=["0.33.0"],
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="`vllm serve` options as name: value, with or without the leading dashes.",
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables for the engine. Not for secrets."
    )
    executable: str = Field("vllm", description="The `vllm` program: a name on PATH or a path.")
    load_format: Literal["auto", "dummy"] = Field(
        "auto", description="dummy: random weights; only speed can be measured, and results say so."
    )
    synthetic_acceptance: bool = Field(
        False,
        description="true: drafts are accepted by chance, at `workload.acceptance` (vLLM 0.20 on).",
    )
    planned: bool = Field(
        True, description="false: vLLM's own defaults for all that `args` leaves out; no search."
    )

    @field_validator("args", mode="before")
    @classmethod
    def _one_spelling(cls, args: object) -> object:
        """`--max-num-seqs`, `max-num-seqs` and `max_num_seqs` are one option."""
        if not isinstance(args, dict):
            return args
        return {str(name).lstrip("-").replace("-", "_"): value for name, value in args.items()}


class Tls(Part):
    """PEM files, seen from the fleet file."""

    certificate: str = Field(description="The gateway's certificate, with its chain.")
    key: str = Field(description="The certificate's private key.")
    client_ca: str | None = Field(
        None, description="Authority of client certificates; clients must show one then."
    )


class Gateway(Part):
    """The data plane in front of the replicas: Envoy, or none."""

    policy: Literal["round-robin", "least-request", "affinity", "prefix-affinity", "none"] = Field(
        "least-request",
        description="How requests are spread; `affinity` follows `x-session-id`, `prefix-affinity` "
        "the prompt's first 1,024 characters; `none`: clients call the replicas.",
    )
    host: str = Field(
        "127.0.0.1", description="Where it listens.", examples=["0.0.0.0", "127.0.0.1"]
    )
    keys_file: str | None = Field(
        None, description="API keys, a line each: NAME KEY [END]. Without it no key is asked for."
    )
    tls: Tls | None = Field(
        None,
        description="Certificate and key; without it the gateway speaks plain HTTP.",
        examples=["{certificate: cert.pem, key: key.pem}"],
    )
    max_in_flight: Literal["auto"] | PositiveInt | None = Field(
        None,
        description="Requests in flight per replica; more are answered 429 with Retry-After. "
        "`auto`: as many as keep the planned TTFT within the SLO.",
    )
    max_body_mb: PositiveFloat = Field(32.0, description="Largest request body, in MB.")
    access_log_share: Probability = Field(
        0.0, description="Share of the requests that logs/access.log gets."
    )


class Fleet(Part):
    """A fleet file: all but `model` and `hardware.gpu` have defaults."""

    name: str = Field(
        "fleet",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Names the fleet's state and logs: lower-case letters, digits and dashes.",
        examples=["qwen35-27b"],
    )
    model: str = Field(
        description="Hub id of a packaged config, or a folder that holds a config.json.",
        examples=["Qwen/Qwen3.5-27B-FP8"],
    )
    checkpoints: list[str] = Field(
        default_factory=list,
        description="Other checkpoints of the same model (block or row-wise FP8, NVFP4, ...) that "
        "the plan may choose instead: hub ids or folders.",
    )
    hardware: Hardware = Field(examples=["{gpu: B200}"])
    goal: Literal["throughput", "cost", "fewest-gpus"] = Field(
        "throughput",
        description="What the plan is to make best: tokens per GPU; USD per token of all GPUs paid "
        "for; or the number of GPUs for the workload's request_rate or token_rate.",
    )
    spare_replicas: NonNegativeInt = Field(
        0, description="Replicas that may be lost without missing a goal; with a rate to serve."
    )
    workload: Workload = Field(default_factory=Workload)
    slo: Slo = Field(default_factory=Slo)
    engine: Engine = Field(default_factory=Engine)
    gateway: Gateway = Field(default_factory=Gateway)
    target: Target = Field(
        default_factory=LocalTarget, description="Where the fleet runs: its `kind` says which."
    )
