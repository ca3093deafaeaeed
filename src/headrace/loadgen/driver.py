"""Sends one worker's share of the load: opens connections, hands out requests, writes records."""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from time import perf_counter
from typing import Any

from headrace.loadgen.addresses import Addresses
from headrace.loadgen.client import Stream
from headrace.loadgen.drain import HERE, Drain
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.exchange import Request, Usage
from headrace.loadgen.failure import End, end_name
from headrace.loadgen.job import Job
from headrace.loadgen.lending import Quick
from headrace.loadgen.live import Field, Page
from headrace.loadgen.schedule import Phase, Quota
from headrace.loadgen.source import make_source
from headrace.loadgen.trail import MISSING, Trail
from headrace.timers import Timers

CONNECTS_AT_ONCE = 64
"""A burst beyond a server's listen backlog would wait a second for the next SYN."""
NOTHING = Usage({"prompt_tokens": 0, "completion_tokens": 0})
SWEEPS = 50
LINGER_S = 1.0
"""How long a response may stay open after `[DONE]`."""


class Driver(ABC):
    """What closed and open loop share. It is the Owner of its streams."""

    def __init__(
        self, job: Job, trail: Trail, quota: Quota, heads: list[bytes], quick: Quick | None = None
    ) -> None:
        self.job = job
        self.quota = quota
        self.source = make_source(job)
        self.chat = job.traffic.chat
        self.exact = job.traffic.ignore_eos
        self.chunks = self.untimed = self.vague = self.compiled = 0
        self.simulated = False
        self.warm_s = 0.0
        self.warm_left = 0
        self.examples: dict[str, str] = {}
        self.stopping = False
        self.timers = Timers(asyncio.get_running_loop())
        self._heads = heads
        self._trail = trail
        self._drain = Drain(self, quick) if HERE else None
        self._streams: set[Stream] = set()
        self._unswept: list[Stream] = []
        self._opening: dict[asyncio.Task[None], Request] = {}
        self._addresses = Addresses(job.endpoints)
        self._gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._tls = ssl.create_default_context() if any(e.tls for e in job.endpoints) else None
        self.running = self.completed = self.failed = self.measured_done = 0
        self.tokens = self.token_chunks = 0
        self.last_ok_s = 0.0

    @abstractmethod
    def start(self, start_s: float) -> None:
        """Send the first requests; returns at once."""

    @abstractmethod
    def free(self, stream: Stream, request: Request) -> None:
        """The stream can take another request, if it is usable."""

    @abstractmethod
    def not_connected(self, request: Request) -> None:
        """The request failed because no connection could be opened."""

    # --- sending

    def launch(self, request: Request, stream: Stream | None) -> None:
        """Send the request, on the stream if it is usable, else on a new connection."""
        self.running += 1
        self._send(request, stream)

    def _send(self, request: Request, stream: Stream | None) -> None:
        if stream is not None and stream.usable:
            body = request.ask.body()
            head = self._heads[request.url]
            stream.send(request, b"%b%d\r\n\r\n%b" % (head, len(body), body))
            return
        task = asyncio.get_running_loop().create_task(self._open(request))
        self._opening[task] = request
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.pop(task, None)
        if not task.cancelled():
            task.result()

    async def _open(self, request: Request) -> None:
        began_s = perf_counter()
        try:
            async with self._gate, asyncio.timeout(self.job.access.connect_timeout_s):
                stream = await self._connect(request.url)
        except TimeoutError:
            self._unconnected(request, began_s, End.CONNECT_TIMEOUT, "no answer to the connect")
        except ssl.SSLError as error:
            self._unconnected(request, began_s, End.TLS, str(error))
        except socket.gaierror as error:
            self._unconnected(request, began_s, End.DNS, error.strerror or str(error))
        except OSError as error:
            self._unconnected(request, began_s, End.CONNECT, error.strerror or str(error))
        else:
            if stream.usable:
                self._streams.add(stream)
                self._send(request, stream)
            else:
                self._unconnected(request, began_s, End.RESET, "closed as soon as it was opened")

    async def _connect(self, url: int) -> Stream:
        """A new connection; to where the name leads by now, if the address known so far fails."""
        if self.job.endpoints[url].socket:
            return await self._connect_to(url, "")
        address = await self._addresses.of(url)
        try:
            return await self._connect_to(url, address)
        except ssl.SSLError:
            raise
        except OSError:
            other = await self._addresses.other(url, address)
            if other is None:
                raise
            return await self._connect_to(url, other)

    async def _connect_to(self, url: int, address: str) -> Stream:
        endpoint = self.job.endpoints[url]
        if self._drain is not None and not endpoint.tls:
            return await self._line_to(self._drain, endpoint, address)
        options: dict[str, Any] = {}
        if endpoint.tls:
            options = {"ssl": self._tls, "server_hostname": endpoint.host}
        loop = asyncio.get_running_loop()
        if endpoint.socket:
            _, stream = await loop.create_unix_connection(
                lambda: Stream(self), endpoint.socket, **options
            )
        else:
            _, stream = await loop.create_connection(
                lambda: Stream(self), address, endpoint.port, **options
            )
        return stream

    async def _line_to(self, drain: Drain, endpoint: Endpoint, address: str) -> Stream:
        stream = Stream(self)
        if endpoint.socket:
            await drain.connect(socket.AF_UNIX, endpoint.socket, stream)
        else:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            await drain.connect(family, (address, endpoint.port), stream)
        return stream

    def _unconnected(self, request: Request, began_s: float, end: End, text: str) -> None:
        self.examples.setdefault(end_name(end, 0), text)
        now = perf_counter()
        self._unanswered(request, end, began_s, now)
        self._account(request, end, now)
        self.not_connected(request)

    def _unanswered(self, request: Request, end: End, began_s: float, now: float) -> None:
        """Record a request that never had a connection."""
        ask = request.ask
        times = (request.scheduled_s, began_s, MISSING, MISSING, MISSING, now)
        head = (request.phase, end, 0, request.url, ask.lora, ask.turn)
        counts = (ask.output_tokens, ask.prompt_tokens, 0, 0, 0, 0, 0, 0)
        self._trail.request(head, b"", times, counts, None)

    # --- what streams report

    @abstractmethod
    def began(self, request: Request) -> None:
        """The request's first token came."""

    def stale(self, stream: Stream, request: Request) -> None:
        """A kept-alive connection was gone already: the same request goes on a new one."""
        self._streams.discard(stream)
        if self.stopping:
            self._record(stream, request, End.CUT)
        else:
            self._send(request, None)

    def ended(self, stream: Stream, request: Request, end: End) -> None:
        """Record the request."""
        self._record(stream, request, end)
        if end is End.OK:
            self.last_ok_s = stream.done_s
            self.tokens += stream.usage.output_tokens
            self.token_chunks += len(stream.gaps) + 1
        elif end is not End.CUT and stream.example:
            text = stream.example.decode(errors="replace")
            self.examples.setdefault(end_name(end, stream.status), text)
        self._account(request, end, stream.done_s)

    def _record(self, stream: Stream, request: Request, end: End) -> None:
        ask = request.ask
        began = bool(stream.first_s)
        times = (
            request.scheduled_s,
            stream.sent_s,
            stream.first_s or MISSING,
            stream.content_s or MISSING,
            stream.last_s if began else MISSING,
            stream.done_s or perf_counter(),
        )
        ok = end is End.OK
        usage = stream.usage if ok else NOTHING
        counts = (
            *(ask.output_tokens, ask.prompt_tokens, usage.input_tokens, usage.cached_tokens),
            *(usage.output_tokens, len(stream.gaps) + began),
            *(stream.reasoning_chunks, stream.tool_chunks),
        )
        head = (request.phase, end, stream.status, request.url, ask.lora, ask.turn)
        gaps = stream.gaps if ok and request.phase is Phase.MEASURED else None
        self._trail.request(head, stream.replica, times, counts, gaps)

    def _account(self, request: Request, end: End, at_s: float) -> None:
        self.running -= 1
        if end is End.CUT:
            return
        self.completed += end is End.OK
        self.failed += end is not End.OK
        if request.phase is Phase.WARMUP:
            self.warm_left -= 1
            self.warmed(at_s)
        elif request.phase is Phase.MEASURED:
            self.measured_done += 1
            self.quota.ended()

    def warmed(self, at_s: float) -> None:
        """Note when the last warm-up request ended."""
        if self.warm_left == 0:
            self.warm_s = max(self.warm_s, at_s)

    # --- housekeeping

    def sweep(self) -> None:
        """End what takes too long; drop connections that are gone.

        Each call looks at some of the streams, at all of them in SWEEPS calls: thousands at once
        would make the chunks wait that come meanwhile.
        """
        if self._drain is not None:
            self._drain.beat()
        now = perf_counter()
        if not self._unswept:
            self._unswept = list(self._streams)
        for _ in range(min(len(self._unswept), 1 + len(self._streams) // SWEEPS)):
            stream = self._unswept.pop()
            request = stream.request
            if request is not None:
                end = self._overdue(stream, request, now)
                if end is not None:
                    stream.fail(end)
            elif stream.waiting is not None:
                if now - stream.done_s > LINGER_S:
                    stream.close()
            elif not stream.usable:
                self._streams.discard(stream)

    def _overdue(self, stream: Stream, request: Request, now: float) -> End | None:
        access = self.job.access
        stream.settle()
        if now - max(stream.heard_s, stream.last_s) > access.stall_timeout_s:
            return End.STALL if stream.status else End.NO_ANSWER
        if now - stream.sent_s > access.request_timeout_s:
            return End.TIMEOUT
        if len(stream.gaps) > 4 * request.ask.output_tokens + 64:
            return End.TOO_LONG
        return None

    def publish(self, page: Page) -> None:
        """Let the coordinator see how far this worker is."""
        left = self.quota.left
        page[Field.WARM_S] = self.warm_s if self.warm_left == 0 else 0.0
        page[Field.LEFT] = -1 if left is None else left
        page[Field.RUNNING] = self.running
        page[Field.CHUNKS] = self.chunks
        page[Field.COMPLETED] = self.completed
        page[Field.FAILED] = self.failed
        page[Field.TOKENS] = self.tokens
        page[Field.TOKEN_CHUNKS] = self.token_chunks
        page[Field.LAST_OK_S] = self.last_ok_s
        page[Field.SIMULATED] = self.simulated
        page[Field.DONE] = self.measured_done

    def stop(self) -> None:
        """Cut what is in flight and close every connection. Nothing is sent after this."""
        self.stopping = True
        self.timers.close()
        now = perf_counter()
        for task, request in list(self._opening.items()):
            task.cancel()
            self._unanswered(request, End.CUT, MISSING, now)
            self._account(request, End.CUT, now)
        for stream in list(self._streams):
            stream.fail(End.CUT)
        if self._drain is not None:
            self._drain.close()
