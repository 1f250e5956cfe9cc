"""What a compilation gave, and whether INT8 was worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekin.compile.body import BodyPart
from edgekin.compile.parity import Parity
from edgekin.compile.product import PlanPart, Product
from edgekin.compile.timing import SLOWER, Latency
from edgekin.machine import describe
from edgekin.quantization.profile import Calibration


@dataclass(frozen=True)
class CompileResult:
    """What was published, and what FP32 would have given."""

    bundle: Path
    target: str
    asked: str  # precision asked for
    precision: str  # precision published
    weight_bytes: int
    weight_bytes_fp32: int
    parity: Parity
    parity_fp32: Parity
    body: BodyPart | None  # the body model beside the decoder
    latency: dict[str, Latency]  # precision -> time of one frame here
    calibration: Calibration | None
    note: str  # why this precision was published; empty where it was asked for and nothing else was tried
    revision: str
    seed: int
    rival: tuple[Product, Parity] | None = None  # what INT8 was held against, where it is not FP32
    plan: PlanPart | None = None  # of the product
    chosen: str = ""  # why this target; empty where it was asked for
    detector: Mapping[str, Any] | None = None  # `calibration` of detector.json, where the bundle has one

    def to_json(self) -> dict[str, Any]:
        """Return the content of `--json`, schema edgekin.compile/1."""
        return {
            "schema": "edgekin.compile/1", "revision": self.revision, "seed": self.seed,
            "bundle": str(self.bundle), "target": self.target, "precision": self.precision,
            "bytes": self.weight_bytes, "bytes_fp32": self.weight_bytes_fp32, "parity": self.parity.core(),
            "psnr_db": self.parity.psnr_db, "asked": self.asked, "note": self.note,
            "fp32": {"bytes": self.weight_bytes_fp32, "psnr_db": self.parity_fp32.psnr_db,
                     "parity": self.parity_fp32.core()},
            "body": self.body.manifest() if self.body is not None else None,
            "frame_us": {name: asdict(latency) for name, latency in self.latency.items()},
            "calibration_method": self.calibration.method if self.calibration else None,
            "detector": dict(self.detector) if self.detector is not None else None,
            "machine": describe(),
        } | self._planned()

    def _planned(self) -> dict[str, Any]:
        """What only targets that build plans have."""
        if self.plan is None:
            return {"chosen": self.chosen} if self.chosen else {}
        rival = {"rival": {"precision": self.rival[0].precision, "bytes": self.rival[0].weight_bytes,
                           "psnr_db": self.rival[1].psnr_db, "parity": self.rival[1].core()}} if self.rival else {}
        return {"chosen": self.chosen, "plan": dict(self.plan.sidecar)} | rival


def against(int8: tuple[Product, Parity], rival: tuple[Product, Parity],
            latency: dict[str, Latency]) -> tuple[bool, str]:
    """Say whether INT8 is kept against what it competes with, and why; both hold the gate.

    Args:
        int8: the product, and how far it is from the FP32 torch model.
        rival: the same of FP16 or FP32.
        latency: precision -> time of one frame here; empty where one of them does not run on this machine.
    """
    name = rival[0].precision.upper()
    if not latency:
        return True, (f"INT8 is kept for its size, {int8[0].weight_bytes:,} bytes against {name}'s "
                      f"{rival[0].weight_bytes:,}: no GPU is here to time them on")
    ours, its = latency["int8"].p50_us, latency[rival[0].precision].p50_us
    if ours > SLOWER * its:
        return False, (f"INT8 is slower than {name} on this machine ({ours:.0f} us a frame against {its:.0f}): "
                       f"the {name} bundle was written; --force-int8 writes INT8 all the same")
    if int8[0].plan is None:
        return True, ""
    return True, (f"INT8 is kept: {ours:.0f} us a frame against {name}'s {its:.0f}, "
                  f"{int8[1].psnr_loss_db:.3f} dB lost against {rival[1].psnr_loss_db:.3f}")
