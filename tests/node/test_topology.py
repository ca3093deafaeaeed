from __future__ import annotations

from pathlib import Path

from headrace.node.nvml import Gpu, numa_node, read_gpus
from headrace.node.topology import cores_of_numa, cpu_list, numa_of_gpus, share_cpus

TWO_SOCKETS = {
    0: [[0, 8], [1, 9], [2, 10], [3, 11]],
    1: [[4, 12], [5, 13], [6, 14], [7, 15]],
}
GPUS = {0: 0, 1: 0, 2: 1, 3: 1}


def test_each_replica_gets_cores_beside_its_gpus():
    shares = share_cpus([[0], [1], [2], [3]], GPUS, TWO_SOCKETS, range(16))
    assert shares == [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]]


def test_only_allowed_cores_are_shared_out():
    assert share_cpus([[0], [2]], GPUS, TWO_SOCKETS, [0, 1, 4]) == [[0, 1], [4]]


def test_nobody_is_pinned_where_it_would_be_a_guess():
    assert share_cpus([[0], [7]], GPUS, TWO_SOCKETS, range(16)) == [[], []]
    assert share_cpus([[1, 2]], GPUS, TWO_SOCKETS, range(16)) == [[]]
    assert share_cpus([[0], [1]], GPUS, TWO_SOCKETS, [0]) == [[], []]
    assert share_cpus([[]], GPUS, TWO_SOCKETS, range(16)) == [[]]


def test_the_kernels_lists():
    assert cpu_list("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11]
    assert cpu_list("\n") == []
    assert cores_of_numa(Path("/nowhere")) == {}


def test_threads_of_a_core_stay_together(tmp_path: Path):
    node = tmp_path / "node0"
    node.mkdir()
    (node / "cpulist").write_text("0-3\n")
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    cores = cores_of_numa(tmp_path, tmp_path)
    assert cores == {0: [[0, 2], [1, 3]]}
    assert share_cpus([[0], [1]], {0: 0, 1: 0}, cores, range(4)) == [[0, 2], [1, 3]]
    assert cores_of_numa(tmp_path, tmp_path / "nowhere") == {0: [[0], [1], [2], [3]]}


def test_gpus_of_a_machine_with_one_memory_node_are_there():
    unknown, known = (Gpu(n, "H200", 0, 1, 40, 0, node, None) for n, node in ((0, None), (1, 1)))
    assert numa_of_gpus([unknown, known], [0]) == {0: 0, 1: 1}
    assert numa_of_gpus([unknown, known], [0, 1]) == {1: 1}


def test_the_node_of_a_device(tmp_path: Path):
    class Pci:
        busId = b"00000000:1B:00.0"  # noqa: N815

    device = tmp_path / "0000:1b:00.0"
    device.mkdir()
    (device / "numa_node").write_text("1\n")
    assert numa_node(Pci, tmp_path) == 1
    (device / "numa_node").write_text("-1\n")
    assert numa_node(Pci, tmp_path) is None
    assert numa_node(None, tmp_path) is None


def test_without_nvml_there_are_no_gpus():
    assert isinstance(read_gpus(), list)
