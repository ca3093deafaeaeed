"""Reads a batch of lines by libc's own calls, and takes in the usual packets of plain streams.

The layouts are those of 64-bit Linux: `struct epoll_event` (packed on x86 alone), `struct msghdr`,
`struct iovec`, and one control message with a stamp.
"""

from __future__ import annotations

import platform
from typing import Any

from numba import types

from headrace.loadgen.fast.chunk import brings_one_token
from headrace.loadgen.fast.compiling import compiled
from headrace.loadgen.lending import MOST

Array = Any

SLOT = 2048
"""Room for a packet in bytes; one that fills it is read on in Python."""
GAPS = 128
"""Room for gaps between chunks, of each line, until its stream is told of them."""
EVENT = 3 if platform.machine() == "x86_64" else 4
"""Whole numbers of 32 bits in an event."""
WHOSE = EVENT - 2
"""Which of them is the file descriptor."""
IN = 1
TCP, QUICKACK = 6, 12
STAMP_HEAD = 35 << 32 | 1
"""Level (SOL_SOCKET) and type (SO_TIMESTAMPNS) of a control message with a stamp."""
CONTROL_BYTES = 32
UNREAD = -1

INT: Any = types.int32
SIZE: Any = types.int64
ADDRESS: Any = types.uintp
_wait: Any = types.ExternalFunction("epoll_wait", INT(INT, ADDRESS, INT, INT))
_receive: Any = types.ExternalFunction("recvmsg", SIZE(INT, ADDRESS, INT))
_option: Any = types.ExternalFunction("setsockopt", INT(INT, INT, INT, ADDRESS, types.uint32))


@compiled
def receive(fd: int, address: int, message: Array, vector: Array, control: Array) -> int:
    """Read a packet to that address; how many bytes, UNREAD where Python has to say why not."""
    vector[0] = address
    vector[1] = SLOT
    message[2] = vector.ctypes.data
    message[3] = 1
    message[4] = control.ctypes.data
    message[5] = CONTROL_BYTES
    control[1] = 0
    size = _receive(fd, message.ctypes.data, 0)
    return size if size > 0 else UNREAD


@compiled
def take_in(
    poller: int,
    times: tuple[float, float, float],
    lazy_s: float,
    lines: tuple[Array, Array, Array, Array, Array],
    calls: tuple[Array, Array, Array, Array],
    left: tuple[Array, Array],
    room: Array,
) -> tuple[int, int, int]:
    """Read the lines that have something. Returns how many had, how many chunks were taken in, how
    many lines are left to Python.

    `times`: the batch's first and last second, outside of which no stamp is believed, and a stamp's
    distance from their clock. `lines`, by file descriptor: whether its stream is plain (1: text,
    2: chat), when its last chunk came, the gap before that, how many gaps are kept, the gaps.
    `calls`: what the calls are told. `left`: of each line that is left the file descriptor, events
    and bytes read (UNREAD: none yet), and when they came (0: not known). They are in the slot of
    `room` that has its place: a packet that is taken in leaves its slot to the next.
    """
    after_s, now_s, offset_s = times
    kinds, last_s, last_gap_s, counts, gaps = lines
    events, message, vector, control = calls
    whose, came_s = left
    first = room.ctypes.data
    ready = _wait(poller, events.ctypes.data, MOST, 0)
    chunks = kept = 0
    for place in range(ready):
        fd, event = events[EVENT * place + WHOSE], events[EVENT * place]
        size, at_s = UNREAD, 0.0
        kind = kinds[fd] if fd < len(kinds) else 0
        if kind:
            if last_gap_s[fd] > lazy_s:
                message[7] = 0
                _option(fd, TCP, QUICKACK, message.ctypes.data + 56, 4)
            size = receive(fd, first + kept * SLOT, message, vector, control)
            if size > 0 and control[1] == STAMP_HEAD:
                at_s = control[2] + control[3] * 1e-9 + offset_s
            count = counts[fd]
            if (
                event == IN
                and 0 < size < SLOT
                and after_s <= at_s <= now_s
                and count < GAPS
                and brings_one_token(room[kept], size, kind == 2)
            ):
                gaps[fd, count] = last_gap_s[fd] = at_s - last_s[fd]
                counts[fd] = count + 1
                last_s[fd] = at_s
                chunks += 1
                continue
        whose[kept, 0], whose[kept, 1], whose[kept, 2] = fd, event, size
        came_s[kept] = at_s
        kept += 1
    return ready, chunks, kept
