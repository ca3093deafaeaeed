"""Names of images, as Docker reads them."""

from __future__ import annotations

import pytest

from headrace.errors import InputError
from headrace.targets.kubernetes.pins.image import parse_image
from headrace.targets.kubernetes.pins.registry import url_of

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("vllm/vllm-openai:v0.33.0", "docker.io", "vllm/vllm-openai", "v0.33.0"),
        ("busybox", "docker.io", "library/busybox", "latest"),
        ("docker.io/library/busybox:1", "docker.io", "library/busybox", "1"),
        ("ghcr.io/a/b:x", "ghcr.io", "a/b", "x"),
        ("localhost:5000/b", "localhost:5000", "b", "latest"),
        ("build:5000/a/b", "build:5000", "a/b", "latest"),
        ("[::1]:5000/b:t", "[::1]:5000", "b", "t"),
        ("registry.k8s.io/deep/er/epp:v1.5.0", "registry.k8s.io", "deep/er/epp", "v1.5.0"),
        (f"a/b@{DIGEST}", "docker.io", "a/b", None),
        (f"a/b:t@{DIGEST}", "docker.io", "a/b", "t"),
    ],
)
def test_parts(text: str, host: str, repository: str, tag: str | None) -> None:
    image = parse_image(text)
    assert (image.host, image.repository, image.tag) == (host, repository, tag)
    assert image.digest == (DIGEST if "@" in text else None)


def test_a_pinned_name_keeps_what_was_typed() -> None:
    assert parse_image(f"docker.io/a/b:t@{DIGEST}").at(DIGEST) == f"docker.io/a/b:t@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    ["", "Upper/case", "a/b@sha256:...", "a/b:", "a b", f"a@{DIGEST}x", "https://a/b", "a//b"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InputError, match="no image name"):
        parse_image(text)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        ("[::1]:1", "http://[::1]:1"),
        ("localhost.example.com", "https://localhost.example.com"),
    ],
)
def test_only_this_machine_is_asked_without_tls(host: str, url: str) -> None:
    assert url_of(host) == url
