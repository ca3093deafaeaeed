"""Where a fleet runs: one class per kind of target, each closed to the others' options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag

from headrace.spec.kubernetes import KubernetesTarget
from headrace.spec.part import Part

DEFAULT_KIND = "local"


class LocalTarget(Part):
    """The machine that headrace is started on."""

    kind: Literal["local"] = Field("local", description="`local`: this machine.")


class RayTarget(Part):
    """A Ray cluster: an actor per node starts that node's replicas. Needs `headrace[ray]`."""

    kind: Literal["ray"] = Field(description="`ray`: actors on a Ray cluster's nodes.")
    address: str | None = Field(
        None,
        description="`host:port` of a running cluster, or `auto` for the one that this machine "
        "belongs to; left out, a new one is started on this machine alone.",
        examples=["10.0.0.1:6379"],
    )
    cpus_per_node: PositiveInt = Field(
        1, description="CPUs that Ray sets aside on each node, beside its GPUs."
    )


class SlurmTarget(Part):
    """A Slurm job: `srun` starts an agent on each of its nodes."""

    kind: Literal["slurm"] = Field(description="`slurm`: a job, with an agent on each node.")
    partition: str | None = Field(None, description="`--partition`.", examples=["gpu"])
    account: str | None = Field(None, description="`--account`.", examples=["research"])
    time_limit: str | None = Field(
        None,
        pattern=r"^(\d+-)?\d+(:\d{1,2}){0,2}$",
        description="`--time`, as Slurm writes it: minutes, H:M:S or D-H:M:S.",
        examples=["04:00:00"],
    )
    drain_s: PositiveInt = Field(
        120, description="Seconds before the time limit at which the fleet starts to drain."
    )
    exclusive: bool = Field(True, description="Take whole nodes, with all of their memory.")
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Further `sbatch` options by their long name, such as `qos: high`; an empty "
        "value makes a switch.",
    )
    srun_options: dict[str, str] = Field(
        default_factory=dict,
        description="Further `srun` options, such as Pyxis' `container-image`.",
    )
    setup: str | None = Field(
        None, description="Shell lines before the agents start, such as `module load cuda`."
    )
    python: str | None = Field(
        None,
        description="The Python on the nodes that has Headrace; the one that renders if left out.",
        examples=["/shared/venv/bin/python"],
    )


KINDS: dict[str, type[Part]] = {
    "local": LocalTarget,
    "ray": RayTarget,
    "slurm": SlurmTarget,
    "kubernetes": KubernetesTarget,
}


def kind_of(target: Any) -> str | None:
    """The kind that a target's mapping asks for; None when it is no text."""
    if isinstance(target, dict):
        kind = target.get("kind", DEFAULT_KIND)
    else:
        kind = getattr(target, "kind", None)
    return kind if isinstance(kind, str) else None


Target = Annotated[
    Annotated[LocalTarget, Tag("local")]
    | Annotated[RayTarget, Tag("ray")]
    | Annotated[SlurmTarget, Tag("slurm")]
    | Annotated[KubernetesTarget, Tag("kubernetes")],
    Discriminator(kind_of),
]
