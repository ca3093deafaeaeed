"""One node of the fleet on Ray: its actor, from creation to end, and again when it was lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from headrace import __version__
from headrace.errors import HeadraceError
from headrace.node.assignment import Assignment
from headrace.targets.ray.actor import About, Look

REJOIN_S = 8.0
"""Longer than the head's lease: until then it takes a new agent of the node for a forged one."""
READY_S = 0.1
"""To fetch an answer that is there."""

Make = Callable[[], Any]
Assign = Callable[[str, About], Assignment]


class Seat:
    """Brings the agent of one node to life and mirrors its logs, a step at a time.

    A lost actor (its node was removed, or its process killed) is made again: Ray places it as soon
    as a node has room, and the head takes the node back.
    """

    def __init__(self, node: str, folder: Path, make: Make, assign: Assign, token: str) -> None:
        self.node = node
        self.ended = False
        self._folder = folder
        self._make = make
        self._assign = assign
        self._token = token
        self._actor: Any = None
        self._asked: Any = None
        self._next: Callable[[Any], None] = self._greet
        self._offsets: dict[str, int] = {}
        self._last: list[Any] = []
        self._not_before_s = 0.0

    def step(self) -> None:
        """Do what can be done without waiting.

        Raises HeadraceError when the node has no Headrace or another one, or cannot start an agent.
        """
        if self.ended or time.monotonic() < self._not_before_s:
            return
        try:
            self._step()
        except RayActorError as error:
            if error.actor_init_failed:
                raise HeadraceError(f"{self.node}: {_reason(error)}") from error
            say(f"{self.node}: its actor is gone; placing it again")
            self._again()
        except RayTaskError as error:
            raise HeadraceError(f"{self.node}: {_reason(error)}") from error

    def _step(self) -> None:
        if self._actor is None:
            self._actor = self._make()
            self._ask(self._actor.about.remote(), self._greet)
        elif self._ready():
            self._next(ray.get(self._asked))

    def _ready(self) -> bool:
        return bool(ray.wait([self._asked], timeout=0)[0])

    def _ask(self, reference: Any, then: Callable[[Any], None]) -> None:
        self._asked, self._next = reference, then

    def _greet(self, about: About) -> None:
        if about.version != __version__:
            raise HeadraceError(
                f"{self.node} ({about.host}) has Headrace {about.version}, here it is {__version__}"
            )
        say(f"{self.node} is {about.host} ({about.address})")
        part = self._assign(self.node, about)
        self._ask(self._actor.start.remote(part.model_dump_json(), self._token), self._look_first)

    def _look_first(self, _started: None) -> None:
        self._ask(self._actor.look.remote(self._offsets), self._seen)

    def _seen(self, look: Look) -> None:
        self._mirror(look)
        if look.exit_status is not None and not look.logs:
            say(f"{self.node}: its agent has ended with status {look.exit_status}")
            self.ended = True
            return
        self._not_before_s = time.monotonic() + 1.0
        self._ask(self._actor.look.remote(self._offsets), self._seen)

    def _mirror(self, look: Look) -> None:
        logs = self._folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for name, part in look.logs.items():
            with (logs / Path(name).name).open("ab") as log:
                log.write(part)
        self._offsets = look.offsets

    def _again(self) -> None:
        self._actor, self._asked, self._offsets = None, None, {}
        self._not_before_s = time.monotonic() + REJOIN_S

    def leave(self) -> None:
        """Ask the node to end what is left on it and to forget it, without waiting for that.

        An actor that never answered may have no node: it is asked nothing.
        """
        actor = self._actor
        if actor is None or (self._next == self._greet and not self._ready()):
            return
        look = actor.look.remote
        self._last = [actor.stop.remote(), look(self._offsets), actor.forget.remote()]

    def close(self, until_s: float) -> None:
        """Take the node's last words, and let the actor go.

        One that has not answered at `until_s`, by the monotonic clock, is killed all the same.
        """
        if self._actor is None:
            return
        try:
            if self._last:
                left_s = max(READY_S, until_s - time.monotonic())
                self._mirror(ray.get(self._last, timeout=left_s)[1])
        except RayError as error:
            say(f"{self.node}: {type(error).__name__} while it was ended")
        ray.kill(self._actor)


def _reason(error: RayError) -> str:
    """The last line of a traceback that came from the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def say(text: str) -> None:
    """A line of the placer's log; the last one is shown to who waits for the fleet."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
