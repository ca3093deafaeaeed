from __future__ import annotations

import socket

from headrace.node.ports import RANGE, free_port, is_free


def test_a_port_that_is_listened_on_is_busy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_free_ports_are_not_those_of_outgoing_connections():
    first_outgoing = int(RANGE.read_text().split()[0])
    ports = {free_port("127.0.0.1") for _ in range(20)}
    assert max(ports) < first_outgoing
    assert all(is_free("127.0.0.1", port) for port in ports)
