"""An agent's line to its coordinator: reports go there, wishes come back.

The agent always calls, and listens for nobody: no port of a machine has to be opened for it, and
what an answer asks for is whole (`Wanted`), so lost and repeated ones do no harm.

    POST {url}/v1/nodes/{node}   Authorization: Bearer TOKEN   body: NodeReport   answer: Wanted
    200 the wish · 401 no or a wrong token · 404 no such node in this fleet
    409 another agent is this node · 413 too large · 422 not a report
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable

from headrace.errors import HeadraceError, InputError
from headrace.node.http import Answer, request
from headrace.node.job import Link
from headrace.node.report import NodeReport
from headrace.node.wanted import Wanted

TOKEN_VARIABLE = "HEADRACE_NODE_TOKEN"
TIMEOUT_S = 5.0
FLUSH_S, FLUSH_LOOKS = 2.0, 20
SETTLE_S = 0.3
"""What the head takes to tell its gateway."""
REFUSALS = {
    401: "the coordinator does not take this agent's token",
    404: "the coordinator does not know this node",
    409: "another agent reports as this node",
}


class Reporter:
    """Reports a node's state to its coordinator until told to stop."""

    def __init__(self, link: Link, node: str) -> None:
        """Raises InputError when there is no token."""
        self.link = link
        self._url = f"{link.url}/v1/nodes/{node}"
        self._headers = {"Authorization": f"Bearer {read_token(link)}"}
        trust = link.ca_file
        self._trust = ssl.create_default_context(cafile=trust) if trust else None
        self._changed = asyncio.Event()
        self._answers = 0

    def wake(self) -> None:
        """Something changed: report now."""
        self._changed.set()

    async def flush(self) -> None:
        """Wait until the coordinator has taken what is so now, but not for long."""
        seen = self._answers
        for _ in range(FLUSH_LOOKS):
            self.wake()
            await asyncio.sleep(FLUSH_S / FLUSH_LOOKS)
            if self._answers >= seen + 2:
                break
        await asyncio.sleep(SETTLE_S)

    async def run(self, state: Callable[[], NodeReport], obey: Callable[[Wanted], None]) -> None:
        """Report at every change and every period; hand each answer to `obey`.

        Raises HeadraceError when the coordinator refuses this agent, or has been gone for longer
        than an orphan may go on.
        """
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while True:
            self._changed.clear()
            wanted = await self.say(state())
            if wanted is not None:
                heard_s = loop.time()
                self._answers += 1
                obey(wanted)
            elif loop.time() - heard_s > self.link.orphan_s:
                raise HeadraceError(f"no answer from {self.link.url} for {self.link.orphan_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.link.period_s):
                    await self._changed.wait()

    async def say(self, report: NodeReport) -> Wanted | None:
        """Report once; None when nobody answered. Raises HeadraceError when refused."""
        answer = await request(
            "POST",
            self._url,
            TIMEOUT_S,
            body=report.model_dump_json().encode(),
            headers={**self._headers, "Content-Type": "application/json"},
            trust=self._trust,
        )
        return None if answer is None else _wish(answer)


def _wish(answer: Answer) -> Wanted | None:
    if answer.status in REFUSALS:
        raise HeadraceError(REFUSALS[answer.status])
    return Wanted.model_validate_json(bytes(answer.body)) if answer.status == 200 else None


def read_token(link: Link) -> str:
    """The secret, from the environment or the link's file. Raises InputError when there is none."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and link.token_file is not None:
        try:
            token = link.token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InputError(
                f"{link.token_file}: cannot read the token: {error.strerror}"
            ) from error
    if not token:
        raise InputError("the agent has no token for its coordinator", hint=f"set {TOKEN_VARIABLE}")
    return token
