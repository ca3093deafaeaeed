"""Reads all plain connections of a worker in batches: one epoll set inside the event loop's own.

An event loop calls back for every packet. This takes in what is there in one go, each chunk at the
time at which the kernel received it (see stamps). TLS stays with the event loop, which has it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from time import perf_counter

from headrace.loadgen import stamps
from headrace.loadgen.client import Owner, Stream
from headrace.loadgen.stamps import ROOM, seconds

MOST = 512
"""Connections that are read in one go; then the loop's timers and writers have their turn."""
READ_BYTES = 1 << 14
VAGUE_S = 0.011
"""A chunk is vague when its arrival is not known to within this; just over a heartbeat."""
LAZY_S = 0.042
"""After a longer silence the kernel's timer (40 ms) has acknowledged the packet before."""
HERE = hasattr(select, "epoll")


class Line:
    """One connection that the drain reads: what asyncio calls a transport."""

    __slots__ = ("_drain", "_unsent", "_waits", "closed", "delay_ack", "fd", "recvmsg", "sock")

    def __init__(self, drain: Drain, sock: socket.socket) -> None:
        self._drain = drain
        self._unsent = memoryview(b"")
        self._waits = False
        self.closed = False
        self.sock = sock
        self.fd = sock.fileno()
        self.recvmsg = sock.recvmsg
        self.delay_ack = sock.setsockopt if sock.family != socket.AF_UNIX else None

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

    def abort(self) -> None:
        """Close at once; the stream hears of it in the loop's next round."""
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        self.closed = True
        if self._waits:
            loop.remove_writer(self.fd)
        stream = self._drain.forget(self)
        self.sock.close()
        loop.call_soon(stream.connection_lost, None)


class Drain:
    """Reads every line that was added to it, from the loop that the first one was added in."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._epoll = select.epoll()
        self._lines: dict[int, tuple[Line, Stream]] = {}
        self._batch = stamps.Batch()
        self._emptied = True
        self._late = False
        self._loop: asyncio.AbstractEventLoop | None = None

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
        self._add(loop, Line(self, sock), stream)

    def _add(self, loop: asyncio.AbstractEventLoop, line: Line, stream: Stream) -> None:
        if self._loop is None:
            self._loop = loop
            loop.add_reader(self._epoll.fileno(), self.read)
        self._lines[line.fd] = line, stream
        stream.connection_made(line)
        self._epoll.register(line.fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def forget(self, line: Line) -> Stream:
        """Read the line no more; returns its stream."""
        self._epoll.unregister(line.fd)
        return self._lines.pop(line.fd)[1]

    def close(self) -> None:
        """Read nothing more; the lines have been closed."""
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
        self._epoll.close()

    # --- reading

    def read(self) -> None:
        """Take in what has come. Also called at every heartbeat, so that what a batch meets is
        known to have come since the last beat even where nothing came for long.
        """
        self._batch.next(emptied=self._emptied)
        self._late = self._batch.now_s - self._batch.after_s > VAGUE_S
        ready = self._epoll.poll(0, MOST)
        self._emptied = len(ready) < MOST
        lines = self._lines
        for fd, events in ready:
            found = lines.get(fd)
            if found is not None:
                self._read(*found, events)

    def _read(self, line: Line, stream: Stream, events: int) -> None:
        """Read one line until it is empty: a short read says so, unless its end has come too."""
        gaps = stream.gaps
        if gaps and gaps[-1] > LAZY_S and line.delay_ack is not None:
            line.delay_ack(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        while not line.closed:
            try:
                data, told, _, _ = line.recvmsg(READ_BYTES, ROOM)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                line.abort()
                return
            self._take(stream, data, told)
            if events == select.EPOLLIN and len(data) < READ_BYTES:
                return

    def _take(self, stream: Stream, data: bytes, told: list[tuple[int, int, bytes]]) -> None:
        """Hand the data to its stream, as of when the last of it came."""
        batch = self._batch
        if told and batch.true:
            whole, nanos = seconds(told[0][2])
            at_s = whole + nanos * 1e-9 + batch.offset_s
            if batch.after_s <= at_s <= batch.now_s or batch.possible(at_s):
                if self._late:
                    self._count(stream, data, at_s, timed=True)
                else:
                    stream.received(data, at_s)
                return
        self._count(stream, data, perf_counter(), timed=False)

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
