"""Reads all plain connections of a worker in batches: one epoll set inside the event loop's own.

An event loop calls back for every packet. This takes in what is there in one go, each chunk at the
time at which the kernel received it (see stamps). Since that is known, nothing has to be read at
once: under a heavy load it rests between two batches, which saves most of the wake-ups. TLS stays
with the event loop, which has it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from socket import IPPROTO_TCP
from time import perf_counter

from headrace.loadgen import stamps
from headrace.loadgen.client import Owner, Stream
from headrace.loadgen.lending import LAZY_S, MOST, Quick
from headrace.loadgen.stamps import NEVER, ROOM, seconds
from headrace.timers import Timers

READ_BYTES = 1 << 14
VAGUE_S = 0.011
"""A chunk is vague when its arrival is not known to within this; just over a heartbeat."""
REST_S = 0.002
"""From one batch to the next under a heavy load."""
FEWEST, SHARE = 80, 0.6
"""Lines with something to read in a heartbeat (10 ms) that make a load heavy: at least so many, so
that a rest saves wake-ups, and at most this share of all. Then a line's chunks are 8 rests apart on
average, and two of them are seldom read as one.
"""
SMOOTH = 8
"""In how many heartbeats the load is averaged."""
QUICKACK = getattr(socket, "TCP_QUICKACK", 0)
HERE = hasattr(select, "epoll")
IN = select.EPOLLIN if HERE else 0


class Line:
    """One connection that the drain reads: what asyncio calls a transport."""

    __slots__ = (
        *("_drain", "_unsent", "_waits", "closed", "fd", "recvmsg", "setsockopt", "sock"),
        *("stamped", "stream"),
    )

    def __init__(self, drain: Drain, sock: socket.socket, stream: Stream) -> None:
        self._drain = drain
        self._unsent = memoryview(b"")
        self._waits = False
        self.closed = False
        self.sock = sock
        self.stream = stream
        self.fd = sock.fileno()
        self.recvmsg = sock.recvmsg
        self.setsockopt = sock.setsockopt
        self.stamped = sock.family != socket.AF_UNIX

    def get_extra_info(self, _: str) -> socket.socket:
        """The socket."""
        return self.sock

    def write(self, data: bytes) -> None:
        """Send the data, what there is no room for as soon as there is."""
        self._unsent = memoryview(bytes(self._unsent) + data if self._unsent else data)
        if not self._waits:
            self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.abort()
        if bool(self._unsent) is not self._waits and not self.closed:
            self._await_room()

    def _await_room(self) -> None:
        loop = asyncio.get_running_loop()
        self._waits = bool(self._unsent)
        if self._waits:
            loop.add_writer(self.fd, self._send)
        else:
            loop.remove_writer(self.fd)

    def settle(self) -> None:
        """Let the stream know of every chunk that was read."""
        self._drain.settle(self)

    def abort(self) -> None:
        """Close at once; the stream hears of it in the loop's next round."""
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        self.closed = True
        if self._waits:
            loop.remove_writer(self.fd)
        self._drain.forget(self)
        self.sock.close()
        loop.call_soon(self.stream.connection_lost, None)


class Drain:
    """Reads every line that was added to it, from the loop that the first one was added in."""

    def __init__(self, owner: Owner, quick: Quick | None = None) -> None:
        self._owner = owner
        self._quick = quick
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._batch = stamps.Batch()
        self._emptied = True
        self._late = False
        self._offset_s = 0.0
        self._after_s, self._now_s = NEVER
        """Of this batch: a stamp between these can be taken as it is."""
        self._came = 0
        self._pace = 0.0
        self._resting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: Timers | None = None

    async def connect(self, family: int, address: tuple[str, int] | str, stream: Stream) -> None:
        """Open a connection for the stream. Raises OSError."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stamps.ask(sock)
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        self._add(loop, Line(self, sock, stream))

    def _add(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        if self._loop is None:
            self._loop = loop
            self._timers = Timers(loop)
            loop.add_reader(self._epoll.fileno(), self.read)
        self._lines[line.fd] = line
        line.stream.connection_made(line)
        self._epoll.register(line.fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def forget(self, line: Line) -> None:
        """Read the line no more."""
        if self._quick is not None:
            self._quick.give_back(line.fd, line.stream)
        self._epoll.unregister(line.fd)
        del self._lines[line.fd]

    def settle(self, line: Line) -> None:
        """Let the line's stream know of every chunk that was read."""
        if self._quick is not None:
            self._quick.tell(line.fd, line.stream)

    def close(self) -> None:
        """Read nothing more; the lines have been closed."""
        if self._loop is not None and self._timers is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
            self._timers.close()
        self._epoll.close()

    # --- reading

    def beat(self) -> None:
        """To be called every 10 ms: reads, so that what a batch meets is known to have come since
        the last beat even where nothing came for long, and rests or not by how much came.
        """
        self.read()
        came, self._came = self._came, 0
        self._pace += (came - self._pace) / SMOOTH
        heavy = FEWEST <= self._pace <= SHARE * len(self._lines)
        if heavy is not self._resting and self._loop is not None:
            self._resting = heavy
            if heavy:
                self._loop.remove_reader(self._epoll.fileno())
                self._rested()
            else:
                self._loop.add_reader(self._epoll.fileno(), self.read)

    def _rested(self) -> None:
        """Read, and again after a rest, as long as the load is heavy."""
        if self._resting and self._timers is not None:
            self.read()
            rest_s = REST_S if self._emptied else 0.0
            self._timers.call_at(perf_counter() + rest_s, self._rested)

    def read(self) -> None:
        """Take in what has come."""
        self._batch.next(emptied=self._emptied)
        batch = self._batch
        self._late = batch.now_s - batch.after_s > VAGUE_S
        self._offset_s = batch.offset_s
        self._after_s, self._now_s = NEVER if self._late else batch.span()
        came = self._read_each() if self._quick is None else self._read_quickly(self._quick)
        self._emptied = came < MOST
        self._came += came

    def _read_each(self) -> int:
        """Read the lines that have something; returns how many."""
        lines = self._lines
        ready = self._epoll.poll(0, MOST)
        for fd, events in ready:
            line = lines.get(fd)
            if line is not None:
                self._meet(line, events)
        return len(ready)

    def _read_quickly(self, quick: Quick) -> int:
        """The same; the usual packets of lines that are lent are taken in by compiled code."""
        for fd, events, data, at_s in quick.read(self._epoll.fileno(), self._batch):
            line = self._lines.get(fd)
            if line is None:
                continue
            quick.give_back(fd, line.stream)
            if data is None:
                self._meet(line, events)
            else:
                self._take(line, data, at_s)
                if events != IN or len(data) == quick.room_bytes:
                    self._read_on(line)
            if line.stream.plain_between and line.stamped and not line.closed:
                quick.lend(fd, line.stream)
        self._owner.chunks += quick.chunks
        self._owner.compiled += quick.chunks
        return quick.ready

    def _meet(self, line: Line, events: int) -> None:
        """Read a line until it is empty: a short read says so, unless its end has come too."""
        stream = line.stream
        gaps = stream.gaps
        if gaps and gaps[-1] > LAZY_S and line.stamped:
            line.setsockopt(IPPROTO_TCP, QUICKACK, 0)
        try:
            data, told, _, _ = line.recvmsg(READ_BYTES, ROOM)
        except OSError as error:
            _failed(line, error)
            return
        at_s = 0.0
        if told:  # as `_stamp`, without the call: this is done for every chunk
            whole, nanos = seconds(told[0][2])
            at_s = whole + nanos * 1e-9 + self._offset_s
        if data and self._after_s <= at_s <= self._now_s:
            stream.received(data, at_s)
        else:
            self._take(line, data, at_s)
        if events != IN or len(data) == READ_BYTES:
            self._read_on(line)

    def _read_on(self, line: Line) -> None:
        """Read until nothing is left: after a read that filled its buffer, or at a line's end."""
        while not line.closed:
            try:
                data, told, _, _ = line.recvmsg(READ_BYTES, ROOM)
            except OSError as error:
                _failed(line, error)
                return
            self._take(line, data, self._stamp(told) if told else 0.0)

    def _stamp(self, told: list[tuple[int, int, bytes]]) -> float:
        """When the kernel received what was read."""
        whole, nanos = seconds(told[0][2])
        at_s: float = whole + nanos * 1e-9 + self._batch.offset_s
        return at_s

    def _take(self, line: Line, data: bytes, at_s: float) -> None:
        """Hand the data to its stream, as of when the last of it came (0: not known). No data is
        the line's end.
        """
        batch, stream = self._batch, line.stream
        if not data:
            line.abort()
        elif not (at_s and batch.true and batch.possible(at_s)):
            self._count(stream, data, perf_counter(), timed=False)
        elif self._late:
            self._count(stream, data, at_s, timed=True)
        else:
            stream.received(data, at_s)

    def _count(self, stream: Stream, data: bytes, at_s: float, *, timed: bool) -> None:
        """The same, and count the chunks of which it is not known well when they came.

        A stamp is that of the last packet: of several chunks in one read only the last one's time
        is known, those before it came somewhere since the batch before.
        """
        owner, gaps, began = self._owner, stream.gaps, bool(stream.first_s)
        chunks, had = owner.chunks, len(gaps)
        stream.received(data, at_s)
        brought = owner.chunks - chunks
        if not timed:
            owner.untimed += brought
        if self._late:
            owner.vague += max(0, len(gaps) - had - began) if timed else brought


def _failed(line: Line, error: OSError) -> None:
    """A read failed: there was nothing, or there is no connection any more."""
    if not isinstance(error, BlockingIOError):
        line.abort()
