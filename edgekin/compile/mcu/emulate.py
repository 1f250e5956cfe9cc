"""Runs an image on its emulated board: what it answers, and how many instructions that took."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.build import address, command, require
from edgekin.compile.mcu.cores import Core
from edgekin.compile.mcu.sources import kernel
from edgekin.errors import RuntimeFault

#: Far beyond what a thousand frames take.
TIMEOUT_S = 300
#: Calls of ek_mark for a frame: before, between and behind predict and score.
MARKS = 3


@dataclass(frozen=True)
class Subject:
    """What bench.c has of a subject."""

    joints: int
    logits: int  # bytes
    mask: int  # bytes; 0: it is not scored
    score: int = 0  # bytes


@dataclass(frozen=True)
class Answers:
    """What a subject answered."""

    logits: NDArray[np.int8]  # (poses, logits)
    scores: NDArray[np.uint8]  # (poses, score)
    predict: NDArray[np.int64]  # (poses,) instructions
    score: NDArray[np.int64]


@dataclass(frozen=True)
class Emulation:
    """What a run gave."""

    answers: list[Answers]
    stack_bytes: int
    exact: bool  # counted by the plugin; else by a timer, in steps of tick_ns


def plugin(folder: Path) -> Path | None:
    """Build the plugin that counts instructions; None where there is no compiler for this machine."""
    (folder / "count_plugin.c").write_text(kernel("board/count_plugin.c"))
    try:
        command(["cc", "-O2", "-shared", "-fPIC", "count_plugin.c", "-o", "libcount.so"], folder)
    except (OSError, RuntimeFault):
        return None
    return folder / "libcount.so"


def inputs(joints: Sequence[NDArray[np.int32]], masks: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return in.bin: for every subject its joints (N, J) and masks (N, bytes)."""
    parts = [np.int32(len(joints[0])).tobytes()]
    for q, mask in zip(joints, masks, strict=True):
        for pose, packed in zip(q, mask.reshape(len(q), -1), strict=True):
            parts += [pose.astype("<i4").tobytes(), packed.tobytes()]
    return b"".join(parts)


def run(core: Core, image: Path, subjects: Sequence[Subject], poses: int, count: Path | None) -> Emulation:
    """Run bench.c on the emulated board; in.bin lies beside the image.

    Args:
        core: whose board.
        image: of build.
        subjects: in their order.
        poses: of each.
        count: the plugin; None: the timer counts.

    Raises:
        ConfigError: no emulator.
        RuntimeFault: the emulator or the program fails.
    """
    raw, said = _emulated(core, image, count)
    return parsed(raw, subjects, poses, said if count is not None else None, core.tick_ns)


def marks(core: Core, image: Path, count: Path) -> tuple[list[int], bytes]:
    """Return how many instructions had been executed at every ek_mark, and out.bin."""
    raw, said = _emulated(core, image, count)
    return [int(n) for n in re.findall(r"^mark (\d+)$", said, re.MULTILINE)], raw


def _emulated(core: Core, image: Path, count: Path | None) -> tuple[bytes, str]:
    require(core.emulator)
    counted = (["-plugin", f"{count},mark={address(core, image, 'ek_mark'):#x}"] if count is not None
               else ["-icount", "shift=0,align=off,sleep=off"])
    bios = ["-bios", "none"] if core.machine == "virt" else []
    args = [core.emulator, "-M", core.machine, *bios, "-nographic", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", *counted, "-kernel", str(image)]
    return execute(args, image.parent, core.name)


def run_host(image: Path, subjects: Sequence[Subject], poses: int) -> Emulation:
    """Run bench.c on this machine, which counts nothing."""
    raw, _ = execute([str(image)], image.parent, "host")
    return parsed(raw, subjects, poses, None, 0.0)


def execute(args: Sequence[str], folder: Path, name: str) -> tuple[bytes, str]:
    """Run a program that writes out.bin; return that and what it says."""
    out = folder / "out.bin"
    out.unlink(missing_ok=True)
    try:
        done = subprocess.run(args, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeFault(f"the program for {name} did not end within {TIMEOUT_S} s") from error
    if done.returncode or not out.exists():
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise RuntimeFault(f"the program for {name} ended with status {done.returncode}: {said}")
    return out.read_bytes(), done.stderr


def parsed(raw: bytes, subjects: Sequence[Subject], poses: int, said: str | None, tick_ns: float) -> Emulation:
    """Cut out.bin up; instructions are those of the plugin's lines, or of the ticks where it said nothing."""
    frames = sum(poses * (s.logits + s.score + 4 * MARKS) for s in subjects)
    if len(raw) != frames + 4:
        raise RuntimeFault(f"the program wrote {len(raw)} bytes, expected {frames + 4}")
    marks = None
    if said is not None:
        marks = np.array(re.findall(r"^mark (\d+)$", said, re.MULTILINE), dtype=np.int64).reshape(-1, poses, MARKS)
    answers, at = [], 0
    for number, s in enumerate(subjects):
        size = s.logits + s.score + 4 * MARKS
        block = np.frombuffer(raw, np.uint8, poses * size, at).reshape(poses, size)
        at += poses * size
        ticks = np.ascontiguousarray(block[:, -4 * MARKS :]).view("<u4").astype(np.int64)
        counts = marks[number] if marks is not None else np.rint(ticks * tick_ns).astype(np.int64)
        predict, score = np.diff(counts, axis=1).T
        answers.append(Answers(np.ascontiguousarray(block[:, : s.logits]).view(np.int8),
                               block[:, s.logits : s.logits + s.score], predict, score))
    return Emulation(answers, int(np.frombuffer(raw[-4:], "<u4")[0]), marks is not None)
