"""What a model really takes: built for its core, run on the emulated board, every output held against the reference."""

from __future__ import annotations

from dataclasses import dataclass

from edgekin.compile.mcu import build
from edgekin.compile.mcu.bench import emulated
from edgekin.compile.mcu.cores import core_of
from edgekin.compile.mcu.model import open_model
from edgekin.compile.mcu.reference import to_units
from edgekin.errors import ConfigError
from edgekin.evolution.problem import Costs
from edgekin.sim.dataset import Dataset, take

#: Poses run: the slowest counts.
POSES = 8


@dataclass(frozen=True)
class Measured:
    """On the emulated board."""

    costs: Costs
    mismatches: int  # outputs that are not the reference's


def missing(core: str) -> str:
    """Return what keeps a core from being emulated here, in one line; empty where nothing does."""
    found = core_of(core)
    try:
        build.require(found.compiler, found.emulator)
    except ConfigError as error:
        return str(error)
    return ""


def measured(weights: bytes, core: str, frames: Dataset, poses: int = POSES) -> Measured:
    """Build and run a weight file.

    Args:
        weights: of a decoder in int8, or of a body model.
        core: for which.
        frames: the first are shown.
        poses: how many of them.

    Raises:
        ConfigError: a tool is missing.
        RuntimeFault: compiler or emulator fail.
    """
    seen = take(frames, slice(0, poses))
    ran = emulated(open_model(weights), core_of(core), to_units(seen.joint_pos), seen.packed)
    ticks = ran.answers.predict + ran.answers.score
    return Measured(Costs(ran.sizes.flash_bytes, ran.sizes.ram_bytes, int(ticks.max())), ran.mismatches)
