"""What a bundle is run by, judged by and inspected by: bench, watch, evaluate and verify open it here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.bundle import INSPECTION, Bundle
from edgekin.errors import BundleError, ConfigError
from edgekin.output import read_object
from edgekin.plans.api import MODULES
from edgekin.plans.engine import open_plan_engine
from edgekin.runtime.changed import WORST, ChangedBody
from edgekin.runtime.cuda import CudaOptions
from edgekin.runtime.detector import DetectorConfig
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import Float, InspectorConfig

#: A file beside a bundle that says how its body has changed; edgekin adapt writes it.
ADAPTATION, ADAPTATION_SCHEMA = ".adaptation.json", "edgekin.adaptation/1"
#: Periods of the camera without a fresh picture that make the last one stale.
STALE_PERIODS = 3
NEVER = 1e300  # a sum that no CUSUM reaches


def open_bundle(bundle: Bundle, engine: str = "auto", isa: str = "auto", options: CudaOptions | None = None) -> Engine:
    """Open an engine of a bundle and make it give its known answers.

    Args:
        bundle: a loaded bundle.
        engine: native, cuda, or auto: what the bundle was compiled for.
        isa: of the native engine.
        options: of a GPU.

    Raises:
        BundleError, ConfigError, RuntimeFault: it cannot be run by that engine, or not here.
    """
    if engine == "auto" and bundle.target in MODULES:
        return open_plan_engine(bundle, options)
    if engine == "cuda" or (engine == "auto" and bundle.target == "cuda"):
        return bundle.open_cuda(options)
    return bundle.open_engine(isa)


def detector_config(bundle: Bundle) -> DetectorConfig:
    """Return the settings of a bundle's detector; raises BundleError where it has none, or they cannot be read."""
    if not bundle.detector:
        raise BundleError(f"bundle {bundle.path} has no detector, which judges what the loop sees",
                          f"Compile its run again: edgekin compile RUN --target {bundle.target} --force")
    return DetectorConfig.from_json(bundle.detector)


def loop_detector(bundle: Bundle, camera_hz: float, inspected: bool) -> DetectorConfig:
    """Return the settings of a bundle's detector in a loop: silence for three periods is stale, however long they are.

    Args:
        bundle: that has a detector.
        camera_hz: fresh pictures a second.
        inspected: an inspector sees them, too: the CUSUM of the residual then raises no alarm.

    Raises:
        BundleError: as `detector_config`.
    """
    config = replace(detector_config(bundle), stale_ns=int(STALE_PERIODS * 1e9 / camera_hz))
    return replace(config, h=NEVER) if inspected else config


def open_body(bundle: Bundle, isa: str = "auto") -> Engine:
    """Open the engine of a bundle's body model, its own or the one beside its decoder, which an inspector looks with.

    Args:
        bundle: a loaded bundle.
        isa: of the native engine.

    Raises:
        BundleError: it has no body model, or one that does not give its known answers.
        RuntimeFault: the engine refuses the weights or the instruction set.
    """
    return bundle.open_body(isa)


def inspector_config(bundle: Bundle) -> InspectorConfig:
    """Return the settings of a bundle's inspector; raises BundleError where it has none, or they cannot be read."""
    if not bundle.inspection:
        raise BundleError(f"bundle {bundle.path} has no {INSPECTION}: its inspector was never calibrated",
                          f"Run: edgekin calibrate-detector {bundle.path}")
    return InspectorConfig.from_json(bundle.inspection)


@contextmanager
def open_inspector(bundle: Bundle, isa: str, camera_hz: float, adapted: bool = False) -> Iterator[Inspector]:
    """Open a bundle's inspector with a body model of its own.

    Args:
        bundle: whose inspector was calibrated.
        isa: of the native engine.
        camera_hz: fresh pictures a second that it will see.
        adapted: begin with the body that edgekin adapt left beside the bundle.

    Raises:
        BundleError, ConfigError: it has none, or there is no adaptation of it.
    """
    config = inspector_config(bundle).at(camera_hz)
    with open_body(bundle, isa) as body, Inspector(body, config) as inspector:
        if adapted:
            inspector.accept(adapted_body(bundle, config))
        yield inspector


def adaptation_path(bundle: Bundle) -> Path:
    """Return where a bundle's adaptation lies: beside it, so that the bundle stays as it was compiled."""
    folder = bundle.path.resolve()
    return folder.with_name(folder.name + ADAPTATION)


def body_sha256(bundle: Bundle) -> str:
    """Return the hash of the weights of a bundle's body model; raises BundleError where it has none."""
    entry = bundle.manifest.get("body")
    name = entry.get("file") if isinstance(entry, dict) else None
    if name not in bundle.manifest["files"]:
        raise BundleError(f"bundle {bundle.path} has no body model",
                          "Train without --model and --no-body-model, and compile again")
    return str(bundle.manifest["files"][name]["sha256"])


def adapted_body(bundle: Bundle, config: InspectorConfig, path: Path | None = None) -> ChangedBody:
    """Return what a bundle's adaptation holds.

    Args:
        bundle: whose body model it is of.
        config: of its inspector.
        path: None: beside the bundle.

    Raises:
        ConfigError: there is none, it is damaged, or it is of another body model.
    """
    path, remedy = path or adaptation_path(bundle), f"Run: edgekin adapt {bundle.path}"
    content = read_object(path, remedy)
    if content.get("schema") != ADAPTATION_SCHEMA or content.get("body_sha256") != body_sha256(bundle):
        raise ConfigError(f"{path} is no adaptation of the body model of bundle {bundle.path}", remedy)
    lost = content.get("lost")
    if lost is not None and lost not in config.links[1:]:
        raise ConfigError(f"{path} says that {lost!r} is lost, which is no link of the robot", remedy)
    worse = content.get("worse", 1.0)
    if not isinstance(worse, float) or not 1 <= worse <= WORST:
        raise ConfigError(f"{path} says that a misfit is {worse!r} times as high, expected 1 to {WORST:g}", remedy)
    return ChangedBody(
        _numbers(content, "sizes", len(config.deviations), f"{path} holds no sizes of", "deviations", remedy),
        _numbers(content, "offsets_rad", len(config.joints), f"{path} holds no offsets of", "encoders", remedy),
        worse, config.links.index(lost) if lost is not None else 0)


def _numbers(content: dict[str, Any], key: str, n: int, lacks: str, what: str, remedy: str) -> Float:
    try:
        values = np.array(content[key], np.float64)
    except (KeyError, TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ConfigError(f"{lacks} {n} {what}", remedy)
    return values
