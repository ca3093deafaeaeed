"""Files that others read while they are written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: readers see the old content or the new, never a part.

    A file that was there keeps its permissions.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, draft)
    draft.replace(path)
