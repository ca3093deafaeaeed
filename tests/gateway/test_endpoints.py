from __future__ import annotations

import json
from pathlib import Path

from headrace.gateway.endpoints import discovery_response, write_endpoints


def test_a_replica_is_its_address_and_its_id():
    found = discovery_response([("r0", "http://127.0.0.1:8001")], 3)
    (assignment,) = found["resources"]
    (endpoint,) = assignment["endpoints"][0]["lb_endpoints"]
    assert found["version_info"] == "3"
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 8001,
    }
    assert endpoint["metadata"]["filter_metadata"]["headrace"] == {"replica": "r0"}


def test_the_port_does_not_decide_where_a_session_goes():
    one, other = (
        discovery_response([("r0", f"http://127.0.0.1:{port}")], 1)["resources"][0]["endpoints"][0][
            "lb_endpoints"
        ][0]["metadata"]["filter_metadata"]["envoy.lb"]
        for port in (1, 2)
    )
    assert one == other == {"hash_key": "r0"}


def test_no_replicas_is_an_answer_too():
    assert discovery_response([], 1)["resources"][0]["endpoints"] == [{"lb_endpoints": []}]


def test_the_file_is_replaced_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "replicas.json"
    write_endpoints(path, [("r0", "http://127.0.0.1:1")], 1)
    before = path.stat().st_ino
    write_endpoints(path, [], 2)
    assert path.stat().st_ino != before
    assert json.loads(path.read_text())["version_info"] == "2"
    assert list(tmp_path.iterdir()) == [path]
