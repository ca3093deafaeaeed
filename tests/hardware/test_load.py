from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.hardware.load import PACKAGED, USER_CATALOG, entries, load_catalog, load_gpu

NEW = """
[MI300X]
memory_bytes = 206158430208
bandwidth_bytes_s = 5.3e12
flops.bf16 = 1307e12
link_bytes_s = 448e9
compute_capability = "9.4"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def test_every_packaged_figure_has_a_source_and_a_date() -> None:
    for name, entry in entries().items():
        figures = [entry.memory_bytes, entry.bandwidth_bytes_s, entry.link_bytes_s]
        figures += [*entry.flops.values(), *([entry.usd_per_hour] if entry.usd_per_hour else [])]
        for figure in figures:
            assert figure is not None, name
            assert figure.source, name
            assert figure.date, name
            assert figure.date.startswith("202"), name


def test_the_gpus_that_recipes_and_users_name_are_there() -> None:
    named = {"A100", "H100", "H200", "B200", "B300", "GB200", "L40S", "RTX PRO 6000", "CPU"}
    assert named <= set(load_catalog())


@pytest.mark.parametrize(
    ("name", "memory_gib", "bandwidth_tb_s", "fp8_pflop_s", "usd"),
    [
        ("B200", 179, 8.0, 4.5, 3.75),
        ("H200", 140.4, 4.8, 1.979, 2.25),
        ("H100", 79.6, 3.35, 1.979, 1.49),
    ],
)
def test_headline_figures(
    name: str, memory_gib: float, bandwidth_tb_s: float, fp8_pflop_s: float, usd: float
) -> None:
    gpu = load_gpu(name)
    assert gpu.memory_bytes / 2**30 == pytest.approx(memory_gib, rel=0.001)
    assert gpu.bandwidth_bytes_s == bandwidth_tb_s * 1e12
    assert gpu.flops["fp8"] == fp8_pflop_s * 1e15
    assert gpu.usd_per_hour == usd


def test_figures_are_dense_and_plausible() -> None:
    """Each narrower float dtype doubles the one before it, but for B300's extra FP4."""
    for gpu in load_catalog().values():
        if "fp8" in gpu.flops:
            assert gpu.flops["fp8"] / gpu.flops["bf16"] == pytest.approx(2, rel=0.02)
        if "fp4" in gpu.flops:
            assert 1.9 < gpu.flops["fp4"] / gpu.flops["fp8"] < 3.2


@pytest.mark.parametrize("spelled", ["h100", "H100-80GB", "NVIDIA H100 80GB HBM3", "h100 sxm5"])
def test_names_and_aliases_in_any_spelling(spelled: str) -> None:
    assert load_gpu(spelled).name == "H100"


def test_no_two_entries_share_a_name() -> None:
    for name, entry in entries().items():
        assert [load_gpu(alias).name for alias in entry.aliases] == [name] * len(entry.aliases)


def test_cpu_is_not_a_gpu() -> None:
    assert load_gpu("cpu").kind == "cpu"
    assert load_gpu("B200").kind == "gpu"
    assert load_gpu("B300").compute_capability == (10, 3)


def test_unknown_gpu_names_the_nearest_and_how_to_add_one() -> None:
    with pytest.raises(InputError) as caught:
        load_gpu("B20")
    assert "nearest: B200" in str(caught.value)
    assert "hardware.catalog" in (caught.value.hint or "")


def test_a_given_price_wins(own: Path) -> None:
    own.write_text("[B200]\nusd_per_hour = 3.10\n")
    assert load_gpu("B200", own).usd_per_hour == 3.10
    assert load_gpu("B200", own, 2.0).usd_per_hour == 2.0


def test_single_figures_are_overridden_under_any_alias(own: Path) -> None:
    own.write_text('["h100-80gb"]\nbandwidth_bytes_s = 3.0e12\nflops.fp8 = 1.5e15\n')
    gpu = load_gpu("H100", own)
    assert gpu.bandwidth_bytes_s == 3.0e12
    assert gpu.flops == {**load_gpu("H100").flops, "fp8": 1.5e15}
    assert gpu.memory_bytes == load_gpu("H100").memory_bytes
    assert load_gpu("H100").bandwidth_bytes_s == 3.35e12


def test_entries_are_added_with_or_without_sources(own: Path) -> None:
    own.write_text(NEW + 'usd_per_hour = { value = 1.99, source = "my provider", date = "2026" }\n')
    gpu = load_gpu("mi300x", own)
    assert gpu.compute_capability == (9, 4)
    assert gpu.usd_per_hour == 1.99
    assert list(load_catalog(own))[-1] == "MI300X"


def test_the_environment_names_a_catalog(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.write_text(NEW)
    monkeypatch.setenv(USER_CATALOG, str(own))
    assert load_gpu("MI300X").name == "MI300X"
    assert "MI300X" not in load_catalog(PACKAGED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[B200\n", "not valid TOML"),
        ("[B200]\nusd_per_hour = -1\n", r"\[B200\] usd_per_hour.value"),
        ('[B200]\nusd_per_hour = "cheap"\n', r"\[B200\] usd_per_hour.value"),
        ("[B200]\nusd_per_hours = 3\n", "did you mean usd_per_hour"),
        ("[B200]\nflops.fp7 = 3e12\n", r"\[B200\] flops.fp7"),
        ('[B200]\ncompute_capability = "ten"\n', r"\[B200\] compute_capability"),
        ("[MI300X]\nmemory_bytes = 1e9\n", "lacks bandwidth_bytes_s, link_bytes_s, flops.bf16"),
        ("B200 = 3\n", "B200: expected a table"),
    ],
)
def test_mistakes_in_the_users_file(own: Path, text: str, message: str) -> None:
    own.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_gpu("B200", own)
    assert str(own) in str(caught.value)
    assert caught.value.hint


def test_missing_catalog_file(own: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_gpu("B200", own)
