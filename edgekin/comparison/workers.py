"""The trainings of a comparison in several processes: each is one thread's work, so every core has one."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty
from types import FrameType
from typing import Any

from edgekin.comparison.pieces import Store
from edgekin.comparison.plan import Piece
from edgekin.errors import EdgekinError

#: How often the parent looks at what its workers say, s.
LOOK_S = 0.1
#: Unless more are asked for: each takes half a gigabyte.
MOST_JOBS = 8
DONE = "done"  # the stage of a finished piece
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Word:
    """What a training says on its way."""

    key: str  # of its piece
    stage: str
    share: float  # of the stage


#: Told of every word.
Listen = Callable[[Word], None]


def default_jobs() -> int:
    """Return how many trainings to run at once: one a core, up to eight; one where there is a GPU to share."""
    import torch

    return 1 if torch.cuda.is_available() else min(MOST_JOBS, len(os.sched_getaffinity(0)))


def train_pieces(store: Store, todo: list[Piece], jobs: int, listen: Listen) -> dict[str, dict[str, Any]]:
    """Train pieces, or find them done.

    Args:
        store: that keeps them.
        todo: in the order of their beginning.
        jobs: at once; 1: in this process.
        listen: called in this process.

    Returns:
        Metrics by key.

    Raises:
        EdgekinError: what the first training that failed raised; the others stop at a checkpoint.
        KeyboardInterrupt: SIGINT or SIGTERM came; all stopped at a checkpoint.
    """
    metrics = {piece.key: found for piece in todo if (found := store.done(piece)) is not None}
    for key in metrics:
        listen(Word(key, DONE, 1.0))
    left = [piece for piece in todo if piece.key not in metrics]
    if min(jobs, len(left)) > 1:
        return metrics | _in_workers(store, left, min(jobs, len(left)), listen)
    for piece in left:
        metrics[piece.key] = store.trained(piece, _reporter(piece.key, listen))
        listen(Word(piece.key, DONE, 1.0))
    return metrics


def _reporter(key: str, listen: Listen) -> Callable[[str, float], None]:
    return lambda stage, share: listen(Word(key, stage, share))


def _in_workers(store: Store, todo: list[Piece], jobs: int, listen: Listen) -> dict[str, dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with _terminate_as_interrupt(), ProcessPoolExecutor(jobs, context, _begin, (queue,)) as pool:
        futures = {pool.submit(_train, store, piece): piece.key for piece in todo}
        try:
            return _gather(futures, queue, listen)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # a training writes its checkpoint first
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _gather(futures: dict[Future[dict[str, Any]], str], queue: Any, listen: Listen) -> dict[str, dict[str, Any]]:
    metrics, open_ = {}, set(futures)
    while open_:
        done, open_ = wait(open_, LOOK_S, FIRST_COMPLETED)
        for word in _waiting(queue):
            listen(word)
        for future in done:
            metrics[futures[future]] = future.result()
            listen(Word(futures[future], DONE, 1.0))
    return metrics


def _waiting(queue: Any) -> Iterator[Word]:
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


def _train(store: Store, piece: Piece) -> dict[str, Any]:
    if _worker.stopped:
        raise KeyboardInterrupt
    try:
        return store.trained(piece, _reporter(piece.key, _worker.queue.put))
    except EdgekinError as error:  # of a kind that survives the way to the parent
        raise EdgekinError(error.message, error.hint) from None
    except KeyboardInterrupt:
        _worker.stopped = True
        if os.getppid() != _worker.parent:
            os._exit(1)  # nobody is left to tell
        raise
