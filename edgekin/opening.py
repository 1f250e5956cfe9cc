"""What a bundle is run by and judged by: bench, watch and evaluate open it here."""

from __future__ import annotations

from edgekin.bundle import Bundle
from edgekin.errors import BundleError
from edgekin.plans.api import MODULES
from edgekin.plans.engine import open_plan_engine
from edgekin.runtime.cuda import CudaOptions
from edgekin.runtime.detector import DetectorConfig
from edgekin.runtime.engine import Engine


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
