"""What `import solq_model` brings along."""

import subprocess
import sys

import pytest

# Each takes seconds to import, and is needed only once a network is built or compiled.
SLOW = ("torchvision", "torch._dynamo", "torch._inductor", "onnx", "onnxruntime")


@pytest.mark.parametrize("module", SLOW)
def test_importing_the_package_does_not_import_what_takes_seconds(module):
    program = f"import sys, solq_model; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
