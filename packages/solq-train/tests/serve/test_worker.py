"""One thread that computes, and a bound on who waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from solq_train.serve.worker import BusyError, Worker


@pytest.fixture
def worker():
    worker = Worker(most_waiting=2)
    yield worker
    worker.close()


def test_calls_are_made_one_by_one_in_a_thread_of_their_own(worker, run_async):
    running = []

    def compute(number):
        running.append(number)
        assert len(running) == 1
        running.remove(number)
        return number, threading.current_thread()

    async def ask():
        return await asyncio.gather(*(worker.call(compute, number) for number in range(20)))

    numbers, threads = zip(*run_async(ask), strict=True)
    assert numbers == tuple(range(20))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.main_thread()


def test_errors_of_a_call_reach_the_caller(worker, run_async):
    with pytest.raises(ValueError, match="invalid literal"):
        run_async(lambda: worker.call(int, "none"))


def test_places_are_limited_and_given_back_on_errors_too(worker):
    expected = pytest.raises(BusyError, match="2 requests are waiting")
    with worker.place(), worker.place(), expected, worker.place():
        pass
    with pytest.raises(KeyError), worker.place():
        raise KeyError
    assert worker.num_waiting == 0
