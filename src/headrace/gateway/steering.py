"""Which of several processes on one port gets its connections: the one that listened first.

With SO_REUSEPORT the kernel spreads new connections over all sockets of a port. A program of one
instruction, attached to the port by any of them, sends all to the socket at index 0 instead: the
oldest. When its process dies, however it dies, the kernel moves another socket to that place at
once, and nobody has to notice first. Linux 4.6; no privilege is needed.
See SO_ATTACH_REUSEPORT_CBPF in socket(7).
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_REUSEPORT_CBPF = 51
RETURN = 0x06
"""BPF_RET | BPF_K: the index is the instruction's constant."""


def steer_to_oldest(host: str, port: int) -> None:
    """Make it so for a port on which one process listens; it holds until the last one is gone.

    A socket joins, attaches the program, and leaves. Raises OSError where the kernel cannot, or
    where nobody shares the port with this user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    with socket.socket(family, socket.SOCK_STREAM) as guest:
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        guest.bind((host, port))
        guest.listen(1)
        guest.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
