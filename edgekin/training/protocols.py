"""Where the training and test samples come from: a protocol (docs/formats.md, provenance in the metadata) or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekin.errors import ConfigError, DataError
from edgekin.models import may_have_depth, needs_depth
from edgekin.robot import RobotSpec, load_robot, published_options
from edgekin.sim.dataset import Dataset, check_fits, load_dataset, split_blocks, split_chronological, take
from edgekin.sim.views import split_cameras
from edgekin.training.loop import Split
from edgekin.training.settings import FEW_JOINTS, HELD_OUT_CAMERAS, VIEW_CAMERAS, TrainConfig

#: Training samples of protocols uniform and lorenz where --samples says nothing; uniform's tests have another seed.
PROTOCOL_SAMPLES = 1600
#: Training samples where no protocol is named: rendering is cheap, and more poses are what a decoder lacks most.
PLAIN_SAMPLES = 8000
#: The same beyond FEW_JOINTS joints: kuka_iiwa with 8,000 poses still scores 1.6 dB better on them than on others.
MANY_JOINTS_SAMPLES = 24000
#: The test split of a seed must not be the training split of the next.
TEST_SEED_OFFSET = 1_000_003
#: Training samples of protocol views: two more numbers decide about a picture.
VIEWS_SAMPLES = 16000
PUBLISHED_TRAIN, PUBLISHED_SAMPLES = 1600, 2000
#: Samples between a training and a test block of a trajectory, which neither holds.
GAP = 20
BLOCKS = 5
TEST_SHARE = 0.2

Report = Callable[[str, int, int], None]  # (what, done, total)


def prepare(config: TrainConfig, report: Report | None = None) -> tuple[RobotSpec, Split]:
    """Load the robot and make or read its samples.

    Args:
        config: validated.
        report: called with (stage, samples done, samples in all).

    Returns:
        The robot as it is trained, and the split; the metadata of each part says where it comes from.

    Raises:
        RobotError, ConfigError: the robot cannot be used.
        DataError: the samples cannot be made, read or split.
    """
    if config.depth and not may_have_depth(config.model):
        raise ConfigError(f"model {config.model} predicts silhouettes, not depth", "Use --model resneurokin-d")
    spec = load_robot(config.robot, published_options() if config.protocol == "published" else None)
    if config.protocol == "views":
        spec = replace(spec, cameras=spec.cameras[:1])
        split = _views(config, spec)
    elif config.data is not None:
        split = _from_file(config, spec)
    elif config.protocol == "published":
        split = _published(config, spec, report)
    elif config.protocol == "lorenz":
        split = _lorenz(config, spec, report)
    else:
        split = _uniform(config, spec)
    name = config.protocol or ("data" if config.data else "uniform")
    return spec, Split(_labelled(split.train, name, "train"), _labelled(split.test, name, "test"))


def wants_depth(config: TrainConfig) -> bool:
    """Tell whether the samples of a training have depth."""
    return config.depth or needs_depth(config.model)


def _labelled(data: Dataset, protocol: str, part: str) -> Dataset:
    return replace(data, meta={**data.meta, "protocol": protocol, "split": part, "samples": len(data)})


def _uniform(config: TrainConfig, spec: RobotSpec) -> Split:
    from edgekin.sim.collect import uniform_dataset

    plain = PLAIN_SAMPLES if len(spec.actuated) <= FEW_JOINTS else MANY_JOINTS_SAMPLES
    n = config.samples or (PROTOCOL_SAMPLES if config.protocol else plain)
    depth = wants_depth(config)
    return Split(uniform_dataset(spec, n, config.seed, depth),
                 uniform_dataset(spec, config.test_samples, config.seed + TEST_SEED_OFFSET, depth))


def _views(config: TrainConfig, spec: RobotSpec) -> Split:
    """Sobol poses, each seen by one of many cameras; the test samples by cameras that stand between those."""
    from edgekin.robot.views import cameras_around
    from edgekin.sim.collect import views_dataset

    if wants_depth(config):
        raise ConfigError("protocol views has silhouettes alone, no depth", "Use protocol uniform")
    known = config.cameras or VIEW_CAMERAS
    few = len(spec.actuated) <= FEW_JOINTS
    train, test = (cameras_around(spec, n, config.arc_deg, first)
                   for n, first in ((known, 0), (HELD_OUT_CAMERAS, known)))
    n = config.samples or (VIEWS_SAMPLES if few else MANY_JOINTS_SAMPLES)
    return Split(views_dataset(spec, train, n, config.seed),
                 views_dataset(spec, test, config.test_samples, config.seed + TEST_SEED_OFFSET))


def _lorenz(config: TrainConfig, spec: RobotSpec, report: Report | None) -> Split:
    """Measured angles along a trajectory; test blocks are cut out of it with a gap on either side."""
    from edgekin.sim.collect import CollectOptions, collect

    n = config.samples or PROTOCOL_SAMPLES
    whole = int((n + 2 * GAP * BLOCKS) / (1.0 - TEST_SHARE)) + 1
    data = collect(CollectOptions(spec, samples=whole, excitation="lorenz", seed=config.seed,
                                  depth=wants_depth(config)),
                   progress=_progress(report, "collecting"))
    train, test = split_blocks(data, TEST_SHARE, BLOCKS, GAP)
    return Split(take(train, slice(0, n)), test)


def _published(config: TrainConfig, spec: RobotSpec, report: Report | None) -> Split:
    from edgekin.sim.published import published_dataset

    data = published_dataset(config.robot, samples=PUBLISHED_SAMPLES, progress=_progress(report, "collecting"),
                             depth=wants_depth(config))
    train, test = split_chronological(data, PUBLISHED_TRAIN)
    return Split(train if config.samples is None else take(train, slice(0, config.samples)), test)


def _progress(report: Report | None, stage: str) -> Callable[[int, int], None] | None:
    return None if report is None else lambda done, total: report(stage, done, total)


def _from_file(config: TrainConfig, spec: RobotSpec) -> Split:
    assert config.data is not None
    data = load_dataset(Path(config.data))
    check_fits(data, spec, config.data)
    if wants_depth(config) and data.depth is None:
        raise DataError(f"dataset {config.data} has no depth, which {config.model} learns from" if not config.depth
                        else f"dataset {config.data} has no depth to score",
                        "Collect it with edgekin collect --depth")
    if config.cameras is not None and len(data.cameras) < config.cameras:
        raise DataError(f"dataset {config.data} has the pictures of {max(1, len(data.cameras))} camera(s), "
                        f"{config.cameras} are needed", f"Collect it with edgekin collect --cameras {config.cameras}")
    if data.view is not None:
        if len(data.cameras) < 2:
            raise DataError(f"dataset {config.data} has the pictures of 1 camera, of which none can be held out",
                            "Collect it with edgekin collect --cameras 2 or more")
        train, test = (take(data, rows) for rows in split_cameras(data, TEST_SHARE))
    elif data.meta.get("excitation") == "sobol":
        n_train = int(len(data) * (1.0 - TEST_SHARE))
        train, test = split_chronological(data, n_train)
    else:
        train, test = split_blocks(data, TEST_SHARE, BLOCKS, GAP)
    return Split(train if config.samples is None else take(train, slice(0, config.samples)), test)
