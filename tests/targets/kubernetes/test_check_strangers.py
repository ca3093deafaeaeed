"""Manifests of strangers: whatever is in them, `check` says what it finds and never breaks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.crds import packaged
from headrace.targets.kubernetes.check.found import RULES, Source
from headrace.targets.kubernetes.check.run import KUBERNETES, check
from headrace.targets.kubernetes.check.schema import check_schemas
from headrace.targets.kubernetes.render import render
from tests.targets.kubernetes.fleets import CASES

pytestmark = pytest.mark.integration

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx}]
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
BUDGET = "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec:\n  "
IN_WEB = """maxUnavailable: 1
  selector: {matchExpressions: [{key: app, operator: In, values: [web]}]}
"""
HARMLESS = ["image-pinned", "runs-as-root", "privileges", "seccomp"]
"""What every plain Deployment lacks."""
BOMB = "a0: &a0 [x,x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1},*a{n - 1},*a{n - 1}]\n" for n in range(1, 30)
)


def found(folder: Path, text: str | bytes) -> list[tuple[str, int, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "a.yaml").write_bytes(data)
    report = check(folder, ignore=HARMLESS)
    return [(one.rule, one.line, one.message) for one in report.findings]


@pytest.mark.parametrize(
    ("text", "rule", "line", "says"),
    [
        (BOMB, "yaml", 1, "an alias that repeats itself"),
        (CONFIG + "data: &d\n  x: *d\n", "yaml", 1, "an alias that repeats itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "yaml", 1, "nested over 100 deep"),
        ("a: b\n\tc: d\n", "yaml", 2, "not valid YAML"),
        ("a: \0\n", "yaml", 1, "not valid YAML"),
        (CONFIG + "data: !!python/object:os.system {}\n", "yaml", 4, "could not determine"),
        ((CONFIG + "# caf\u00e9\n").encode("latin-1"), "yaml", 4, "not UTF-8"),
        (CONFIG.encode("utf-16"), "yaml", 1, "not UTF-8"),
        ("apiVersion: apps/v1\nkind: Deployment\nspec: {}\n", "schema", 1, "needs apiVersion"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n",
            "schema",
            1,
            "spec",
        ),
        ("apiVersion: 1\nkind: 2\nmetadata: {name: '3'}\n", "schema", 1, "has no 2 in 1"),
        (CONFIG.replace("v1", "extensions/v1beta1"), "schema", 1, "has no ConfigMap"),
        (DEPLOYMENT.replace("[{name: web, image: nginx}]", ""), "schema", 1, "containers"),
        (DEPLOYMENT.replace("nginx", "nginx, resources: 3"), "schema", 1, "resources"),
        (DEPLOYMENT.replace("{name: web, image: nginx}", "web"), "schema", 1, "'web'"),
    ],
)
def test_what_is_wrong_is_told(
    text: str | bytes, rule: str, line: int, says: str, tmp_path: Path
) -> None:
    ((which, where, message),) = found(tmp_path, text)
    assert (which, where) == (rule, line)
    assert says in message


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CONFIG,
        CONFIG.replace("\n", "\r\n"),
        "---\n---\n# nothing\n---\n" + CONFIG,
        "--- hello\n--- [a, b]\n---\n" + CONFIG,
        CONFIG + "data: {a: 2020-01-01, b: 1:30}\n",
        "apiVersion: v1\nkind: List\nitems: [null, 3]\n---\n" + CONFIG,
        "apiVersion: v1\nkind: List\nitems:\n---\n" + CONFIG,
        CONFIG.replace("{name: a}", "&m {name: a}") + "data:\n  <<: *m\n",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: [odd]\n",
        "apiVersion: x.example/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: 3}\n",
        DEPLOYMENT + BUDGET + "{maxUnavailable: 1, selector: {}}\n",
        DEPLOYMENT + BUDGET + IN_WEB,
    ],
)
def test_what_is_odd_but_right_is_left_alone(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, text) == []


def test_an_expression_that_matches_no_pod(tmp_path: Path) -> None:
    text = (
        "maxUnavailable: 1\n  selector: {matchExpressions: [{key: app, operator: DoesNotExist}]}\n"
    )
    assert [which for which, *_ in found(tmp_path, DEPLOYMENT + BUDGET + text)] == [
        "budget-selects-nothing"
    ]


def test_a_number_that_only_go_reads_as_one(tmp_path: Path) -> None:
    env = "nginx, env: [{name: COMMIT, value: 1234e5}]"
    ((which, _, message),) = found(tmp_path, DEPLOYMENT.replace("nginx", env))
    assert which == "schema"
    assert "is not of type 'string'" in message


def test_a_template_is_no_manifest(tmp_path: Path) -> None:
    template = "{{- if .Values.x }}\nkind: ConfigMap\n{{- end }}\n"
    (tmp_path / "a.yaml").write_text(template)
    with pytest.raises(InputError, match="no Kubernetes object") as caught:
        check(tmp_path)
    assert "helm template" in str(caught.value.hint)
    (tmp_path / "b.yaml").write_text(CONFIG)
    assert [file for file, _ in check(tmp_path).unread] == ["a.yaml"]


JUNK: list[Any] = [
    *(None, True, 3, -1.5, "", "x", "25%", "{{ x }}", [], {}, [None], ["x"], [3]),
    *({"a": "b"}, {"a": None}, [{"a": 1}], [{"name": "x"}], {"matchLabels": {"a": "b"}}),
]


@cache
def rendered(case: str) -> list[dict[str, Any]]:
    return [
        value
        for name, text in render(CASES[case]).files.items()
        if name.startswith(("base/", "benchmark/")) and not name.endswith("kustomization.yaml")
        for value in yaml.safe_load_all(text)
    ]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        yield *at, key
        if isinstance(child, dict | list):
            yield from places(child, (*at, key))


@settings(max_examples=40)
@given(st.data())
def test_no_rule_breaks_on_anything(data: st.DataObject) -> None:
    objects = copy.deepcopy(rendered(data.draw(st.sampled_from(list(CASES)))))
    chosen = data.draw(st.integers(0, len(objects) - 1))
    broken = objects[chosen]
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(list(places(broken))))
        parent = broken
        for part in above:
            parent = parent[part]
        if data.draw(st.booleans()):
            parent[last] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
        elif isinstance(parent, dict):
            del parent[last]
    if not isinstance(broken.get("metadata"), dict):
        broken["metadata"] = {}
    findings, fitted = check_schemas([Source(broken, "a.yaml", 1)], packaged(), KUBERNETES)
    others = [Source(other, "a.yaml", 1) for other in objects if other is not broken]
    cluster = Cluster([*others, *fitted])
    assert all(f.line for rule in RULES.values() for f in [*findings, *rule.findings(cluster)])
