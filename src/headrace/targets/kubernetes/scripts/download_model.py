"""Download one revision of a model into a volume, once, and prove that it is whole.

Runs in the model-download Job, in an image with huggingface_hub. Set by the Job: MODEL, REVISION
(empty: the newest), TARGET (the model's folder), and HF_TOKEN where the model is gated.

A marker file is written last. While it is there nothing is done, so that the Job may run again; an
interrupted download goes on where it was. Every file with a SHA-256 at the hub is compared with it.
"""

import hashlib
import json
import os
import pathlib
import sys
from typing import Any

from huggingface_hub import HfApi, snapshot_download

MARKER = ".headrace-complete.json"
BLOCK_BYTES = 16 * 2**20


def main() -> int:
    """Exit status 0 when the model is whole, 1 when a file differs from the hub's."""
    model, target = os.environ["MODEL"], pathlib.Path(os.environ["TARGET"])
    asked = os.environ.get("REVISION") or None
    marker = target / MARKER
    if marker.exists() and (asked is None or json.loads(marker.read_text())["revision"] == asked):
        print(f"{target} is whole already")
        return 0
    info = HfApi().model_info(model, revision=asked, files_metadata=True)
    print(f"downloading {model} at {info.sha} into {target}", flush=True)
    snapshot_download(model, revision=info.sha, local_dir=target, max_workers=16)
    broken = wrong_files(target, {file.rfilename: file for file in info.siblings or []})
    if broken:
        print(f"error: differ from the hub and were removed: {', '.join(broken)}", file=sys.stderr)
        return 1
    draft = target / f"{MARKER}.part"
    draft.write_text(json.dumps({"model": model, "revision": info.sha}))
    draft.replace(marker)
    print("whole")
    return 0


def wrong_files(target: pathlib.Path, files: dict[str, Any]) -> list[str]:
    """Remove and name the files whose size or SHA-256 is not the hub's."""
    wrong = []
    for name, file in files.items():
        path = target / name
        expected = file.lfs.sha256 if file.lfs else None
        whole = path.is_file() and path.stat().st_size == file.size
        if not whole or (expected and sha256(path) != expected):
            wrong.append(name)
    for name in wrong:
        (target / name).unlink(missing_ok=True)
    return wrong


def sha256(path: pathlib.Path) -> str:
    """A file's digest, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
