"""The run folder: everything that compile, evaluate and a resumed training need, written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.machine import revision
from edgekin.models.self_model import SelfModel, load_model
from edgekin.output import read_object, write_json
from edgekin.robot import RobotSpec, load_robot, robot_sha256, save_robot
from edgekin.robot.views import camera_code
from edgekin.sim.dataset import Dataset, load_dataset, save_dataset
from edgekin.training.loop import CHECKPOINT, Split
from edgekin.training.settings import BODY_MODEL, TrainConfig, runs_folder

if TYPE_CHECKING:
    from torch import nn

RUN, METRICS, WEIGHTS, CURVES = "run.json", "metrics.json", "model.safetensors", "curves.png"
TRAIN, TEST = "train.npz", "test.npz"
#: The folder, inside a run, of the body model that its decoder was distilled from: the same files, but for the samples.
BODY_FOLDER = "body"
SCHEMA = "edgekin.run/1"


@dataclass(frozen=True)
class Run:
    """A training on disk; what is large is read on first use."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)  # run.json

    @cached_property
    def robot(self) -> RobotSpec:
        """The robot as trained."""
        return load_robot(str(self.path / "robot.yaml"))

    @cached_property
    def train(self) -> Dataset:
        """The training split."""
        return load_dataset(self.path / TRAIN)

    @cached_property
    def test(self) -> Dataset:
        """The test split."""
        return load_dataset(self.path / TEST)

    @cached_property
    def self_model(self) -> SelfModel:
        """The trained model with its hyper-parameters."""
        return load_model(self.path / WEIGHTS, self.robot)

    @cached_property
    def body_model(self) -> SelfModel | None:
        """The body model: the run's own, or the one that its decoder was distilled from; None where there is none."""
        if self.config.get("model", {}).get("name") == BODY_MODEL:
            return self.self_model
        path = self.path / BODY_FOLDER / WEIGHTS
        return load_model(path, self.robot) if path.is_file() else None

    @property
    def n_about(self) -> int:
        """Pictures by cameras about the robot's own that the body model learned from; 0 where there is none."""
        folder = self.path if self.body_model is self.self_model else self.path / BODY_FOLDER
        return int(read_json(folder / METRICS).get("n_about", 0)) if (folder / METRICS).is_file() else 0

    def model(self) -> nn.Module:
        """The trained torch module, in evaluation mode: (B, J) float32 rad -> logits (B, V, H, W)."""
        return self.self_model.module

    def own_inputs(self, joint_pos: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the model takes at (N, J) rad before the robot's own camera, which it is compiled for."""
        if not self.self_model.shape.n_camera:
            return joint_pos
        code = camera_code(self.robot.cameras[0])
        return np.concatenate([joint_pos, np.broadcast_to(code, (len(joint_pos), len(code)))], axis=1)

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json, schema edgekin.train/1."""
        return read_json(self.path / METRICS)

    @property
    def finished(self) -> bool:
        """Whether the training ran to its end."""
        return (self.path / METRICS).is_file() and (self.path / WEIGHTS).is_file()

    @property
    def train_config(self) -> TrainConfig:
        """The resolved configuration."""
        from edgekin.config import from_mapping

        return from_mapping(TrainConfig, self.config.get("config", {}), str(self.path / RUN))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of a run's folder; raises ConfigError where it is missing or damaged."""
    return read_object(path, "Run: edgekin train")


def create_run(config: TrainConfig, spec: RobotSpec, split: Split, model: SelfModel, name: str,
               force: bool = False) -> Run:
    """Make the folder of a run with everything but the training.

    Args:
        config: validated.
        spec: the robot as trained.
        split: training and test samples.
        model: untrained; its hyper-parameters are written down.
        name: the folder's name under the runs' root.
        force: replace a run of that name.

    Raises:
        ConfigError: the name is taken, or the place cannot be written to.
    """
    root = runs_folder()
    folder = check_free(name, force)
    content = {"schema": SCHEMA, "revision": revision(), "seed": config.seed, "config": asdict(config),
               "robot": {"name": spec.name, "path": spec.path, "sha256": robot_sha256(spec)},
               "model": model.hyper, "protocol": split.train.meta.get("protocol"),
               "n_train": len(split.train), "n_test": len(split.test)}
    try:
        root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}."))
    except OSError as error:
        raise ConfigError(f"cannot write into {root}: {error.strerror}", "Set EDGEKIN_RUNS to a folder you may write") \
            from error
    try:
        partial.chmod(0o755)
        save_robot(spec, partial)
        save_dataset(split.train, partial / TRAIN)
        save_dataset(split.test, partial / TEST)
        write_json(partial / RUN, content)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Run(folder, content)


def check_free(name: str, force: bool) -> Path:
    """Return the folder for a new run; raises ConfigError where the name is taken and may not be replaced."""
    folder = runs_folder() / name
    if not folder.exists():
        return folder
    unfinished = (folder / RUN).is_file() and not (folder / METRICS).is_file()
    if not force:
        more = f", or finish it with edgekin train --name {name} --resume" if unfinished else ""
        raise ConfigError(f"run {folder} exists already{' (unfinished)' if unfinished else ''}",
                          f"Choose another --name, or replace it with --force{more}")
    if not (folder / RUN).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is no run of edgekin, so --force does not replace it", "Choose another --name")
    return folder


def latest_run() -> Path:
    """Return the run whose metrics.json was written last; raises ConfigError where there is none."""
    return _latest((METRICS,), "no finished run", "Run: edgekin train")


def latest_unfinished() -> Path:
    """Return the interrupted run whose checkpoint was written last; raises ConfigError where there is none."""
    return _latest((CHECKPOINT, f"{BODY_FOLDER}/{CHECKPOINT}"), "no interrupted run to resume",
                   "Start one with: edgekin train")


def _latest(files: tuple[str, ...], what: str, hint: str) -> Path:
    root = runs_folder()
    found = [(path.stat().st_mtime_ns, root / path.relative_to(root).parts[0])
             for file in files for path in root.glob(f"*/{file}")]
    whole = [entry for entry in found if not entry[1].name.startswith(".")]
    if not whole:
        raise ConfigError(f"{what} under {root}/", hint)
    return max(whole)[1]


def load_run(path: str | Path, finished: bool = True) -> Run:
    """Open a run by its folder or its name.

    Args:
        path: the folder, or a name under the runs' root.
        finished: refuse a run whose training has not ended.

    Raises:
        ConfigError: no such run, of another schema, damaged or unfinished.
    """
    folder = Path(path)
    if not (folder / RUN).is_file() and (runs_folder() / folder / RUN).is_file():
        folder = runs_folder() / folder
    if not (folder / RUN).is_file():
        raise ConfigError(f"{path} is no run: {folder / RUN} does not exist", "Run: edgekin train")
    content = read_json(folder / RUN)
    if content.get("schema") != SCHEMA:
        raise ConfigError(f"run {folder} is of schema {content.get('schema')!r}, expected {SCHEMA!r}",
                          "Run: edgekin train")
    run = Run(folder, content)
    if finished and not run.finished:
        raise ConfigError(f"run {folder} is unfinished",
                          f"Finish it with: edgekin train --name {folder.name} --resume")
    return run
