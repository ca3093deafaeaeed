"""The name of a container image, taken apart as Docker does. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.errors import InputError

DOCKER_HUB = "docker.io"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(
    r"(localhost|[a-zA-Z0-9-]*[.][a-zA-Z0-9.-]*|[a-zA-Z0-9.-]+(?=:)|\[[0-9a-f:]+\])(:\d+)?"
)
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    rf"(?:@(?P<digest>{DIGEST.pattern}))?"
)


@dataclass(frozen=True)
class Image:
    """`HOST/REPOSITORY:TAG@DIGEST`, with Docker Hub's defaults filled in."""

    name: str
    """Host and repository as they were typed."""
    host: str
    repository: str
    tag: str | None
    """None only where a digest stands alone: then there is no tag that could move."""
    digest: str | None

    def at(self, digest: str) -> str:
        """The name that is fixed and still tells the tag; whoever pulls looks at the digest."""
        return f"{self.name}:{self.tag}@{digest}"


def parse_image(text: str) -> Image:
    """Take a name apart. Raises InputError for what no registry could serve."""
    first, slash, rest = text.partition("/")
    host = first if slash and _HOST.fullmatch(first) else ""
    found = _NAME.fullmatch(rest if host else text)
    if found is None:
        raise InputError(
            f"{text!r} is no image name; expected HOST/NAME:TAG or HOST/NAME@sha256:...",
            hint="names are lower case; a digest has 64 hexadecimal digits",
        )
    repository, tag, digest = found["repository"], found["tag"], found["digest"]
    name = f"{host}/{repository}" if host else repository
    if host in ("", "index.docker.io", DOCKER_HUB):
        host = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    return Image(name, host, repository, tag or (None if digest else "latest"), digest)
