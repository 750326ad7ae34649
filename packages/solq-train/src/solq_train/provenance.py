"""Where a result comes from: versions of the packages, state of the checkout, hash of weights."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("solq-train", "solq-model", "solq-ops", "solq-maskcodec", "torch", "torchvision")


def versions() -> dict[str, str]:
    """The version of each package that has a say in the numbers."""
    return {package: version(package) for package in PACKAGES}


def git_state() -> dict[str, str | bool] | None:
    """Commit of the checkout that this package runs from, and whether it was changed since.

    None where it is installed from a wheel, or without git.
    """
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        # A package in somebody else's repository, in an environment inside it, is not of it.
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    command = ("git", "-C", str(folder), *arguments)
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return ran.stdout.strip()
