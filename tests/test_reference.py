"""Generated files are current, and the links of the documentation lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


def generated() -> dict[Path, str]:
    pages: dict[Path, str] = load_script("scripts/write_reference.py").pages()
    return pages


def test_generated_files_are_current():
    stale = [
        str(path)
        for path, text in generated().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != text
    ]
    assert stale == [], "run `make docs`"


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_of_the_repository(page):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
