"""A very small engine: real sockets, real streams, and every way to misbehave.

Run as a script: it prints phases as an engine does, takes `--load-s` to load, then answers
GET /health and streams `--chunks` pieces, `--gap-s` apart, to any POST. SIGTERM: streams in
flight are finished, then it exits.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from pathlib import Path

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nserver: tiny\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
running = 0
idle = asyncio.Event()


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: argparse.Namespace
) -> None:
    try:
        while await one(reader, writer, options):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: argparse.Namespace
) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    if head.startswith(b"POST"):
        if options.hang_up_if and options.hang_up_if.exists():
            options.hang_up_if.unlink()
            return False
        await stream(writer, options)
    else:
        status = b"503 no" if options.sick else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nserver: tiny\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
    return True


async def stream(writer: asyncio.StreamWriter, options: argparse.Namespace) -> None:
    global running
    running += 1
    idle.clear()
    try:
        writer.write(HEAD)
        for number in range(options.chunks):
            text = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%s\r\n" % (len(text), text))
            await writer.drain()
            await asyncio.sleep(options.gap_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    finally:
        running -= 1
        if not running:
            idle.set()


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if options.grandchild:
        subprocess.Popen(["sleep", "1000.25"], start_new_session=True)
    print("phase: loading weights", file=sys.stderr, flush=True)
    loading = asyncio.create_task(asyncio.sleep(options.load_s))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([loading, stopped], return_when=asyncio.FIRST_COMPLETED)
    if options.die or (options.die_if and options.die_if.exists()):
        sys.exit("no such model")
    idle.set()
    servers = [
        await asyncio.start_server(
            lambda r, w: answer(r, w, options), "127.0.0.1", port, backlog=2048
        )
        for port in options.port
    ]
    print("phase: serving", file=sys.stderr, flush=True)
    await stopped
    for server in servers:
        server.close()
    await idle.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--chunks", type=int, default=3)
    parser.add_argument("--gap-s", type=float, default=0.01)
    parser.add_argument("--die", action="store_true")
    parser.add_argument("--die-if", type=Path)
    parser.add_argument("--hang-up-if", type=Path, help="once, while there is such a file")
    parser.add_argument("--sick", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--grandchild", action="store_true")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
