"""Train and score: from a configuration to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgekin.errors import ConfigError, MissingExtra
from edgekin.machine import describe, revision
from edgekin.models import PictureShape, build_model, can_learn, default_learn
from edgekin.models.reference import count
from edgekin.models.self_model import SelfModel
from edgekin.output import write_atomic, write_json
from edgekin.sim.dataset import Dataset, take
from edgekin.training.curves import curves_png
from edgekin.training.floors import floors, mean_image
from edgekin.training.loop import CHECKPOINT, Split, Trainer, threads_for
from edgekin.training.metrics import depth_mae_m, score
from edgekin.training.protocols import prepare
from edgekin.training.run import (
    CURVES,
    METRICS,
    WEIGHTS,
    Run,
    check_free,
    create_run,
    latest_unfinished,
    load_run,
)
from edgekin.training.settings import TrainConfig

SCHEMA = "edgekin.train/1"
#: The published score is the mean over the first hundred test images; the floors beside it are, too.
PUBLISHED_TEST = 100

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
    learn = config.learned
    if config.learn is None and can_learn(config.model):
        learn = default_learn(config.model, mean_image(split.train))
    model = build_model(config.model, config.size, PictureShape.of(spec), config.seed, spec, learn)
    name = config.default_name(spec.name, time.strftime("%Y%m%d-%H%M%S"))
    run = create_run(config, spec, split, model, name, force)
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
    shape = PictureShape(hyper["n_joints"], hyper["n_views"], hyper["height"], hyper["width"])
    model = build_model(hyper["name"], hyper["size"], shape, config.seed, run.robot, tuple(hyper.get("learn", ())))
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
    import torch

    torch.set_num_threads(threads_for(count(model.graph())[1]))
    trainer = Trainer(model, split, config, run.path)
    if (run.path / CHECKPOINT).is_file():
        trainer.resume()
    else:
        trainer.save()  # interrupted from here on, the run can be resumed
    progress = trainer.run(None if report is None else lambda _, share: report("training", share))
    if report is not None:
        report("scoring", 0.0)
    metrics = {**measure(model, split, config), "train_seconds": round(progress.elapsed_s, 3),
               "data_seconds": round(data_seconds, 3), "steps": progress.step, "device": trainer.device}
    write_atomic(run.path / WEIGHTS, model.to_bytes())
    title = f"{run.path.name}: {config.model} {config.size}, {metrics['protocol']}, {metrics['n_train']} samples"
    write_atomic(run.path / CURVES, curves_png(progress, metrics["floors"], title))
    write_json(run.path / METRICS, metrics)
    (run.path / CHECKPOINT).unlink(missing_ok=True)
    return TrainResult(run, metrics)


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
    found = score(model.probabilities(data.joint_pos), data.masks)
    if data.depth is not None and model.has_depth:
        found = replace(found, depth_mae_m=depth_mae_m(model.depth(data.joint_pos), data.depth))
    return found.to_json()
