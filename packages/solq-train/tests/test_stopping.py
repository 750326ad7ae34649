"""Signals become a request while a run is under way, and do as ever before and after."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from solq_train.stopping import SIGNALS, stop_requests


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_becomes_a_request(signum):
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_requests() as request:
        assert not request
        os.kill(os.getpid(), signum)
        assert request
        assert request.signum == signum
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_second_signal_does_not_wait():
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert request.signum == signal.SIGTERM


def test_outside_of_the_main_thread_nothing_changes():
    before = [signal.getsignal(number) for number in SIGNALS]
    found = []

    def look() -> None:
        with stop_requests() as request:
            found.append(([signal.getsignal(number) for number in SIGNALS], bool(request)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(before, False)]
