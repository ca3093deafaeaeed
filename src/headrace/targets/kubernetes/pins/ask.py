"""Questions over HTTP whose failures end in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from headrace import __version__
from headrace.errors import HeadraceError, InputError
from headrace.targets.kubernetes.live.api import INSTALL

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 30.0
NETWORK = "check the network and HTTPS_PROXY; a private certificate authority goes to SSL_CERT_FILE"


def client() -> httpx2.Client:
    """An HTTP client that heeds the environment's proxies and certificates.

    A redirect to another host gets no credentials. Raises InputError without the extra.
    """
    if find_spec("httpx2") is None:
        raise InputError("to pin needs the kubernetes extra", hint=INSTALL)
    import httpx2

    headers = {"user-agent": f"headrace/{__version__}"}
    return httpx2.Client(timeout=TIMEOUT_S, follow_redirects=True, headers=headers)


@contextmanager
def explained(doing: str, server: str, hint: str = NETWORK) -> Iterator[None]:
    """Failures below HTTP, in words."""
    import httpx2

    try:
        yield
    except httpx2.TimeoutException:
        said = f"cannot {doing}: {server} did not answer within {TIMEOUT_S:g} s"
        raise HeadraceError(said, hint=hint) from None
    except httpx2.InvalidURL as error:
        raise InputError(f"cannot {doing}: {server}: {error}") from None
    except (httpx2.HTTPError, OSError) as error:
        why = str(error) or type(error).__name__
        raise HeadraceError(f"cannot {doing}: {server}: {why}", hint=hint) from None


def too_many(doing: str, server: str, answer: httpx2.Response, more: str) -> HeadraceError:
    """The error for status 429; `more` is how to be allowed more."""
    after = answer.headers.get("retry-after", "")
    wait = f"in {after} s" if after.isdigit() else "later"
    return HeadraceError(
        f"cannot {doing}: {server} allows no more requests from here now (429)",
        hint=f"try again {wait}, or {more}",
    )


def failed(doing: str, server: str, answer: httpx2.Response) -> HeadraceError:
    """The error for a status that has no better one."""
    reason = answer.reason_phrase or "no reason given"
    hint = "try again later" if answer.status_code >= 500 else f"check the address of {server}"
    return HeadraceError(f"cannot {doing}: {server}: {reason} ({answer.status_code})", hint=hint)
