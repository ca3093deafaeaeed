"""Server-sent events from a byte stream that may be split anywhere."""

from __future__ import annotations

MAX_PENDING_BYTES = 1 << 20


class SseOverflowError(Exception):
    """An event grew past MAX_PENDING_BYTES without an end: this is no event stream."""


class SseParser:
    """Yields the data of each event; names, ids, retries and comments are dropped.

    `clean` is True between events: nothing is pending, so that a whole event that comes next may
    be handled without this parser.
    """

    __slots__ = ("_cr", "_data", "_rest", "clean")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._cr = False
        self.clean = True

    def reset(self) -> None:
        """Forget what is pending: the next bytes belong to another response."""
        self._rest = b""
        self._data = []
        self._cr = False
        self.clean = True

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, in order.

        Raises SseOverflowError when one does not end.
        """
        if not data:
            return []
        if self.clean and _is_one_event(data):
            return [data[6:-2]]
        lines = (self._rest + self._with_plain_ends(data)).split(b"\n")
        self._rest = lines.pop()
        events = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        self.clean = not (self._rest or self._data or self._cr)
        if len(self._rest) > MAX_PENDING_BYTES or len(self._data) > MAX_PENDING_BYTES // 64:
            raise SseOverflowError
        return events

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._data.append(b"")

    def _with_plain_ends(self, data: bytes) -> bytes:
        r"""Lines may end in \n, \r\n or \r, and a \r\n may be split between two packets."""
        if self._cr:
            self._cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" not in data:
            return data
        self._cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_one_event(data: bytes) -> bool:
    """The usual shape: one `data: ` line, an empty line, nothing else."""
    return (
        data.startswith(b"data: ")
        and data.endswith(b"\n\n")
        and data.find(b"\n") == len(data) - 2
        and b"\r" not in data
    )
