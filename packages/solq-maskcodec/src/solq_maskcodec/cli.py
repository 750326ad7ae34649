"""The `solq-maskcodec` command: arguments → a command that runs; errors → one clear line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_USER_ERROR, _INTERRUPTED = 2, 130

# What the extra `cli` brings: the package itself needs NumPy only.
_EXTRA = ("PIL", "matplotlib", "pycocotools", "rich", "tyro")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0 done, 2 the input was refused."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from .commands.parse import run

        run(arguments)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            return _fail(str(error))
        return _fail(f'the command line needs {error.name}: pip install "solq-maskcodec[cli]"')
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__)
    except KeyboardInterrupt:
        sys.stderr.write("solq-maskcodec: interrupted, nothing was written\n")
        return _INTERRUPTED
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"solq-maskcodec: error: {' '.join(message.split())}\n")
    return _USER_ERROR
