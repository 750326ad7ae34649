"""What `backend()` tells: kernels and their versions, why there are none, a small table."""

from pathlib import Path

import pytest
import torch

import solq_ops
from solq_ops import native
from solq_ops.backend import backend

DESCRIPTIONS = {
    "cpu": {
        "instruction_set": "avx2",
        "instruction_sets": "avx2,portable",
        "compiler": "a compiler 1.0",
    },
    "cuda": {"cuda": "13.0", "architectures": "80,90"},
}


class Library:
    """Stands for a compiled library."""

    def __init__(self, kind):
        self.kind = kind
        self.path = Path(f"libsolq_ops_{kind}.so")

    def describe(self):
        return DESCRIPTIONS[self.kind]


@pytest.fixture
def installed(monkeypatch):
    """A function that pretends which libraries are loaded, and that torch has CUDA or not."""

    def pretend(*kinds, torch_cuda="13.0"):
        monkeypatch.delenv("SOLQ_OPS_CPU_ISA", raising=False)
        monkeypatch.setattr(torch.version, "cuda", torch_cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
        for kind in ("cpu", "cuda"):
            library = Library(kind) if kind in kinds else None
            monkeypatch.setattr(native, f"{kind}_library", library)

    return pretend


def test_what_runs_here_is_known():
    found = solq_ops.backend()
    assert found.solq_ops == solq_ops.__version__
    assert found.torch == torch.__version__
    assert found.cpu.implementation == ("compiled" if native.cpu_library else "reference")
    assert found.cpu.instruction_sets == tuple(native.instruction_sets())
    assert found.cpu.threads == torch.get_num_threads()
    assert len(found.cuda.devices) == torch.cuda.device_count()


def test_compiled_kernels_are_described(installed):
    installed("cpu", "cuda")
    found = backend()
    assert found.cpu.implementation == found.cuda.implementation == "compiled"
    assert found.cpu.instruction_set == "avx2"
    assert found.cpu.instruction_sets == ("avx2", "portable")
    assert found.cpu.library == Path("libsolq_ops_cpu.so")
    assert found.cuda.architectures == ("80", "90")
    assert found.cuda.devices == ("card 0", "card 1")
    lines = dict(line.split("  ", 1) for line in str(found).replace("\n  ", "\n").splitlines())
    assert {name: text.strip() for name, text in lines.items()} == {
        "solq-ops": solq_ops.__version__,
        "torch": torch.__version__,
        "cpu": "compiled",
        "instruction set": "avx2 of avx2, portable",
        "compiler": "a compiler 1.0",
        "threads": str(torch.get_num_threads()),
        "cuda": "compiled",
        "compiled with": "CUDA 13.0 for 80, 90",
        "devices": "card 0, card 1",
        "others": "reference",
    }


def test_absent_kernels_are_explained(installed):
    installed()
    found = backend()
    assert found.cpu.implementation == found.cuda.implementation == "reference"
    assert found.cpu.reason == "solq-ops was installed without compiled CPU kernels"
    assert found.cuda.reason == "solq-ops was installed without compiled CUDA kernels"
    assert "instruction set" not in str(found)
    assert f"reference: {found.cpu.reason}" in str(found)


def test_reference_that_was_asked_for_is_explained(installed, monkeypatch):
    installed()
    monkeypatch.setenv("SOLQ_OPS_CPU_ISA", "reference")
    assert backend().cpu.reason == "SOLQ_OPS_CPU_ISA asks for it"


def test_torch_without_cuda_is_told(installed):
    installed("cpu", torch_cuda=None)
    found = backend().cuda
    assert found.implementation == "absent"
    assert found.reason == "this torch was built without CUDA"
    assert found.devices == ()


def test_backend_cannot_be_changed():
    with pytest.raises(AttributeError):
        backend().cpu.threads = 3
