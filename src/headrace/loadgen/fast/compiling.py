"""How the quick way is compiled."""

from __future__ import annotations

from pathlib import Path

from headrace.compiling import cache_dir, compiler

compiled = compiler(cache_dir(Path(__file__).parent, "loadgen"))
