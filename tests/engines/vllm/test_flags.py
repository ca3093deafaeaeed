import re

import pytest

from headrace.engines.vllm import flags
from headrace.errors import InputError

LEVERS = [
    "api_server_count",
    "async_scheduling",
    "enable_prefix_caching",
    "gdn_prefill_backend",
    "gpu_memory_utilization",
    "kv_cache_dtype",
    "language_model_only",
    "mamba_ssm_cache_dtype",
    "max_cudagraph_capture_size",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "shutdown_timeout",
    "speculative_config",
    "stream_interval",
]


def test_every_minor_version_from_0_18_to_0_33_was_read():
    minors = {flags.key(version)[:2] for version in flags.table()["versions"]}
    assert minors == {(0, minor) for minor in range(18, 34)}


def test_rows_name_versions_that_were_read_and_kinds_that_can_be_written():
    versions = flags.table()["versions"]
    for name, row in flags.table()["options"].items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert row["kind"] in ("value", "switch", "flag", "list", "json", "append"), name
        first, last = row.get("first", versions[0]), row.get("last", versions[-1])
        assert versions.index(first) <= versions.index(last), name


def test_options_come_and_go_with_versions():
    assert "calculate_kv_scales" in flags.options("0.27.1")
    assert "calculate_kv_scales" not in flags.options("0.28.0")
    assert "spec_tokens" not in flags.options("0.21.0")
    assert "spec_tokens" in flags.options("0.22.0")


def test_the_levers_of_the_planner_exist_in_every_version():
    levers = dict.fromkeys(LEVERS)
    for version in flags.table()["versions"]:
        assert flags.unsupported(levers, version) == []


def test_defaults_change_with_versions():
    assert flags.default("gpu_memory_utilization", "0.19.1") == 0.9
    assert flags.default("gpu_memory_utilization", "0.20.0") == 0.92
    assert flags.default("hybrid_prefix_caching", "0.18.0") is False
    assert flags.default("hybrid_prefix_caching", "0.33.0") is True


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.18.0", "0.18.0"), ("0.18", "0.18.0"), ("0.18.7", "0.18.1"), ("0.20.1", "0.20.1")],
)
def test_a_patch_release_that_was_not_read_is_as_the_one_before_it(version, known):
    assert flags.known_version(version) == known


@pytest.mark.parametrize("version", ["0.17.1", "0.34.0", "1.0"])
def test_other_versions_are_refused(version):
    with pytest.raises(InputError, match=r"expected vLLM 0\.18\.0 to 0\.33\.0"):
        flags.options(version)


@pytest.mark.parametrize(
    ("name", "version", "hint"),
    [
        ("max_num_seq", "0.33.0", "did you mean max_num_seqs?"),
        ("no_enable_prefix_caching", "0.33.0", "write enable_prefix_caching: false"),
        ("speculative_config.method", "0.33.0", "write speculative_config as a mapping"),
        ("tp", "0.33.0", "did you mean tensor_parallel_size?"),
        ("spec_tokens", "0.18.0", "vLLM has it in 0.22.0 to 0.33.0"),
        ("enable_mamba_fine_grained_prefix_cache", "0.33.0", "in 0.30.0 alone"),
        ("zzzzqqqq", "0.33.0", "vllm serve --help"),
    ],
)
def test_an_option_that_a_version_lacks_is_told_what_instead(name, version, hint):
    with pytest.raises(InputError, match=rf"engine.args.{name}: vLLM {version} has no") as caught:
        flags.check({"max_num_seqs": 8, name: True}, version)
    assert hint in (caught.value.hint or "")
