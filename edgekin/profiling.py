"""A bundle's time per layer on a pinned CPU: what `edgekin profile` runs and reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekin import machine
from edgekin.bundle import KNOWN_ANSWERS, load_bundle, read_known_answers
from edgekin.errors import ConfigError
from edgekin.machine import AUTO_CPU
from edgekin.runtime.profile import TICKS, Profile, profile_engine

SCHEMA = "edgekin.profile/1"
#: Of the known answers: time depends on the pose only through the scoring, and little.
POSES = 4


@dataclass(frozen=True)
class BundleProfile:
    """The profile of one bundle."""

    path: Path
    cpu: int | None  # None: not pinned
    profile: Profile

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.profile/1`; the poses are the bundle's known answers, so there is no seed."""
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": None, "bundle": str(self.path),
                "cpu": self.cpu, **self.profile.to_json(), "machine": machine.describe()}


@contextmanager
def pinned(cpu: int) -> Iterator[int | None]:
    """Pin the process to a CPU for the length of a block.

    Args:
        cpu: its number; -1: do not; AUTO_CPU: the last one that may be used.

    Raises:
        ConfigError: the process may not use that CPU.
    """
    before = os.sched_getaffinity(0)
    chosen = max(before) if cpu == AUTO_CPU else cpu
    if chosen == -1:
        yield None
        return
    if chosen not in before:
        raise ConfigError(f"--cpu is {cpu}, this process may use {', '.join(map(str, sorted(before)))}",
                          "Choose one of those, or -1")
    os.sched_setaffinity(0, {chosen})
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)


def profile_bundle(path: Path, isa: str = "auto", ticks: int = TICKS, cpu: int = AUTO_CPU) -> BundleProfile:
    """Profile a bundle on the poses of its known answers, each scored against its own prediction.

    Args:
        path: the bundle.
        isa: auto, or an instruction set.
        ticks: frames at each pose.
        cpu: as for `pinned`.

    Raises:
        BundleError, RuntimeFault: the bundle cannot be used, or not with this instruction set.
        ConfigError: the CPU cannot be used.
    """
    bundle = load_bundle(path)
    with bundle.open_engine(isa) as engine, pinned(cpu) as used:
        poses = read_known_answers(bundle.read(KNOWN_ANSWERS), f"{path}/{KNOWN_ANSWERS}")["joint_pos"][:POSES]
        packed = np.packbits(engine.predict(poses) > 0.0, axis=-1)
        return BundleProfile(path, used, profile_engine(engine, poses, packed, ticks))
