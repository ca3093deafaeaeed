"""Which commit a model's `main` is now, from the Hugging Face hub's API.

`GET /api/models/ID/revision/main` answers with the model's facts, `sha` among them:
https://huggingface.co/docs/hub/api. HF_ENDPOINT names another hub; the token comes from HF_TOKEN or
from the file that `hf auth login` writes, as it does for huggingface_hub itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from headrace.errors import HeadraceError
from headrace.targets.kubernetes.pins.ask import explained, failed, too_many

if TYPE_CHECKING:
    import httpx2

BRANCH = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(client: httpx2.Client, model: str, branch: str = BRANCH) -> str:
    """The commit of a branch: 40 hexadecimal digits. Raises HeadraceError in one sentence."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    doing, token = f"look up the commit of {model}", _token()
    url = f"{endpoint}/api/models/{quote(model)}/revision/{quote(branch, safe='')}"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with explained(doing, endpoint):
        answer = client.get(url, headers=headers)
    if answer.status_code != 200:
        raise _refusal(doing, endpoint, model, answer, with_token=bool(token))
    try:
        commit = str(answer.json()["sha"])
    except (ValueError, KeyError, TypeError):
        commit = ""
    if not _COMMIT.fullmatch(commit):
        raise HeadraceError(
            f"cannot {doing}: {endpoint} does not answer as the hub's API does",
            hint="check HF_ENDPOINT, and proxies between here and it",
        )
    return commit


def _token() -> str | None:
    """The user's token; None for an anonymous question."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if found := os.environ.get(name, "").strip():
            return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _refusal(
    doing: str, endpoint: str, model: str, answer: httpx2.Response, *, with_token: bool
) -> HeadraceError:
    status, code = answer.status_code, answer.headers.get("x-error-code", "")
    if status == 429:
        return too_many(doing, endpoint, answer, "set HF_TOKEN: accounts are allowed more")
    if code == "RevisionNotFound":
        return HeadraceError(
            f"cannot {doing}: the model has no branch {BRANCH!r}",
            hint="name a commit in target.storage.revision",
        )
    if code == "GatedRepo" or status == 403:
        return HeadraceError(
            f"cannot {doing}: the model is gated",
            hint=f"accept its terms at {endpoint}/{model}, and set HF_TOKEN to your token",
        )
    if status in (401, 404):
        who = "for this token" if with_token else "without a token"
        return HeadraceError(
            f"cannot {doing}: {endpoint} has no such model {who} ({status})",
            hint="check the name; a private model needs HF_TOKEN with a token that may read it",
        )
    return failed(doing, endpoint, answer)
