from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headrace.gateway.steering import steer_to_oldest
from headrace.node.ports import free_port, is_free

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"
CLIENTS = 20


def listener(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind((HOST, port))
    server.listen(CLIENTS)
    server.settimeout(5)
    return server


def served(port: int, server: socket.socket) -> int:
    """How many of the clients that call the port come out at this server."""
    clients = [socket.create_connection((HOST, port), timeout=5) for _ in range(CLIENTS)]
    got = list(accepted(server))
    for connection in (*clients, *got):
        connection.close()
    return len(got)


def accepted(server: socket.socket) -> Iterator[socket.socket]:
    for _ in range(CLIENTS):
        yield server.accept()[0]


def test_the_oldest_gets_all_and_its_end_moves_them_at_once():
    port = free_port(HOST)
    first = listener(port)
    steer_to_oldest(HOST, port)
    second = listener(port)
    assert served(port, first) == CLIENTS
    first.close()
    assert served(port, second) == CLIENTS
    third = listener(port)
    assert served(port, second) == CLIENTS
    second.close()
    assert served(port, third) == CLIENTS
    third.close()


def test_a_shared_port_is_not_free_for_others():
    port = free_port(HOST)
    with listener(port):
        assert not is_free(HOST, port)
