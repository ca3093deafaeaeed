"""A page as the text that gives it structure: title, headings, captions, column heads."""

from __future__ import annotations

from html.parser import HTMLParser

KEPT = {"title", "h1", "h2", "h3", "caption", "th", "summary", "dt", "nav"}
VOID = {"meta", "link", "path", "br"}


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        self.open.append("row" if ("scope", "row") in attrs else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        ended = self.open.pop()
        assert ended in (tag, "row"), f"<{ended}> is closed by </{tag}>"
        if ended in KEPT and self.text:
            self.lines.append(f"{ended}: {' '.join(' '.join(self.text).split())}")
            self.text = []

    def handle_data(self, data: str) -> None:
        if KEPT & set(self.open) and data.strip():
            self.text.append(data)


def outline(page: str) -> str:
    """One line per structural element. Fails on elements that are not closed in order."""
    parser = _Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return "\n".join(parser.lines) + "\n"
