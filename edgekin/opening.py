"""What a bundle is run by, judged by and inspected by: bench, watch, evaluate and verify open it here."""

from __future__ import annotations

from edgekin.bundle import INSPECTION, Bundle
from edgekin.errors import BundleError
from edgekin.plans.api import MODULES
from edgekin.plans.engine import open_plan_engine
from edgekin.runtime.cuda import CudaOptions
from edgekin.runtime.detector import DetectorConfig
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import InspectorConfig


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
