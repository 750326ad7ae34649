"""One thread for all that computes, and a bound on how many requests wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class BusyError(Exception):
    """As many requests as may wait are waiting."""


class Worker:
    """Calls that are made one after the other, in a thread of their own.

    The network uses all cores for one image: several at a time would only need more memory.
    """

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.num_waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="solq-serve")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those who wait or are served; BusyError where none is left.

        Taken before an upload is read, it bounds the memory of uploads as well.
        """
        if self.num_waiting >= self.most_waiting:
            msg = f"{self.num_waiting} requests are waiting; try again in a moment"
            raise BusyError(msg)
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns, called in the thread when its turn comes."""
        future = self._thread.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin no other call."""
        self._thread.shutdown(wait=False, cancel_futures=True)
