"""What `edgekin train` can be told, as one frozen dataclass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from edgekin.errors import ConfigError
from edgekin.ranges import check_ranges

PROTOCOLS = ("uniform", "lorenz", "published", "views")
DEVICES = ("auto", "cpu", "cuda")
#: Seconds of training where nothing else is asked: `edgekin train` then ends within 4 minutes on 2 busy cores.
DEFAULT_BUDGET_S = 150.0
#: The same for more than FEW_JOINTS joints, whose pictures take longer to learn.
LONG_BUDGET_S = 300.0
FEW_JOINTS = 5
#: The same for ffksm, which marches a thousand rays where others draw a picture.
FIELD_BUDGET_S = 1200.0
#: The same for a body model and the decoder that is distilled from it; the body model's part of it.
PAIR_BUDGET_S, LONG_PAIR_BUDGET_S = 780.0, 840.0
BODY_SHARE, BODY_BUDGET_S = 0.12, 120.0
#: Steps of a body model where the decoder's are fixed and not fewer.
BODY_STEPS = 8000
#: `teacher` for a body model that is trained first, on the same samples.
BODY = "body"
BODY_MODEL = "k3dgs"
#: Of `learn`: the chain, from nothing but its joints' order, kinds and limits; see chain_search.
UNKNOWN_CHAIN = "unknown-chain"
#: The models that can be distilled.
STUDENTS = ("neurokin", "resneurokin-d")
#: Samples a step: where nothing else is asked; where a teacher draws as many as are wanted, and a step of many costs
#: less than that of few. Doubling them is worth as much as doubling the steps.
BATCH, DISTILLED_BATCH = 16, {"neurokin": 64, "resneurokin-d": 32}
#: Share of a batch that a teacher draws; the rest are frames, in which it cannot be wrong.
FRESH_SHARE = 0.875
#: Steps of a compact size on protocol published, where a fit that goes on too long loses on poses beyond the trained
#: ones. Chosen on the end of the training trajectory, not on the test split: benchmarks/published_steps.py.
PUBLISHED_STEPS = 4000
#: Protocol views: cameras of the training samples, and cameras beside them that only the test samples are seen by.
VIEW_CAMERAS, HELD_OUT_CAMERAS = 16, 8
MAX_SAMPLES = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class TrainConfig:
    """The resolved configuration of a training; every field is a key of --config YAML."""

    robot: str = "arm4"  # name, URDF or RobotSpec YAML
    model: str = "neurokin"  # a key of edgekin.models.MODELS
    size: str = "m"  # one of the model's sizes
    learn: str | None = None  # k3dgs: what besides, as "camera,chain" or UNKNOWN_CHAIN; None: what the pictures ask for
    teacher: str | None = None  # body: a body model trained first draws poses to learn from; or a run with one
    protocol: str | None = None  # uniform | lorenz | published; None: uniform with as many samples as the joints need
    data: str | None = None  # a dataset instead of a protocol: its last block is the test split
    cameras: int | None = None  # protocol views: how many see the training samples; None: VIEW_CAMERAS
    arc_deg: float = 80.0  # protocol views: of the arc that the cameras stand on
    samples: int | None = None  # training samples; None: the protocol's
    test_samples: int = 1000  # test samples of protocol uniform and lorenz
    budget_s: float | None = None  # seconds of training; None: see with_budget
    steps: int | None = None  # optimiser steps instead of a time budget: repeatable to the bit on one machine
    seed: int = 0  # of data, weights and order
    depth: bool = False  # depth pictures for a model that can predict depth without learning it
    depth_weight: float = 1.0  # factor of what errors of depth cost, where depth is learned; 0: it is not
    batch: int | None = None  # samples a step; None: see batch_size
    learning_rate: float = 1e-2  # peak of Adam's
    angle_noise_rad: float = 0.0  # standard deviation of what is added to the joint angles, anew in every step
    device: str = "auto"  # auto | cpu | cuda
    name: str | None = None  # of the run; None: robot, protocol and time

    def validated(self) -> TrainConfig:
        """Return itself.

        Raises:
            ConfigError: a value that cannot be used.
        """
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise ConfigError(f"protocol is {self.protocol!r}", f"Use one of: {', '.join(PROTOCOLS)}")
        if self.data is not None and self.protocol is not None:
            raise ConfigError(f"both data {self.data} and protocol {self.protocol} are given", "Give one of them")
        if self.teacher is not None and self.model not in STUDENTS:
            raise ConfigError(f"model {self.model} cannot be distilled from teacher {self.teacher!r}",
                              f"Leave the teacher out, or use --model {' or '.join(STUDENTS)}")
        if self.teacher is not None and self.protocol == "views":
            raise ConfigError("a teacher draws what the robot's own camera sees, not protocol views",
                              "Leave the teacher out: --no-body-model")
        if self.teacher is not None and self.batch_size < 2:
            raise ConfigError("batch is 1, expected 2 or more with a teacher", "Raise the batch")
        if self.cameras is not None and self.protocol != "views" and self.data is None:
            raise ConfigError(f"protocol {self.protocol or 'uniform'} has the robot's own cameras, not {self.cameras} "
                              "others", "Use --protocol views")
        if self.device not in DEVICES:
            raise ConfigError(f"device is {self.device!r}", f"Use one of: {', '.join(DEVICES)}")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ConfigError(f"run name {self.name!r} cannot be a folder's name", "Use letters, digits, _ - and .")
        if self.steps is not None and self.budget_s is not None:
            raise ConfigError(f"both {self.steps} steps and a budget of {self.budget_s:g} s are given",
                              "Give one of them")
        check_ranges((
                ("samples", self.samples, 2, MAX_SAMPLES), ("test_samples", self.test_samples, 1, MAX_SAMPLES),
                ("budget_s", self.budget_s, 0.1, 1e6), ("steps", self.steps, 1, 10**9),
                ("cameras", self.cameras, 2, 1000), ("arc_deg", self.arc_deg, 1.0, 360.0),
                ("seed", self.seed, 0, 2**31 - 1),
                ("batch", self.batch, 1, 4096), ("learning_rate", self.learning_rate, 1e-8, 1.0),
                ("depth_weight", self.depth_weight, 0.0, 1000.0), ("angle_noise_rad", self.angle_noise_rad, 0.0, 1.0)))
        return self

    def with_budget(self, n_joints: int) -> TrainConfig:
        """Return itself, with the default budget for so many joints where neither budget nor steps is given."""
        if self.steps is not None or self.budget_s is not None:
            return self
        few = n_joints <= FEW_JOINTS
        if self.teacher is not None:
            return replace(self, budget_s=PAIR_BUDGET_S if few else LONG_PAIR_BUDGET_S)
        if self.model == "neurokin" and self.protocol == "published" and self.size != "published":
            return replace(self, steps=PUBLISHED_STEPS)
        if self.model == "ffksm":
            return replace(self, budget_s=FIELD_BUDGET_S)
        return replace(self, budget_s=DEFAULT_BUDGET_S if few else LONG_BUDGET_S)

    def parts(self) -> tuple[TrainConfig | None, TrainConfig]:
        """Return what a body model is trained with before the decoder, None where none is, and the decoder's part."""
        if self.teacher != BODY:
            return None, self
        plain = TrainConfig()
        body = replace(self, model=BODY_MODEL, size=plain.size, teacher=None, batch=plain.batch,
                       learning_rate=plain.learning_rate)
        if self.budget_s is None:
            return replace(body, steps=min(self.steps or BODY_STEPS, BODY_STEPS)), replace(self, learn=None)
        first = min(BODY_SHARE * self.budget_s, BODY_BUDGET_S)
        return replace(body, budget_s=first), replace(self, budget_s=self.budget_s - first, learn=None)

    @property
    def batch_size(self) -> int:
        """`batch`, or what suits the model."""
        if self.batch is not None:
            return self.batch
        distilled = self.teacher is not None and self.size != "published"
        return DISTILLED_BATCH.get(self.model, BATCH) if distilled else BATCH

    @property
    def learned(self) -> tuple[str, ...]:
        """`learn` as names of what a model learns; empty where there are none."""
        return tuple(sorted({"chain" if name == UNKNOWN_CHAIN else name for name in self._learn}))

    @property
    def chain_unknown(self) -> bool:
        """Whether the chain is searched for before it is learned."""
        return UNKNOWN_CHAIN in self._learn

    @property
    def _learn(self) -> set[str]:
        return {name.strip() for name in (self.learn or "").split(",") if name.strip()}

    def default_name(self, robot: str, stamp: str) -> str:
        """Return the run's name: the one asked for, or robot, protocol and time."""
        if self.name is not None:
            return self.name
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", robot).strip("-") or "robot"
        kind = self.size if self.model == "neurokin" else f"{self.model}-{self.size}"
        return f"{plain}-{kind}-{stamp}"


def fresh_of(batch: int) -> int:
    """Return how many samples of a batch a teacher draws: at least one is, and at least one is a frame."""
    return max(1, min(batch - 1, round(FRESH_SHARE * batch)))


_RUNS: ContextVar[Path | None] = ContextVar("runs", default=None)


def runs_folder() -> Path:
    """Return the folder of the runs: that of `runs_under`, else $EDGEKIN_RUNS or ./runs."""
    import os

    return _RUNS.get() or Path(os.environ.get("EDGEKIN_RUNS") or "runs")


@contextmanager
def runs_under(folder: Path) -> Iterator[None]:
    """Keep the runs of a block in a folder of their own."""
    before = _RUNS.set(folder)
    try:
        yield
    finally:
        _RUNS.reset(before)
