"""The compiled kernel, if it is installed, and what to tell about it."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from types import ModuleType

_NAME = f"{__package__}._native"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What makes run lengths of boxed masks; the results are the same, the time is not."""

    solq_maskcodec: str
    implementation: str  # "compiled" or "numpy"
    reason: str  # why it is not compiled, or ""
    compiler: str  # of the compiled kernel, or ""


def backend() -> Backend:
    """Whether the compiled kernel is in use, and why not if it is not."""
    from importlib.metadata import version  # slow to import, and needed here only

    return Backend(
        solq_maskcodec=version("solq-maskcodec"),
        implementation="compiled" if kernel else "numpy",
        reason=reason,
        compiler=kernel.compiler if kernel else "",
    )


def load_kernel(name: str = _NAME) -> tuple[ModuleType | None, str]:
    """The compiled module and "", or None and the reason.

    A wheel that was built without a compiler has none, and says so in `backend()`. One that is
    there and does not load is a broken installation: results do not change, but a warning comes.
    """
    try:
        return importlib.import_module(name), ""
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None, "solq-maskcodec was installed without the compiled kernel"
    except ImportError as error:
        found = f"the compiled kernel is there but does not load: {error}"
        msg = f"solq-maskcodec goes on with NumPy, several times slower: {found}"
        warnings.warn(msg, RuntimeWarning, stacklevel=2)
        return None, found


kernel, reason = load_kernel()
