"""The compiled libraries: absent is no error, broken is one, instruction sets have names."""

import os
import subprocess
import sys

import pytest
import torch

from solq_ops import native

needs_cpu_library = pytest.mark.skipif(
    native.cpu_library is None, reason="no compiled CPU kernels are installed"
)


@pytest.fixture
def file_name(monkeypatch):
    """What the library of CPU kernels is called here."""
    monkeypatch.setattr(sys, "platform", "linux")
    return "libsolq_ops_cpu.so"


def test_absent_library_is_none(tmp_path):
    assert native.load_library("solq_ops_cpu", [tmp_path, tmp_path / "nowhere"]) is None
    assert native.load_cpu_library([tmp_path], {}) is None


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("linux", "libsolq_ops_cpu.so"),
        ("darwin", "libsolq_ops_cpu.so"),
        ("win32", "solq_ops_cpu.dll"),
    ],
)
def test_library_that_does_not_load_is_an_error_with_file_version_and_cause(
    platform, name, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "platform", platform)
    path = tmp_path / name
    path.write_bytes(b"no library")
    with pytest.raises(ImportError) as caught:
        native.load_library("solq_ops_cpu", [tmp_path / "nowhere", tmp_path])
    message = str(caught.value)
    assert message.startswith(f"{path} is there but does not load with torch {torch.__version__}: ")
    assert "Could not load" not in message  # the loader's own words, not torch's
    assert caught.value.path == str(path)


def test_cuda_library_is_not_looked_for_where_torch_has_no_cuda(tmp_path, monkeypatch):
    (tmp_path / "libsolq_ops_cuda.so").write_bytes(b"no library")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert native.load_cuda_library([tmp_path]) is None


def test_environment_may_ask_for_the_reference(tmp_path, file_name):
    (tmp_path / file_name).write_bytes(b"no library")
    assert native.load_cpu_library([tmp_path], {"SOLQ_OPS_CPU_ISA": "reference"}) is None


def test_environment_may_not_ask_for_an_instruction_set_without_kernels(tmp_path):
    with pytest.raises(ValueError, match="SOLQ_OPS_CPU_ISA: instruction set 'avx2' needs"):
        native.load_cpu_library([tmp_path], {"SOLQ_OPS_CPU_ISA": "avx2"})


def test_instruction_set_cannot_be_selected_without_kernels(monkeypatch):
    monkeypatch.setattr(native, "cpu_library", None)
    with pytest.raises(ValueError, match="needs the compiled CPU kernels, which are not installed"):
        native.select_instruction_set("portable")
    assert native.instruction_sets() == []


@needs_cpu_library
def test_portable_kernels_run_everywhere():
    assert "portable" in native.instruction_sets()


@needs_cpu_library
@pytest.mark.parametrize("name", native.instruction_sets())
def test_selected_instruction_set_is_the_one_in_use(name):
    before = native.cpu_library.describe()["instruction_set"]
    native.select_instruction_set(name)
    assert native.cpu_library.describe()["instruction_set"] == name
    native.select_instruction_set(before)


@needs_cpu_library
def test_instruction_set_of_another_machine_is_refused_with_those_of_this():
    possible = ", ".join(native.instruction_sets())
    with pytest.raises(ValueError, match=rf"can run \({possible}\), got 'sve2'"):
        native.select_instruction_set("sve2")


@needs_cpu_library
@pytest.mark.parametrize(
    ("asked", "found"),
    [("portable", "portable"), ("reference", ""), ("sve2", "SOLQ_OPS_CPU_ISA: instruction set")],
)
def test_environment_chooses_on_import(asked, found):
    program = "import solq_ops; print(solq_ops.backend().cpu.instruction_set)"
    completed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SOLQ_OPS_CPU_ISA": asked},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked == "sve2":
        assert found in completed.stderr
    else:
        assert completed.stdout.strip() == found
