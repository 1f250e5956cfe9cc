"""What an inspector of the C library looks for, and the settings that it was calibrated to. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import BundleError

Float = NDArray[np.float64]
SCHEMA = "edgekin.inspection/1"
AGAIN = "Calibrate it again: edgekin calibrate-detector"

#: In the order of EK_DEVIATION_* and EK_CLASS_* (the names of edgekin.robot.catalogue).
TURN, STRETCH, CAMERA_TURN, CAMERA_SHIFT = range(4)
CLASSES = ("", "body damage", "encoder fault", "camera moved", "occlusion/appearance", "sensor fault")
BODY, CAMERA = CLASSES.index("body damage"), CLASSES.index("camera moved")
#: Share of a large misfit that a lost link may leave, by whether the model knows what it uncovers.
UNKNOWN, KNOWN = 0.25, 0.1
LEVELS = 4  # of handicap: means over the last 1, 4, 16, 64 pictures
#: Arrays of the settings: as C has them, and the letters of their axes (InspectorConfig; 4 for LEVELS).
ARRAYS = {"own_axis": ("int32_t[]", "J"), "edge_px": ("double[]", "L"), "prior": ("double[]", "n"),
          "mean": ("double[]", "n"), "bias": ("double[]", "n"), "frame": ("double[]", "n"),
          "centroids": ("float[]", "RJ"), "misfit": ("float[]", "R"), "misfit_spread": ("float[]", "R"),
          "scale": ("float[]", "R"), "handicap": ("double[]", "4"), "tracking_rad": ("double[]", "J")}
DTYPE: dict[str, type[np.generic]] = {"int32_t[]": np.int32, "float[]": np.float32, "double[]": np.float64}
#: Those that lie in the struct itself.
WITHIN = ("handicap", "tracking_rad")
NUMBERS: dict[Any, type] = {"int": int, "float": float}


@dataclass(frozen=True)
class Deviation:
    """One number by which a body may differ from its model; see ek_deviation."""

    kind: int  # TURN, STRETCH, CAMERA_TURN or CAMERA_SHIFT
    of: int  # link or view
    axis: tuple[float, ...]  # (3) unit; in the link's or the camera's frame


@dataclass(frozen=True)
class Hypothesis:
    """Up to three deviations that are free together."""

    what: str  # bend, twist, short, camera-bump: kinds of edgekin.robot.catalogue
    part: str  # name of the link, or of the camera
    deviations: tuple[int, ...]
    kind: int  # BODY or CAMERA
    number: int  # hypotheses of the same number are no rivals


@dataclass(frozen=True)
class InspectorConfig:
    """The fields of `ek_inspector_config`, with n deviations, L links, J joints and R pose regions."""

    deviations: tuple[Deviation, ...]
    hypotheses: tuple[Hypothesis, ...]
    joints: tuple[str, ...]  # names
    links: tuple[str, ...]
    own_axis: NDArray[np.int32]  # (J,) the deviation about a joint's own axis, or -1
    edge_px: Float  # (L,)
    prior: Float  # (n,) rad or share
    mean: Float  # (n,)
    bias: Float  # (n,)
    frame: Float  # (n,)
    centroids: NDArray[np.float32]  # (R, J) rad
    misfit: NDArray[np.float32]  # (R,) pixels
    misfit_spread: NDArray[np.float32]  # (R,) pixels
    scale: NDArray[np.float32]  # (R,)
    handicap: Float  # (LEVELS,) nats
    tracking_rad: Float  # (J,)
    threshold: float  # nats
    unexplained_sum: float
    camera_hz: float
    noise_bias: float = 0.5
    noise_frame: float = 0.5
    floor: float = 0.1
    lag_prior: float = 6.0  # frames
    cell_rad: float = 0.15
    found: float = 2.0  # standard deviations of the misfit, as are explained and unexplained
    uncovered: float = UNKNOWN  # share of the misfit
    explained: float = 3.5
    unexplained: float = 5.0
    rival: float = 3.0  # nats
    patience_frames: int = 60
    stuck_rad: float = 0.035
    frozen_frames: int = 20
    stale_frames: int = 20
    frozen_rad: float = 0.15

    def __post_init__(self) -> None:
        """Refuse what would lead the C side astray.

        Raises:
            BundleError: arrays that contradict each other, a hypothesis or an axis of a wrong length.
        """
        counts = {"n": len(self.deviations), "L": len(self.links), "J": len(self.joints), "R": len(self.centroids),
                  "4": LEVELS}
        for name, (_, axes) in ARRAYS.items():
            shape, expected = getattr(self, name).shape, tuple(counts[axis] for axis in axes)
            if shape != expected:
                raise BundleError(f"the inspector's settings contradict each other: {name} {shape}, expected "
                                  f"{expected}", AGAIN)
        if counts["J"] > int(lib.EK_MAX_JOINTS) or any(len(d.axis) != 3 for d in self.deviations) \
                or not all(1 <= len(h.deviations) <= 3 for h in self.hypotheses):
            raise BundleError(f"the inspector's settings have more than {lib.EK_MAX_JOINTS} joints, an axis of other "
                              "than 3 numbers, or a hypothesis of other than 1 to 3 deviations", AGAIN)

    def to_json(self) -> dict[str, Any]:
        """Return the content of inspection.json, less its record of the calibration."""
        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return value.tolist()
            return [vars(v) for v in value] if isinstance(value, tuple) and hasattr(value[0], "kind") else value

        return {"schema": SCHEMA, **{f.name: plain(getattr(self, f.name)) for f in fields(self)}}

    def at(self, camera_hz: float) -> InspectorConfig:
        """Return the settings for a camera of another rate: what is counted in frames takes as long as before."""
        share = camera_hz / self.camera_hz
        return replace(self, camera_hz=camera_hz, lag_prior=self.lag_prior * share,
                       patience_frames=max(1, round(self.patience_frames * share)))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> InspectorConfig:
        """Read inspection.json.

        Raises:
            BundleError: a field is missing or malformed.
        """
        try:
            values = {f.name: content[f.name] for f in fields(cls)}
            values |= {name: np.asarray(values[name], DTYPE[of]) for name, (of, _) in ARRAYS.items()}
            values |= {f.name: NUMBERS[f.type](values[f.name]) for f in fields(cls) if f.type in NUMBERS}
            values["deviations"] = tuple(Deviation(int(d["kind"]), int(d["of"]), tuple(map(float, d["axis"])))
                                         for d in values["deviations"])
            values["hypotheses"] = tuple(Hypothesis(h["what"], h["part"], tuple(map(int, h["deviations"])),
                                                    int(h["kind"]), int(h["number"])) for h in values["hypotheses"])
            values |= {name: tuple(values[name]) for name in ("joints", "links")}
            return cls(**values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"the inspector's settings cannot be read: {type(error).__name__} {error}",
                              AGAIN) from error


def raw_config(c: InspectorConfig) -> tuple[Any, list[Any]]:
    """Return an ek_inspector_config and what keeps its arrays alive."""
    raw = ffi.new("ek_inspector_config *")
    raw.n_deviations, raw.n_hypotheses = len(c.deviations), len(c.hypotheses)
    raw.n_links, raw.n_joints, raw.n_regions = len(c.links), len(c.joints), len(c.centroids)
    held = [ffi.new("ek_deviation[]", [vars(d) for d in c.deviations]), ffi.new("ek_hypothesis[]", [
        {"n": len(h.deviations), "index": list(h.deviations), "kind": h.kind, "part": h.number} for h in c.hypotheses])]
    raw.deviations, raw.hypotheses = held
    for name, (of, _) in ARRAYS.items():
        values = np.ascontiguousarray(getattr(c, name), DTYPE[of])
        if name in WITHIN:
            getattr(raw, name)[0:len(values)] = values.tolist()
        else:
            held.append(ffi.from_buffer(of, values))
            setattr(raw, name, held[-1])
    for field in fields(c):
        if field.type in NUMBERS and field.name != "camera_hz":
            setattr(raw, field.name, getattr(c, field.name))
    return raw, held
