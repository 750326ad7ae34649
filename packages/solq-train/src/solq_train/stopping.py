"""Being asked to stop: SIGTERM (a preempted job) and Ctrl-C let the step end, then save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(RuntimeError):
    """The run was asked to stop, and is saved."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class StopRequest:
    """Whether somebody asked, and by which signal."""

    signum: int | None = None

    def __bool__(self) -> bool:
        return self.signum is not None

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """Take note; who asks a second time does not want to wait for the end of the step."""
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Signals that would end the process become a request while the block runs.

    Outside of the main thread, where Python delivers no signals, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_interrupts_to_the_parent(_worker: int) -> None:
    """Start of a loader's worker: Ctrl-C reaches the whole group, and the run still needs it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave_signals_to_the_parent(_worker: int) -> None:
    """Start of a worker that must outlive a request to stop: what it loads for is saved after it.

    Workers end by themselves when they are no longer needed, or when the parent is gone.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
