"""Options that several commands share, said once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Join options into one decorator, which shows them in this order."""
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


def result_options(schema: str) -> Callable[[Command], Command]:
    """Join --force and --json, for a command whose one output is that file; given as `force` and `json_path`."""
    return _all(
        click.option("--force", is_flag=True, help="Replace an existing JSON."),
        click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
                     help=f"Write the result (schema {schema})."))


#: Where the native engine runs: `isa` and `cpu`.
cpu_options = _all(
    click.option("--isa", type=click.Choice(["auto", "scalar", "avx2", "avx512", "neon"]), default="auto",
                 show_default=True, help="Instruction set of the native engine."),
    click.option("--cpu", type=int, default=-2, help="Pin to this CPU; -1: do not.  [default: the last CPU]"))

_GPU = _all(
    click.option("--io", type=click.Choice(["mapped", "copy", "managed"]), default="mapped", show_default=True,
                 help="On a GPU: it reads and writes pinned memory, copies around its work, or managed memory."),
    click.option("--sync", "wait", type=click.Choice(["spin", "block"]), default="spin", show_default=True,
                 help="On a GPU: poll for the result, or sleep until it is there."))


def _gpu_options(command: Command) -> Command:
    """How a GPU is used, given as `cuda`, a CudaOptions."""

    @functools.wraps(command)
    def with_cuda(*args: Any, io: str, wait: str, **options: Any) -> Any:
        from edgekin.runtime.cuda import CudaOptions

        return command(*args, cuda=CudaOptions(io=io, wait=wait), **options)

    return _GPU(with_cuda)


#: The real-time loop: `fifo_priority`, `isa`, `cpu`, `engine` and `cuda`.
loop_options = _all(
    click.option("--fifo", "fifo_priority", type=int, default=40, show_default=True,
                 help="SCHED_FIFO priority; 0: leave the policy."),
    cpu_options,
    click.option("--engine", type=click.Choice(["auto", "native", "cuda"]), default="auto", show_default=True,
                 help="native: this processor; cuda: our kernels on an NVIDIA GPU; auto: what the bundle was compiled "
                      "for, a TensorRT plan included."),
    _gpu_options)
