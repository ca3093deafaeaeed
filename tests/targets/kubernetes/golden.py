"""The golden renderings. `python -m tests.targets.kubernetes.golden` writes them anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.targets.kubernetes.render import render
from tests.targets.kubernetes.fleets import CASES

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "kubernetes"
WHOLE = "one-node"
"""The case that is kept with all of its files; of the others those that differ most."""
ELSEWHERE = ("base/40-gateway.yaml", "base/60-monitoring.yaml")


def kept(case: str) -> dict[str, str]:
    """The files of a case that are golden."""
    files = render(CASES[case]).files
    if case == WHOLE:
        return dict(files)
    return {
        name: text
        for name, text in files.items()
        if name.startswith(("base/", "benchmark/")) and name not in ELSEWHERE
    }


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for case in CASES:
        for name, text in kept(case).items():
            path = FOLDER / case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()
