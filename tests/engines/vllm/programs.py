"""Programs that look like an installed `vllm`."""

from __future__ import annotations

import sys
from pathlib import Path


def install_vllm(folder: Path, version: str, package: str = "vllm") -> Path:
    """An interpreter, a package's metadata and a script, as pip lays them out; no vLLM in it.

    The script ends with an error: whoever runs it instead of asking for the metadata fails.
    """
    site = folder / "site"
    metadata = site / f"{package.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} -S "$@"\n')
    vllm = folder / "vllm"
    vllm.write_text(f"#!{python}\nraise SystemExit('was started')\n")
    for program in (python, vllm):
        program.chmod(0o755)
    return vllm
