"""Evaluations on an executor: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from edgekin.errors import ConfigError, MissingExtra, RuntimeFault

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Times that a pool whose process died is made anew.
RENEWALS = 3
CONNECT_S = 10
PR_SET_PDEATHSIG = 1  # prctl(2)


class Pool:
    """Maps functions over items, in order.

    Args:
        jobs: processes; 1: this one.
        scheduler: of a Dask cluster, tcp://host:port; empty: processes.

    Raises:
        MissingExtra: Dask is not installed.
        ConfigError: the scheduler does not answer.
    """

    def __init__(self, jobs: int = 1, scheduler: str = "") -> None:
        self.jobs, self.scheduler = jobs, scheduler
        self._client: Any = _client(scheduler) if scheduler else None
        self._executor: Executor | None = self._open()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._client is not None:
            self._client.close()
        elif self._executor is not None:
            if kind is not None:
                for process in multiprocessing.active_children():
                    process.terminate()
            self._executor.shutdown(wait=kind is None, cancel_futures=True)

    def _open(self) -> Executor | None:
        if self._client is not None:
            executor: Executor = self._client.get_executor(retries=RENEWALS)
            return executor
        if self.jobs <= 1:
            return None
        return ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), _begin)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item],
            done: Callable[[int], None] = lambda n: None) -> list[Result]:
        """Return the results in the order of the items; work is done again where a process died.

        Args:
            work: a pure function that can be pickled.
            items: what it is called with.
            done: told how many are.

        Raises:
            RuntimeFault: processes die again and again.
        """
        results: dict[int, Result] = {}
        for _ in range(RENEWALS + 1):
            left = [i for i in range(len(items)) if i not in results]
            try:
                if self._executor is None:
                    for i in left:
                        results[i] = work(items[i])
                        done(len(results))
                else:
                    futures: dict[int, Future[Result]] = {i: self._executor.submit(work, items[i]) for i in left}
                    for i, future in futures.items():
                        results[i] = future.result()
                        done(len(results))
                return [results[i] for i in range(len(items))]
            except BrokenExecutor:
                self._executor = self._open()
        raise RuntimeFault(f"processes of evaluations died {RENEWALS + 1} times", "Use fewer: --jobs 1")


def _client(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtra("distributed", "cluster") from error
    try:
        return Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {scheduler}",
                          "Start one with: dask scheduler; its address is in its output") from error


def _begin() -> None:
    """Prepare a process: one thread, no end by Ctrl-C, an end with its parent."""
    os.environ["OMP_NUM_THREADS"] = "1"
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
