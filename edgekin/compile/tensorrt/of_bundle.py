"""The plan of a bundle, built of its ONNX on the machine where it is to run.

It needs neither the run nor torch: the bundle travels, plans do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.bundle import KNOWN_ANSWERS, ONNX, STRONG, Bundle, load_bundle, read_known_answers
from edgekin.compile.publish import write_cache
from edgekin.compile.tensorrt import device
from edgekin.compile.tensorrt.maker import Flavours, Made, PlanMaker, PlanOptions, plan_maker
from edgekin.compile.tensorrt.plan import Plan
from edgekin.errors import BundleError, GateMissed
from edgekin.machine import describe, revision
from edgekin.plans import cache_folder

#: Targets whose bundles carry ONNX made for plans.
SOURCES = ("onnx", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class BundlePlan:
    """A plan that was built of a bundle."""

    path: Path
    plan: Plan
    checked: str  # what it was held against

    def to_json(self) -> dict[str, Any]:
        """Return the content of `--json`, schema edgekin.plan-build/1."""
        return {"schema": "edgekin.plan-build/1", "revision": revision(), "seed": None, "path": str(self.path),
                "checked": self.checked, "plan": self.plan.sidecar(self.path.name), "machine": describe()}


def build_for_bundle(folder: Path, target: str, options: PlanOptions, force: bool) -> BundlePlan:
    """Build a bundle's plan for this machine into the folder beside it.

    Args:
        folder: a bundle of target onnx, tensorrt or tensorrt-rtx.
        target: tensorrt or tensorrt-rtx.
        options: what to build.
        force: replace a plan that is there.

    Raises:
        BundleError: no such bundle, or a plan is there already.
        ConfigError, RuntimeFault: no plan can be built here.
        GateMissed: the plan does not give the bundle's known answers; nothing was written.
    """
    bundle = load_bundle(folder)
    if bundle.target not in SOURCES:
        raise BundleError(f"bundle {folder} is for target {bundle.target}, which no plan can be built of",
                          f"Compile its run: edgekin compile RUN --target {target}")
    maker = plan_maker(target, options)
    path = cache_folder(bundle.path.resolve()) / f"{bundle.precision}-{maker.place.stem}.plan"
    if path.exists() and not force:
        raise BundleError(f"{path} exists already; nothing was overwritten", "Add --force to build it anew")
    weak = bundle.read(ONNX)
    strong = bundle.read(STRONG) if STRONG in bundle.manifest["files"] else weak
    made = maker.make(Flavours(weak, strong), bundle.precision)
    checked = _check(maker, made, bundle)
    write_cache(path.parent, made.plan.files(path.stem))
    return BundlePlan(path, made.plan, checked)


def _check(maker: PlanMaker, made: Made, bundle: Bundle) -> str:
    """Hold a plan against the bundle's known answers, which ONNX Runtime gave; say what was done."""
    if not maker.runs_here:
        return "nothing: no GPU that it is for is here"
    answers = read_known_answers(bundle.read(KNOWN_ANSWERS), f"{bundle.path}/{KNOWN_ANSWERS}")
    logits = device.predict(maker.api, made.plan.content, answers["joint_pos"])
    error, allowed = float(np.abs(logits - answers["logits"]).max()), float(answers["tolerance"])
    if not error <= allowed:
        raise GateMissed(f"the plan is off by {error:.3g} from what ONNX Runtime gave for the bundle's known answers, "
                         f"allowed {allowed:.3g}; nothing was written", "Report this with the GPU's name")
    return f"{len(logits)} known answers of ONNX Runtime: off by {error:.3g}, allowed {allowed:.3g}"
