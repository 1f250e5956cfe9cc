"""Long work in several processes, one thread's each: heard of as it goes on, and stopped by one signal."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty
from types import FrameType
from typing import Any, Protocol, TypeVar

from edgekin.errors import EdgekinError

Item = TypeVar("Item")
Result = TypeVar("Result")
AnyItem = TypeVar("AnyItem", contravariant=True)
AnyResult = TypeVar("AnyResult", covariant=True)

#: How often the parent looks at what its workers say, s.
LOOK_S = 0.1
PR_SET_PDEATHSIG = 1  # prctl(2)

#: Told of whatever a worker says: anything that can be pickled.
Listen = Callable[[Any], None]


class Work(Protocol[AnyItem, AnyResult]):
    """What is done with every item; can be pickled, with what it returns."""

    def __call__(self, item: AnyItem, say: Listen, /) -> AnyResult: ...


def in_workers(work: Work[Item, Result], todo: Mapping[str, Item], jobs: int, listen: Listen,
               finished: Callable[[str, Result], None] = lambda key, result: None) -> dict[str, Result]:
    """Do work on every item, in so many processes at once; with one job or item, in this one.

    Args:
        work: called with an item and a function that tells `listen`.
        todo: by key, in the order of their beginning.
        jobs: at once.
        listen: called in this process.
        finished: called in this process with every result, as it comes.

    Returns:
        Results by key.

    Raises:
        EdgekinError: what the first work that failed raised; the others are terminated.
        KeyboardInterrupt: SIGINT or SIGTERM came; all are terminated.
    """
    if min(jobs, len(todo)) <= 1:
        results = {}
        for key, item in todo.items():
            results[key] = work(item, listen)
            finished(key, results[key])
        return results
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with _terminate_as_interrupt(), ProcessPoolExecutor(min(jobs, len(todo)), context, _begin, (queue,)) as pool:
        try:
            futures = {pool.submit(_do, work, item): key for key, item in todo.items()}
            return _gather(futures, queue, listen, finished)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # work that wants to keep something handles SIGTERM
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _gather(futures: dict[Future[Result], str], queue: Any, listen: Listen,
            finished: Callable[[str, Result], None]) -> dict[str, Result]:
    results, open_ = {}, set(futures)
    while open_:
        done, open_ = wait(open_, LOOK_S, FIRST_COMPLETED)
        for word in _waiting(queue):
            listen(word)
        for future in done:
            key = futures[future]
            results[key] = future.result()
            finished(key, results[key])
    return results


def _waiting(queue: Any) -> Iterator[Any]:
    """Yield what is in the queue now."""
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- in a worker


@dataclass
class _Worker:
    """What a worker knows of its parent."""

    queue: Any = None
    parent: int = 0
    stopped: bool = False  # a signal came: what is queued is not begun


_worker = _Worker()


def _begin(queue: Any) -> None:
    """Prepare a worker: one thread, an end with its parent, and no end by Ctrl-C, which a terminal sends to all."""
    os.environ["OMP_NUM_THREADS"] = "1"
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    queue.cancel_join_thread()
    _worker.queue, _worker.parent = queue, os.getppid()


def _do(work: Work[Item, Result], item: Item) -> Result:
    if _worker.stopped:
        raise KeyboardInterrupt
    try:
        return work(item, _worker.queue.put)
    except EdgekinError as error:  # of a kind that survives the way to the parent
        raise EdgekinError(error.message, error.hint) from None
    except KeyboardInterrupt:
        _worker.stopped = True
        if os.getppid() != _worker.parent:
            os._exit(1)  # nobody is left to tell
        raise
