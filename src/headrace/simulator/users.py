"""Users in conversation at the places of a closed loop. The quick core does the same."""

from __future__ import annotations

from headrace.simulator.requests import Requests
from headrace.simulator.workload import Talk


class Users:
    """What each says next; a place of the loop is a user."""

    def __init__(self, talk: Talk, count: int) -> None:
        self.talk = talk
        self.conversation = [0] * count
        """Of each user, counted from 1."""
        self._turns_left = [0] * count
        self._said = [0] * count
        """Tokens of the conversation so far."""

    def say(self, requests: Requests, request: int, *, spread: bool) -> None:
        """The next turn of the conversation, or the first of a new one, in the table's row.

        `spread`: the user's first conversation is shortened, so that users are not in step.
        """
        user = int(requests.lane[request])
        if self._turns_left[user] == 0:
            turns = int(requests.turns[request])
            if spread and self.conversation[user] == 0:
                turns = self.talk.first_turns(user, turns)
            self._turns_left[user] = turns
            self.conversation[user] += 1
            self._said[user] = self.talk.shared_tokens
        requests.group[request] = user
        requests.prefix_tokens[request] = self._said[user]
        requests.input_tokens[request] += self._said[user]
        self._turns_left[user] -= 1

    def answered(self, requests: Requests, request: int) -> bool:
        """The turn is over; whether the conversation goes on."""
        user = int(requests.lane[request])
        self._said[user] = int(requests.input_tokens[request] + requests.output_tokens[request])
        return self._turns_left[user] > 0

    def broken(self, requests: Requests, request: int) -> None:
        """The turn failed, and with it the conversation."""
        self._turns_left[int(requests.lane[request])] = 0
