"""Train and score: from a configuration to a finished run folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError, MissingExtra
from edgekin.machine import describe, revision
from edgekin.models import PictureShape, build_model, can_learn, default_learn
from edgekin.models.reference import count
from edgekin.models.registry import LooksAbout
from edgekin.models.self_model import SelfModel, load_model, shape_of
from edgekin.output import write_atomic, write_json
from edgekin.robot import RobotSpec, robot_sha256
from edgekin.sim.about import pictures_about
from edgekin.sim.dataset import Dataset, take
from edgekin.training.curves import curves_png
from edgekin.training.floors import floors, mean_image
from edgekin.training.loop import CHECKPOINT, Split, Trainer, threads_for
from edgekin.training.metrics import depth_mae_m, score
from edgekin.training.protocols import prepare
from edgekin.training.run import (
    BODY_FOLDER,
    CURVES,
    METRICS,
    WEIGHTS,
    Run,
    check_free,
    create_run,
    latest_unfinished,
    load_run,
    read_json,
)
from edgekin.training.settings import BODY, TrainConfig
from edgekin.training.teacher import Poses, Teacher

SCHEMA = "edgekin.train/1"
#: The published score is the mean over the first hundred test images; the floors beside it are, too.
PUBLISHED_TEST = 100
#: A body model teaches where it beats the mean image by so much on so many of the frames that it was trained on.
KNOWN_DB, KNOWN_FRAMES = 2.0, 200

Report = Callable[[str, float], None]  # (stage, share done)


@dataclass(frozen=True)
class TrainResult:
    """A finished training."""

    run: Run
    metrics: dict[str, Any]  # schema edgekin.train/1


def train(config: TrainConfig, force: bool = False, report: Report | None = None) -> TrainResult:
    """Make the samples, train a model on them, score it and write the run.

    Args:
        config: validated.
        force: replace a run of the same name.
        report: called with (stage, share of the stage that is done).

    Raises:
        EdgekinError: any part of it cannot be done; nothing is left behind then but an interrupted, resumable run.
        KeyboardInterrupt: interrupted; the checkpoint was written once training had begun.
    """
    _need_torch()
    if config.name is not None:
        check_free(config.name, force)
    start = time.monotonic()
    spec, split = prepare(config, _samples_report(report))
    config = config.with_budget(len(spec.actuated))
    source, decoder = _body_source(config, spec), config.parts()[1]
    if config.teacher is not None and split.train.view is not None:
        raise ConfigError(f"a teacher draws what the robot's own camera sees, not the {len(split.train.cameras)} of "
                          f"{config.data}", "Leave the teacher out: --no-body-model")
    shape = replace(PictureShape.of(spec), n_camera=split.train.inputs.shape[1] - split.train.joint_pos.shape[1])
    model = build_model(config.model, config.size, shape, config.seed, spec, _learned(decoder, split))
    if config.chain_unknown:
        from edgekin.training.chain_search import check_searchable

        check_searchable(spec, split.train)
    name = config.default_name(spec.name, time.strftime("%Y%m%d-%H%M%S"))
    run = create_run(config, spec, split, model, name, force)
    if source is not None:
        (run.path / BODY_FOLDER).mkdir()
        for file in (WEIGHTS, CURVES, METRICS):
            shutil.copyfile(source / file, run.path / BODY_FOLDER / file)
    return _fit(run, model, split, config, report, data_seconds=time.monotonic() - start)


def resume(name: str | None, report: Report | None = None) -> TrainResult:
    """Go on with an interrupted training.

    Args:
        name: of the run; None for the one interrupted last.
        report: as for train.

    Raises:
        ConfigError: there is no such run, it is finished, or its checkpoint is damaged.
    """
    _need_torch()
    run = load_run(name if name is not None else latest_unfinished(), finished=False)
    if run.finished:
        raise ConfigError(f"run {run.path} is finished: there is nothing to resume", "Train another with --name")
    config = run.train_config
    hyper = run.config["model"]
    learn = tuple(hyper.get("learn", ()))
    model = build_model(hyper["name"], hyper["size"], shape_of(hyper), config.seed, run.robot, learn)
    return _fit(run, model, Split(run.train, run.test), config, report, data_seconds=0.0)


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("torch", "train") from error


def _samples_report(report: Report | None) -> Callable[[str, int, int], None] | None:
    return None if report is None else lambda stage, done, total: report(stage, done / max(total, 1))


def _fit(run: Run, model: SelfModel, split: Split, config: TrainConfig, report: Report | None,
         data_seconds: float) -> TrainResult:
    """Train the body model that teaches, where one is asked for, then the run's own model."""
    body, decoder = config.parts()
    if body is not None and not (run.path / BODY_FOLDER / METRICS).is_file():
        _fit_body(run, split, body, report)
    more: dict[str, Any] = {"data_seconds": round(data_seconds, 3)}
    teacher = None
    if config.teacher is not None:
        teacher, more["body"] = _teacher(run, split, config.seed)
    more |= _look_about(run, model, split, decoder)
    return TrainResult(run, _fit_model(run.path, model, split, decoder, report, more, teacher))


def _fit_body(run: Run, split: Split, config: TrainConfig, report: Report | None) -> None:
    folder = run.path / BODY_FOLDER
    folder.mkdir(exist_ok=True)
    model = build_model(config.model, config.size, PictureShape.of(run.robot), config.seed, run.robot,
                        _learned(config, split))
    _fit_model(folder, model, split, config, report, _look_about(run, model, split, config))


def _look_about(run: Run, model: SelfModel, split: Split, config: TrainConfig) -> dict[str, Any]:
    """Give a model that learns from them as many pictures by cameras about the robot's own as it has frames.

    Protocols are what they say, other data have no such pictures, and where a camera or a background is learned, or
    joints are looked for, nobody knows what stands where.
    """
    if not isinstance(model.module, LooksAbout) or config.protocol or config.data or set(model.learn) - {"chain"} \
            or config.chain_unknown:
        return {}
    model.module.look_about(pictures_about(run.robot, len(split.train), config.seed))
    return {"n_about": len(split.train)}


def _teacher(run: Run, split: Split, seed: int) -> tuple[Teacher | None, dict[str, Any]]:
    """Return the run's body model as a teacher with its metrics; None where it does not even know the frames."""
    metrics = read_json(run.path / BODY_FOLDER / METRICS)
    model = load_model(run.path / BODY_FOLDER / WEIGHTS, run.robot)
    known = score_model(model, take(split.train, slice(0, KNOWN_FRAMES)))["psnr_db"]
    floor = metrics["floors"]["mean_image"]["psnr_db"]
    metrics["teaches"] = known > floor + KNOWN_DB
    poses = Poses.of(split.train, run.robot.limits)
    return Teacher(model, poses, seed, "depth_mae_m" in metrics) if metrics["teaches"] else None, metrics


def _body_source(config: TrainConfig, spec: RobotSpec) -> Path | None:
    """Return the folder of the body model that another run is to teach with; None where no run is named.

    Raises:
        ConfigError: there is no such run, it has no body model, or it is of another robot.
    """
    if config.teacher is None or config.teacher == BODY:
        return None
    other = load_run(config.teacher)
    if other.body_model is None:
        raise ConfigError(f"run {other.path} has no body model, so it cannot teach", "Name a run of k3dgs or of a pair")
    if robot_sha256(other.robot) != robot_sha256(spec):
        raise ConfigError(f"run {other.path} is of another robot or camera than {spec.name}, so it cannot teach",
                          "Name a run of the same robot and protocol")
    return other.path / BODY_FOLDER if (other.path / BODY_FOLDER / WEIGHTS).is_file() else other.path


def _learned(config: TrainConfig, split: Split) -> tuple[str, ...]:
    """What a model learns besides: what is asked for, else what the pictures ask for."""
    if config.learn is None and can_learn(config.model):
        return default_learn(config.model, mean_image(split.train))
    return config.learned


def _fit_model(folder: Path, model: SelfModel, split: Split, config: TrainConfig, report: Report | None,
               more: dict[str, Any], teacher: Teacher | None = None) -> dict[str, Any]:
    """Train one model in its folder, going on from a checkpoint there; write what it is and how good."""
    import torch

    torch.set_num_threads(threads_for(count(model.graph())[1]))
    if config.chain_unknown and not (folder / CHECKPOINT).is_file():
        from edgekin.training.chain_search import find_chain

        find_chain(model, split.train, config.seed, lambda share: report("chain", share) if report else None)
    trainer = Trainer(model, split, config, folder, teacher)
    if (folder / CHECKPOINT).is_file():
        trainer.resume()
    else:
        trainer.save()  # interrupted from here on, the run can be resumed
    stage = "body model" if folder.name == BODY_FOLDER else "training"
    progress = trainer.run(None if report is None else lambda _, share: report(stage, share))
    if report is not None:
        report("scoring", 0.0)
    metrics = {**measure(model, split, config), "train_seconds": round(progress.elapsed_s, 3),
               "steps": progress.step, "device": trainer.device, **more}
    write_atomic(folder / WEIGHTS, model.to_bytes())
    title = f"{folder.name}: {config.model} {config.size}, {metrics['protocol']}, {metrics['n_train']} samples"
    write_atomic(folder / CURVES, curves_png(progress, metrics["floors"], title))
    write_json(folder / METRICS, metrics)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return metrics


def measure(model: SelfModel, split: Split, config: TrainConfig) -> dict[str, Any]:
    """Return the metrics of a trained model, schema edgekin.train/1, without the training's own figures."""
    _, macs = count(model.graph())
    protocol = split.train.meta.get("protocol")
    scored = take(split.test, slice(0, PUBLISHED_TEST)) if protocol == "published" else split.test
    metrics: dict[str, Any] = {
        "schema": SCHEMA, "revision": revision(), "seed": config.seed, "model": model.name, "size": model.size,
        "parameters": model.parameters, "macs": macs, "train_seconds": 0.0,
        "protocol": protocol, "n_train": len(split.train), "n_test": len(scored),
        **_beside_floors(model, split, scored),
        "robot": split.train.meta.get("robot"), "joints": split.train.meta.get("joints"),
        "convention": split.train.meta.get("convention"), "machine": describe()}
    if scored is not split.test:
        metrics["whole_test"] = {"n_test": len(split.test), **_beside_floors(model, split, split.test)}
    return metrics


def _beside_floors(model: SelfModel, split: Split, test: Dataset) -> dict[str, Any]:
    found = floors(split.train, test)
    return {**score_model(model, test), "floors": {name: floor.to_json() for name, floor in found.items()}}


def score_model(model: SelfModel, data: Dataset) -> dict[str, float]:
    """Return psnr_db and iou of a model on a dataset, and depth_mae_m where both have depth."""
    found = score(model.probabilities(data.inputs), data.masks)
    if data.depth is not None and model.has_depth:
        found = replace(found, depth_mae_m=depth_mae_m(model.depth(data.inputs), data.depth))
    return found.to_json()
