"""The page as a web application. Read only; beyond this machine it asks for a token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

HERE = Path(__file__).parent / "assets"
REPORT = Path(__file__).parents[1] / "report" / "assets"
FILES = {
    "/": (HERE / "page.html", "text/html"),
    "/live.js": (HERE / "live.js", "text/javascript"),
    "/live.css": (HERE / "live.css", "text/css"),
    "/report.css": (REPORT / "report.css", "text/css"),
    "/uplot.js": (REPORT / "uplot" / "uPlot.iife.min.js", "text/javascript"),
    "/uplot.css": (REPORT / "uplot" / "uPlot.min.css", "text/css"),
}
COOKIE = "headrace_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application(
    document: Callable[[], dict[str, Any]], token: str | None, hosts: list[str]
) -> Starlette:
    """The page, its parts and `/data`.

    `hosts` are the names under which it may be asked (a foreign site cannot make a browser ask it
    under its own name). `token` None: no token is asked for.
    """

    def data(_: Request) -> Response:
        return Response(orjson.dumps(document()), media_type="application/json", headers=HEADERS)

    routes = [Route(path, _file) for path in FILES]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        *([Middleware(TokenCheck, token=token)] if token else []),
    ]
    return Starlette(routes=[*routes, Route("/data", data)], middleware=middleware)


class TokenCheck:
    """Lets in who has the token: as a bearer, in the cookie, or once as `?token=` to get that."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, hand out the cookie, or pass on."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_it(bearer) or self._is_it(request.cookies.get(COOKIE, "")):
            await self._app(scope, receive, send)
        elif self._is_it(request.query_params.get("token", "")):
            answer: Response = RedirectResponse("/", status_code=303, headers=HEADERS)
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", secure=secure)
            await answer(scope, receive, send)
        else:
            text = "this page asks for a token: open the address that `headrace dashboard` printed"
            await Response(text, 401, headers=HEADERS)(scope, receive, send)

    def _is_it(self, offered: str) -> bool:
        return hmac.compare_digest(offered.encode(), self._token.encode())


def _file(request: Request) -> Response:
    path, kind = FILES[request.url.path]
    return Response(_content(path), media_type=kind, headers=HEADERS)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()
