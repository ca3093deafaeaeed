"""`headrace pin` against a real registry on loopback; the model hub is a fake (see fakes.py)."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import GoalMissedError, HeadraceError, InputError
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_text, recipes
from headrace.targets.kubernetes.pins import ask
from headrace.targets.kubernetes.pins.credentials import credentials_for
from headrace.targets.kubernetes.pins.image import parse_image
from headrace.targets.kubernetes.pins.registry import digest_of
from headrace.targets.kubernetes.shape import PICKER_IMAGE
from tests.targets.kubernetes.pins.fakes import COMMIT, fake, hub
from tests.targets.kubernetes.pins.registry import (
    HTPASSWD,
    IDENTITY,
    PASSWORD,
    USER,
    TokenServer,
    push,
    registry,
)

pytestmark = pytest.mark.integration

FLEET = """\
# small, and laid out by hand
name: small
model:   Qwen/Qwen3.5-0.8B
hardware: {gpu: B200,  gpus_per_node: 2}
target:
    kind: kubernetes   # one of ours
"""


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in anywhere, whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING_FACE", "DOCKER_", "REGISTRY_")):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def open_registry(images: Path) -> Iterator[str]:
    with registry(images) as host:
        for name in ("vllm/vllm-openai:v0.33.0", "vllm/vllm-openai:v0.18.0"):
            push(host, *name.split(":"), name)
        push(host, "envoyproxy/envoy", "v1.40.0")
        push(host, *PICKER_IMAGE.removeprefix("registry.k8s.io/").split(":"))
        push(host, "public/tool", "1")
        push(host, "secret/tool", "1")
        yield host


def look_up(name: str, mirror: str | None = None) -> str:
    with ask.client() as client:
        return digest_of(client, parse_image(name), mirror)


def run(*words: object) -> Any:
    verb = str(words[0])
    return CliRunner().invoke(application(verb), list(map(str, words)), catch_exceptions=False)


def log_in(monkeypatch: pytest.MonkeyPatch, host: str, password: str = PASSWORD) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {host: {"auth": auth}}}))


def test_the_digest_is_the_index_of_all_architectures(open_registry: str) -> None:
    digest = push(open_registry, "some/tool", "1", "anything")
    assert look_up(f"{open_registry}/some/tool:1") == digest
    assert look_up("some/tool:1", f"http://{open_registry}") == digest


ON_KUBERNETES = [r.name for r in recipes() if r.name != "tiny-qwen35-cpu"]
"""All but the one whose model is a folder of this machine, which no cluster has."""


@pytest.mark.parametrize("name", ON_KUBERNETES)
def test_pinned_recipes_check_clean(
    name: str, open_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, out = tmp_path / "fleet.yaml", tmp_path / "out"
    text = recipe_text(name).replace("kind: local ", "kind: kubernetes ")
    text = text.replace("kind: local\n", "kind: kubernetes\n").replace(
        "kind: simulated", "kind: vllm"
    )
    fleet.write_text(text)
    mirror = f"docker.io=http://{open_registry}"
    with hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        done = run("pin", fleet, "--mirror", mirror, "--json")
    assert [pin["state"] for pin in json.loads(done.stdout)["pins"]] == ["unpinned"] * 3
    rendered = run("render", "kubernetes", fleet, "-o", out, "--json")
    assert json.loads(rendered.stdout)["remark"] == ""
    assert json.loads(run("check", out, "--json").stdout)["findings"] == []


def test_a_fleet_that_is_not_pinned_says_so(tmp_path: Path) -> None:
    fleet, out = tmp_path / "fleet.yaml", tmp_path / "out"
    fleet.write_text(FLEET)
    remark = json.loads(run("render", "kubernetes", fleet, "-o", out, "--json").stdout)["remark"]
    assert remark == (
        "not pinned: vllm/vllm-openai:v0.33.0, envoyproxy/envoy:v1.40.0, Qwen/Qwen3.5-0.8B at its "
        f"newest commit: check finds it, headrace pin {fleet} mends it"
    )


def test_only_pins_change_and_moved_tags_are_told(
    open_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        FLEET + "    image: acme/vllm:stable  # ours\n    data_plane: inference-pool\n"
    )
    fleet.chmod(0o600)
    mirror = ["--mirror", f"docker.io=http://{open_registry}"]
    mirror += ["--mirror", f"registry.k8s.io=http://{open_registry}"]
    first = push(open_registry, "acme/vllm", "stable", "first")
    picker = look_up(PICKER_IMAGE, f"http://{open_registry}")
    with hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        run("pin", fleet, *mirror)
        assert fleet.read_text() == (
            FLEET
            + f"    image: acme/vllm:stable@{first}  # ours\n    data_plane: inference-pool\n"
            + f"    picker_image: {PICKER_IMAGE}@{picker}\n"
            + "    storage:\n"
            + f"      revision: {COMMIT}\n"
        )
        assert fleet.stat().st_mode & 0o777 == 0o600

        second = push(open_registry, "acme/vllm", "stable", "second")
        before = fleet.read_text()
        with pytest.raises(GoalMissedError, match="1 of 3 names are unpinned or have moved"):
            run("pin", fleet, *mirror, "--check")
        assert fleet.read_text() == before
        run("pin", fleet, *mirror)
        assert run("pin", fleet, *mirror, "--check").exit_code == 0
    assert fleet.read_text() == before.replace(first, second)
    assert served.asked[0][0] == "GET /api/models/Qwen/Qwen3.5-0.8B/revision/main"


def test_an_image_follows_the_version_that_is_planned_for(
    open_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET + "engine: {version: 0.18.0}\n")
    mirror = f"docker.io=http://{open_registry}"
    with hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        run("pin", fleet, "--mirror", mirror)
        fleet.write_text(fleet.read_text().replace("version: 0.18.0", "version: 0.33.0"))
        run("pin", fleet, "--mirror", mirror)
    image = load_fleet(fleet).target.image
    expected = look_up("vllm/vllm-openai:v0.33.0", f"http://{open_registry}")
    assert image == f"vllm/vllm-openai:v0.33.0@{expected}"


def test_a_model_of_the_users_own_volume_and_a_bare_digest_are_left_alone(
    open_registry: str, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.yaml"
    image = "vllm/vllm-openai@sha256:" + "0" * 64
    storage = "storage: {kind: existing, claim: models}"
    fleet.write_text(FLEET + f"    image: {image}\n    {storage}\n    data_plane: service\n")
    before = fleet.read_text()
    done = json.loads(run("pin", fleet, "--json").stdout)
    assert [pin["state"] for pin in done["pins"]] == ["by digest alone"]
    assert fleet.read_text() == before


def test_a_fleet_that_runs_no_images(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(recipe_text("qwen35-27b-h200x1"))
    with pytest.raises(InputError, match="target: local runs no images") as caught:
        run("pin", fleet)
    assert "kind: kubernetes" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("docker.io", "expected HOST=URL"),
        ("docker.io=ftp://x", "expected HOST=URL"),
        ("docker.io=https://me:secret@cache", "no place for a password"),
    ],
)
def test_mirrors_that_cannot_be(option: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        run("pin", tmp_path / "fleet.yaml", "--mirror", option)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_registry_with_passwords(
    open_registry: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = images / "htpasswd"
    users.write_text(HTPASSWD)
    with registry(images, {"htpasswd": {"realm": "private", "path": str(users)}}) as host:
        name = f"{host}/secret/tool:1"
        with pytest.raises(HeadraceError, match=r"no public repository .*\(401\)") as caught:
            look_up(name)
        assert caught.value.hint == (f"check the name; for a private one: docker login {host}")
        log_in(monkeypatch, host, "wrong")
        with pytest.raises(HeadraceError, match="refuses the credentials from DOCKER_AUTH_CONFIG"):
            look_up(name)
        log_in(monkeypatch, host)
        assert look_up(name) == look_up(f"{open_registry}/secret/tool:1")


def test_a_registry_with_tokens(
    open_registry: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TokenServer(tmp_path) as tokens, registry(images, tokens.auth) as host:
        public, secret = f"{host}/public/tool:1", f"{host}/secret/tool:1"
        assert look_up(public) == look_up(f"{open_registry}/public/tool:1")
        with pytest.raises(HeadraceError, match="no public repository"):
            look_up(secret)
        with pytest.raises(HeadraceError, match=f"has no tag 2 of {host}/public/tool"):
            look_up(f"{host}/public/tool:2")

        log_in(monkeypatch, host, "wrong")
        with pytest.raises(HeadraceError, match="refuses the credentials"):
            look_up(public)
        log_in(monkeypatch, host)
        expected = look_up(f"{open_registry}/secret/tool:1")
        assert look_up(secret) == expected

        entry = {"auths": {host: {"identitytoken": IDENTITY}}}
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(entry))
        assert look_up(secret) == expected
    assert tokens.asked == [*["anonymous"] * 3, *["password"] * 2, "identity token"]


def helper(folder: Path, body: str) -> None:
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".docker").mkdir()
    config = tmp_path / ".docker" / "config.json"
    config.write_text(json.dumps({"credHelpers": {"r.example": "test"}}))
    assert credentials_for("other.example") is None
    with pytest.raises(HeadraceError, match="docker-credential-test: No such file"):
        credentials_for("r.example")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, """printf '{"Username": "me", "Secret": "%s"}' "$(cat)" """)
    found = credentials_for("r.example")
    assert found is not None
    assert (found.user, found.secret) == ("me", "r.example")
    assert "r.example" not in repr(found)
    helper(tmp_path, "exit 1")
    assert credentials_for("r.example") is None
    helper(tmp_path, "echo nonsense")
    with pytest.raises(HeadraceError, match="said no credentials"):
        credentials_for("r.example")


def test_docker_hub_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "https://index.docker.io/v1/")
    found = credentials_for("docker.io")
    assert found is not None
    assert found.user == USER


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "config.json: not JSON"), ('{"auths": {"r": {"auth": "%%"}}}', "not base64")],
)
def test_a_broken_configuration(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(text)
    with pytest.raises(InputError, match=says):
        credentials_for("r")


REGISTRY_ANSWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"status": 429, "retry_after": "7"}, "allows no more requests", "try again in 7 s, or docker"),
    ({"status": 429}, "allows no more requests", "try again later"),
    ({"status": 503}, r"Service Unavailable \(503\)", "try again later"),
    ({"status": 404}, r"has no tag 1 of a/b \(404\)", "check the name and the tag"),
    ({"docker_content_digest": "md5:1"}, "does not answer as a registry does", "proxies"),
    ({"status": 401}, "no public repository a/b", "docker login"),
    ({"status": 302, "location": "/again"}, "maximum allowed redirects", "check the network"),
]


@pytest.mark.parametrize(("answer", "says", "hint"), REGISTRY_ANSWERS)
def test_registries_that_refuse(answer: dict[str, Any], says: str, hint: str) -> None:
    with fake(**answer) as served, pytest.raises(HeadraceError, match=says) as caught:
        look_up("a/b:1", served.url)
    assert hint in str(caught.value.hint)


def test_a_registry_that_says_no_digest_is_asked_for_the_manifest() -> None:
    with fake(body=b"{}") as served:
        digest = look_up("a/b:1", served.url)
    assert digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert [words.split()[0] for words, _ in served.asked] == ["HEAD", "GET"]


def test_no_registry_there_and_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake() as gone:
        pass
    with pytest.raises(HeadraceError, match="Connection refused") as caught:
        look_up("a/b:1", gone.url)
    assert "HTTPS_PROXY" in str(caught.value.hint)
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.2)
    with fake(wait_s=1) as silent, pytest.raises(HeadraceError, match=r"not answer within 0.2 s"):
        look_up("a/b:1", silent.url)


def test_credentials_do_not_follow_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub() as other, fake(307, location=f"{other.url}/x") as first:
        monkeypatch.setenv("HF_ENDPOINT", first.url)
        assert commit() == COMMIT
    assert first.asked[0][1]["authorization"] == "Bearer hf_secret"
    assert "authorization" not in other.asked[0][1]


def commit() -> str:
    from headrace.targets.kubernetes.pins.hub import commit_of

    with ask.client() as client:
        return commit_of(client, "org/model")


def test_the_hubs_own_client_reads_the_same_from_the_fake() -> None:
    from huggingface_hub import HfApi

    with hub() as served:
        assert HfApi(endpoint=served.url).model_info("org/model", revision="main").sha == COMMIT


def test_the_token_that_hf_auth_login_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.write_text("hf_file\n")
    with hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        commit()
    assert served.asked[0][1]["authorization"] == "Bearer hf_file"


HUB_ANSWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"status": 401}, "no such model without a token", "HF_TOKEN"),
    ({"status": 404}, "no such model without a token", "check the name"),
    ({"status": 404, "x_error_code": "RevisionNotFound"}, "no branch 'main'", "storage.revision"),
    ({"status": 403, "x_error_code": "GatedRepo"}, "is gated", "accept its terms"),
    ({"status": 429, "retry_after": "60"}, "no more requests", "in 60 s, or set HF_TOKEN"),
    ({"status": 500}, r"Internal Server Error \(500\)", "try again later"),
    ({"body": b"<html>log in</html>"}, "not answer as the hub's API", "proxies"),
    ({"body": {"sha": "main"}}, "not answer as the hub's API", "HF_ENDPOINT"),
]


@pytest.mark.parametrize(("answer", "says", "hint"), HUB_ANSWERS)
def test_hubs_that_refuse(
    answer: dict[str, Any], says: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake(**answer) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        with pytest.raises(HeadraceError, match=says) as caught:
            commit()
    assert hint in str(caught.value.hint)


def test_nothing_is_written_when_the_last_question_fails(
    open_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    with fake(503) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        with pytest.raises(HeadraceError, match="look up the commit of Qwen"):
            run("pin", fleet, "--mirror", f"docker.io=http://{open_registry}")
    assert fleet.read_text() == FLEET
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]


def test_a_layout_that_cannot_be_changed_is_told_what_to_write(
    open_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET + "    image: >-\n      vllm/vllm-openai:v0.33.0\n")
    with hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        with pytest.raises(InputError, match="cannot be changed in place") as caught:
            run("pin", fleet, "--mirror", f"docker.io=http://{open_registry}")
    assert f"target.storage.revision: {COMMIT}" in str(caught.value.hint)
