"""What a model really takes: built for its core, run on the emulated board, every output held against the reference."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekin.compile.mcu import build, emulate
from edgekin.compile.mcu.cores import core_of
from edgekin.compile.mcu.decoder import SOURCE
from edgekin.compile.mcu.model import open_model
from edgekin.compile.mcu.reference import to_units
from edgekin.compile.mcu.subjects import of_model
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
    board, model, seen = core_of(core), open_model(weights), take(frames, slice(0, poses))
    units, exported = to_units(seen.joint_pos), model.export(board)
    text, subjects = of_model(exported)
    with tempfile.TemporaryDirectory(prefix="edgekin-prune-") as name:
        folder = Path(name)
        build.write(folder, exported.files | {"subjects.c": text})
        (folder / "in.bin").write_bytes(emulate.inputs([units], [seen.packed]))
        sizes = build.sizes(board, build.build(board, folder, [SOURCE], "app.c", "app.elf"))
        image = build.build(board, folder, [SOURCE, "subjects.c"], "bench.c", "bench.elf")
        answers = emulate.run(board, image, subjects, len(units), emulate.plugin(folder)).answers[0]
    expected = model.predict(units)
    wrong = int((answers.logits.reshape(expected.shape) != expected).sum())
    ticks = answers.predict + answers.score
    return Measured(Costs(sizes.flash_bytes, sizes.ram_bytes, int(ticks.max())), wrong)
