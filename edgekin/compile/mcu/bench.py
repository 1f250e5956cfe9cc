"""edgekin bench --target mcu: a bundle's model on an emulated board, every output bit held against numpy's."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import WEIGHTS, Bundle
from edgekin.compile.mcu import build, emulate
from edgekin.compile.mcu.cores import Core, core_of
from edgekin.compile.mcu.decoder import SOURCE
from edgekin.compile.mcu.model import Model, open_model
from edgekin.compile.mcu.reference import to_units
from edgekin.compile.mcu.subjects import of_model
from edgekin.errors import BundleError, ConfigError
from edgekin.machine import revision
from edgekin.quantization.calibrate import sigmoid
from edgekin.sim.collect import uniform_dataset
from edgekin.training.metrics import iou, psnr_db

#: Loops that a clock is estimated for.
RATES_HZ = (100, 1000)
#: Cycles an instruction, assumed for that estimate: above 1 because loads wait for the flash.
CYCLES = 1.5


@dataclass(frozen=True)
class McuResult:
    """What the emulated board did with a bundle's model."""

    bundle: str
    core: Core
    poses: int
    instructions: int  # of a tick: predict and score, the slowest pose
    predict: int  # of the same pose
    score: int
    exact: bool  # instructions are exact; else to the steps of a timer
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    mismatches: int
    outputs_checked: int  # bytes of logits and numbers of scores
    psnr_db: float
    iou: float
    seed: int

    def clock_hz(self, rate_hz: float) -> float:
        """The clock that holds a loop, estimated at CYCLES an instruction."""
        return self.instructions * CYCLES * rate_hz

    def to_json(self) -> dict[str, Any]:
        """Return the content of `--json`, schema edgekin.mcu/1."""
        return {
            "schema": "edgekin.mcu/1", "revision": revision(), "seed": self.seed, "bundle": self.bundle,
            "core": self.core.name, "machine": self.core.machine, "compiler": build.version(self.core),
            "flags": [*build.FLAGS, *self.core.flags], "poses": self.poses, "instructions": self.instructions,
            "instructions_predict": self.predict, "instructions_score": self.score, "instructions_exact": self.exact,
            "flash_bytes": self.flash_bytes, "ram_bytes": self.ram_bytes, "stack_bytes": self.stack_bytes,
            "mismatches": self.mismatches, "outputs_checked": self.outputs_checked, "psnr_db": self.psnr_db,
            "iou": self.iou,
            "clock_estimate": {"cycles_per_instruction": CYCLES,
                               "mhz": {f"{rate}_hz": self.clock_hz(rate) / 1e6 for rate in RATES_HZ}},
        }


@dataclass(frozen=True)
class McuOptions:
    """What to run where.

    Args:
        core: a name of edgekin.compile.mcu.cores.
        poses: random ones within the robot's limits.
        seed: of the poses.
    """

    core: str
    poses: int = 64
    seed: int = 0

    def validated(self) -> McuOptions:
        """Return the options themselves; raises ConfigError where they cannot be used, or a tool is missing."""
        core = core_of(self.core)
        if not 1 <= self.poses <= 4096:
            raise ConfigError(f"--poses is {self.poses}, expected 1 to 4096")
        build.require(core.compiler, core.emulator)
        return self


def bench_mcu(bundle: Bundle, options: McuOptions) -> McuResult:
    """Build, run and check a bundle's model on an emulated board.

    Args:
        bundle: of target mcu or native, in int8.
        options: see McuOptions.

    Raises:
        BundleError: it has no weights in int8.
        ConfigError: an unknown core, a missing tool, or a model that the kernels do not take.
        RuntimeFault: compiler or emulator fail.
    """
    options.validated()
    if WEIGHTS not in bundle.manifest["files"] or bundle.precision != "int8":
        raise BundleError(f"bundle {bundle.path} is {bundle.target} {bundle.precision}, which no microcontroller takes",
                          "Run: edgekin compile --int8 --target mcu")
    core, model = core_of(options.core), open_model(bundle.read(WEIGHTS))
    seen = uniform_dataset(bundle.robot, options.poses, options.seed)
    units, packed = to_units(seen.joint_pos), seen.packed
    ran = emulated(model, core, units, packed)
    answers = ran.answers
    tick = answers.predict + answers.score
    worst = int(tick.argmax())
    probability = sigmoid(model.logits(ran.predicted))
    return McuResult(
        str(bundle.path), core, options.poses, int(tick[worst]), int(answers.predict[worst]), int(answers.score[worst]),
        ran.exact, ran.sizes.flash_bytes, ran.sizes.ram_bytes, ran.stack_bytes, ran.mismatches,
        ran.predicted.size + 5 * len(units), float(psnr_db(probability, seen.masks).mean()),
        float(iou(probability, seen.masks).mean()), options.seed)


def scores(raw: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return (N, 5) numbers of (N, 32) bytes of edgekin_score_t."""
    sums, counts = np.ascontiguousarray(raw[:, :16]).view("<u8"), np.ascontiguousarray(raw[:, 16:28]).view("<u4")
    return np.concatenate([sums, counts.astype(np.uint64)], axis=1)


@dataclass(frozen=True)
class Emulated:
    """What an emulated board made of a model, beside what the reference in numpy does."""

    answers: emulate.Answers
    predicted: NDArray[np.int8]  # (N, V, H, W) the reference's integer logits
    mismatches: int  # bytes of logits and numbers of scores that are not the reference's
    sizes: build.Sizes
    stack_bytes: int
    exact: bool  # instructions are


def emulated(model: Model, core: Core, units: NDArray[np.int32], packed: NDArray[np.uint8]) -> Emulated:
    """Export, build and run a model on its core's emulated board.

    Args:
        model: of a weight file.
        core: for which.
        units: (N, J) joint angles in 2^-28 of a turn.
        packed: (N, V, H, ceil(W / 8)) masks that are scored.

    Raises:
        ConfigError: the kernels do not take the model, or a tool is missing.
        RuntimeFault: compiler or emulator fail.
    """
    exported = model.export(core)
    text, subjects = of_model(exported)
    with tempfile.TemporaryDirectory(prefix="edgekin-mcu-") as name:
        folder = Path(name)
        build.write(folder, exported.files | {"subjects.c": text})
        (folder / "in.bin").write_bytes(emulate.inputs([units], [packed]))
        sizes = build.sizes(core, build.build(core, folder, [SOURCE], "app.c", "app.elf"))
        image = build.build(core, folder, [SOURCE, "subjects.c"], "bench.c", "bench.elf")
        ran = emulate.run(core, image, subjects, len(units), emulate.plugin(folder))
    answers, predicted = ran.answers[0], model.predict(units)
    wrong = int((answers.logits.reshape(predicted.shape) != predicted).sum())
    wrong += int((scores(answers.scores) != model.score(units, packed)).sum())
    return Emulated(answers, predicted, wrong, sizes, ran.stack_bytes, ran.exact)
