"""An OpenAI-compatible server that keeps its own schedule, and misbehaves when asked to.

The model's name says how: `steady`, or one of the faults in FAULTS; `half-NAME` misbehaves at every
second request. Run as a script it prints its port; GET /stats says what it saw.
"""

import asyncio
import contextlib
import json
import ssl
import sys

TTFT_S = 0.03
GAP_S = 0.004
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + "x-headrace-replica: r7\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITED = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy"
BROKEN = "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nbroken"
ENCODED = HEAD + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
PLAIN = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"
OLD = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
EVENT = 'data: {"choices":[{"index":0,"text":" a"}]}\n\n'
USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":6}}\n\n'
WHOLE = 6 * EVENT + USAGE + "data: [DONE]\n\n"
CLOSES = {
    "old-http": OLD + WHOLE,
    "old-http-cut": OLD + 3 * EVENT,
    "old-http-503": "HTTP/1.0 503 Busy\r\n\r\nbusy",
    "too-long-a-length": HEAD + f"Content-Length: {9 + len(WHOLE)}\r\n\r\n{3 * EVENT}",
    "part-of-a-head": "HTTP/1.1 200 OK\r\nContent-",
}
"""What is sent before the connection is closed."""
ANSWERS = {
    "too-short-a-length": HEAD + f"Content-Length: 60\r\n\r\n{WHOLE}",
    "limited": LIMITED,
    "broken": BROKEN,
    "gzip": ENCODED,
    "page": PLAIN,
    "noise": "\0\1\2x\r\n",
}


class Server:
    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.heads: list[str] = []
        self.open = self.open_max = 0
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.version: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET"):
            writer.write(self._get(head.split()[1]))
            return True
        length = int(head.lower().split("content-length:")[1].split()[0])
        body = json.loads(await reader.readexactly(length))
        if head.startswith("POST /tokenize"):
            writer.write(self._count(body))
            return True
        self.requests.append(body)
        self.heads.append(head)
        how = body["model"]
        if how.startswith("half-"):
            how = how[5:] if len(self.requests) % 2 else "steady"
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        try:
            return await self._answer(how, body, writer)
        finally:
            self.open -= 1

    def _get(self, path: str) -> bytes:
        status, answer = "404 Not Found", "{}"
        if path == "/stats":
            seen = {"requests": len(self.requests), "open_max": self.open_max}
            status, answer = "200 OK", json.dumps({**seen, "connections": self.connections})
        elif path == "/metrics" and self.version:
            status, answer = "200 OK", self._metrics()
        elif path == "/version" and self.version:
            status, answer = "200 OK", json.dumps({"version": self.version})
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode()

    def _metrics(self) -> str:
        lines = ["# TYPE vllm:num_requests_running gauge"]
        lines += [f"vllm:num_requests_running {self.open}"]
        lines += [
            "# TYPE vllm:prefix_cache_queries counter",
            "# TYPE vllm:prefix_cache_hits counter",
        ]
        lines += [f"vllm:prefix_cache_queries_total {4 * len(self.requests)}"]
        lines += [f"vllm:prefix_cache_hits_total {len(self.requests)}"]
        return "\n".join(lines) + "\n"

    def _count(self, body: dict) -> bytes:
        """A token a word, and in a chat two for the template."""
        said = body.get("prompt") or body["messages"][0]["content"]
        answer = json.dumps({"count": len(said.split()) + 2 * ("messages" in body)})
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode()

    async def _answer(self, how: str, body: dict, writer: asyncio.StreamWriter) -> bool:
        if how in CLOSES:
            writer.write(CLOSES[how].encode())
            return False
        if how == "slow-head":
            return await self._slow_head(writer)
        if how in ANSWERS:
            writer.write(ANSWERS[how].encode())
            return how != "noise"
        if how == "close":
            return False
        if how == "hang":
            await asyncio.sleep(30)
            return False
        return await self._stream(how, body, writer)

    async def _slow_head(self, writer: asyncio.StreamWriter) -> bool:
        """A header a moment, and never the last one."""
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"x: y\r\n")
            await asyncio.sleep(0.01)
        return False

    async def _stream(self, how: str, body: dict, writer: asyncio.StreamWriter) -> bool:
        loop = asyncio.get_running_loop()
        begin, asked = loop.time(), body["max_tokens"]
        each = 3 if how == "several" else 1
        due = begin + TTFT_S
        writer.write(CHUNKED.encode())
        if "messages" in body:
            self._chunk(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        sent = 0
        while sent < asked:
            await asyncio.sleep(max(0.0, due - loop.time()))
            sent = min(asked, sent + each)
            if writer.is_closing():
                return False
            if fault := self._fault(how, sent, writer):
                return fault == "go on"
            if how == "goes-silent" and sent > 2:
                await asyncio.sleep(30)
            if how == "endless":
                sent = min(sent, asked - 1)
            self._chunk(writer, {"choices": [_piece(how, body, sent)], "usage": None})
            due += GAP_S
        if "messages" in body and how != "steady":
            self._chunk(writer, {"choices": [{"delta": {}, "finish_reason": "length"}]})
        said = "".join(message["content"] for message in body.get("messages", []))
        prompt = body.get("prompt") or said.split()
        prompt = prompt if isinstance(prompt, list) else prompt.split()
        template = 2 * ("messages" in body and how == "counted")
        counts = {
            "prompt_tokens": len(prompt) + template,
            "completion_tokens": sent - (how == "short"),
        }
        if how != "no-usage":
            self._chunk(writer, {"choices": [], "usage": counts})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        if how == "never-ends":
            await asyncio.sleep(30)
        writer.write(b"0\r\n\r\n")
        return how != "closes-after"

    def _fault(self, how: str, sent: int, writer: asyncio.StreamWriter) -> str | None:
        if sent < 2:
            return None
        if how == "cut":
            return "close"
        if how == "ends-early":
            writer.write(b"0\r\n\r\n")
            return "go on"
        if how == "garbage":
            writer.write(b'f\r\ndata: {"choi\n\n\r\n')
            return "close"
        if how == "says-error":
            self._chunk(writer, {"error": {"message": "out of memory"}})
            return "close"
        return None

    def _chunk(self, writer: asyncio.StreamWriter, event: dict) -> None:
        data = f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _piece(how: str, body: dict, sent: int) -> dict:
    """One token: of a text, or of a chat, which may think or call tools first."""
    if "messages" not in body:
        return {"index": 0, "text": " a"}
    first_half = sent <= body["max_tokens"] // 2
    if how == "thinks" and first_half:
        return {"index": 0, "delta": {"reasoning_content": " hm"}}
    if how == "calls" and first_half:
        call = {"index": 0, "function": {"arguments": "{"}}
        return {"index": 0, "delta": {"tool_calls": [call]}}
    return {"index": 0, "delta": {"content": " a"}}


@contextlib.asynccontextmanager
async def running(
    server: Server | None = None, tls: ssl.SSLContext | None = None, path: str | None = None
):
    """A server in this loop, and its port; on a Unix socket too when a path is given."""
    paced = server or Server()
    if path:
        await asyncio.start_unix_server(paced.serve, path)
    listener = await asyncio.start_server(paced.serve, "127.0.0.1", 0, backlog=1024, ssl=tls)
    try:
        yield paced, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in paced.writers:
            writer.transport.abort()
        await asyncio.sleep(0.005)


async def main() -> None:
    tls, path = None, None
    if len(sys.argv) > 2 and sys.argv[2].endswith(".sock"):
        path = sys.argv[2]
    elif len(sys.argv) > 2:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[2])
    async with running(tls=tls, path=path) as (server, port):
        server.version = sys.argv[1] if len(sys.argv) > 1 else None
        print(port, flush=True)
        await asyncio.sleep(240)


if __name__ == "__main__":
    asyncio.run(main())
