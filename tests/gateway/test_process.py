from __future__ import annotations

from pathlib import Path

import pytest

from headrace.gateway.process import (
    ENVOYS,
    Membership,
    death_reason,
    envoy_argv,
    envoy_path,
    gateway_files,
    gateway_logs,
    parse_membership,
    workers,
)

LOG = (
    "[2026-11-24 02:20:12.810][6859][critical][main] [source/server/server.cc:449] error `cannot "
    "bind '127.0.0.1:8000': Address already in use` initializing config 'x'\n"
)


def test_envoy_is_in_the_wheel():
    assert envoy_path().stat().st_mode & 0o111


def test_each_envoy_has_its_own_socket_and_log(tmp_path: Path):
    files = gateway_files(tmp_path)
    assert len({envoy.admin for envoy in files.envoys}) == ENVOYS
    assert [*(envoy.log for envoy in files.envoys), files.access_log] == gateway_logs(tmp_path)


def test_gateways_share_nothing(tmp_path: Path):
    argv = envoy_argv(gateway_files(tmp_path).config, 2)
    assert "--disable-hot-restart" in argv
    assert argv[argv.index("--concurrency") + 1] == "2"


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (2, 1), (8, 2), (192, 4)])
def test_small_machines_get_one_worker(cores: int, count: int):
    assert workers(cores) == count


def test_a_busy_port_is_named():
    assert death_reason(1, LOG) == "the gateway's address 127.0.0.1:8000 is busy"


def test_a_signal_is_named():
    assert death_reason(-9, "") == "the gateway was ended by SIGKILL"


def test_other_ends_keep_envoys_words():
    log = "[2026-11-24 02:20:12.810][6859][critical][main] [a.cc:1] the config is odd\n"
    assert death_reason(1, log) == "the gateway ended with status 1: the config is odd"


def test_membership_is_read_from_the_stats():
    stats = "cluster.replicas.membership_healthy: 2\ncluster.replicas.membership_total: 3\n"
    assert parse_membership(stats) == Membership(healthy=2, total=3, listening=False)
    stats += "listener_manager.workers_started: 1\n"
    assert parse_membership(stats) == Membership(healthy=2, total=3, listening=True)
    assert parse_membership("") is None
