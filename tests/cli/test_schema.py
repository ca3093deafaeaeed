import json

from headrace.spec.schema import SCHEMA_FILE
from tests.cli.test_main import headrace


def test_the_schema_is_printed_as_published(monkeypatch, capsys):
    assert headrace(monkeypatch, "schema") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(SCHEMA_FILE.read_text())
