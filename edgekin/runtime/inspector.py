"""The inspector of the C library: which deviations of the body it looks for, and what it finds. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import BundleError, RuntimeFault
from edgekin.runtime.engine import Engine
from edgekin.runtime.status import check, status_name

Float = NDArray[np.float64]
SCHEMA = "edgekin.inspection/1"
AGAIN = "Calibrate it again: edgekin calibrate-detector"

#: In the order of EK_DEVIATION_*, EK_CLASS_* (the names of edgekin.robot.catalogue) and EK_SIGN_*.
TURN, STRETCH, CAMERA_TURN, CAMERA_SHIFT = range(4)
CLASSES = ("", "body damage", "encoder fault", "camera moved", "occlusion/appearance", "sensor fault")
SIGNS = ("deviation", "lost", "unexplained", "lag", "frozen", "stale", "offset", "stuck")
BODY, CAMERA = CLASSES.index("body damage"), CLASSES.index("camera moved")
#: Cosine between a turn's axis and the link's direction from which it is a twist.
TWIST = 0.9
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
    found: float = 1.0  # standard deviations of the misfit, as are the next two
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


@dataclass(frozen=True)
class Named:
    """How a body deviates, in the words of edgekin.robot.catalogue."""

    what: str  # bend, twist, short, lost, camera-bump; lag, unexplained, frozen, stale, offset, stuck; "": not known
    part: str  # link, joint or camera; "" where there is none
    rival: str  # the part of the best other hypothesis
    undecided: bool  # part does not lead rival by enough
    evidence: float  # nats of the leading hypothesis
    size: float  # deg, percent (short) or frames (lag)
    spread: float  # its standard deviation
    unit: str
    sizes: tuple[float, ...]  # of the leading hypothesis' deviations, rad or share

    @property
    def interval(self) -> tuple[float, float]:
        """95% of size."""
        return self.size - 1.96 * self.spread, self.size + 1.96 * self.spread

    def __str__(self) -> str:
        if not self.what:
            return "nothing"
        size = f" {self.size:.1f} +- {1.96 * self.spread:.1f} {self.unit}" if self.unit else ""
        doubt = f", or of {self.rival}" if self.undecided and self.rival and self.rival != self.part else ""
        return f"{self.what}{' of ' if self.part else ''}{self.part}{size}{doubt}"


@dataclass(frozen=True)
class Finding:
    """What an inspector holds to be true after a picture; the alarm is latched, what is named goes on improving."""

    alarm: str  # one of CLASSES; "" while there is none
    sign: str  # of SIGNS: what the alarm was raised for
    alarm_frame: int  # 1 for the first picture
    frames: int
    named: Named
    misfit_z: float
    offset_rad: tuple[float, ...]  # (J,) measured - commanded
    drift_rad: tuple[float, ...]  # (J,) of encoders, as pictures of many poses have it
    drift_spread_rad: tuple[float, ...]  # (J,) standard deviation


def named_of(config: InspectorConfig, raw: Any, part: int, offset_rad: Sequence[float] = ()) -> Named:
    """Return what an ek_finding or an ek_verdict (cffi structs) says, in words.

    Args:
        config: of the inspector.
        raw: the struct.
        part: link of the sign lost, joint of offset and stuck; -1: none.
        offset_rad: (J,) measured - commanded, where known.
    """
    sign = SIGNS[raw.sign] if raw.alarm else ""
    if sign in ("unexplained", "frozen", "stale"):
        return Named(sign, "", "", False, raw.evidence, 0.0, 0.0, "", ())
    if sign == "lost":
        return Named(sign, config.links[part], "", False, raw.evidence, 0.0, 0.0, "", ())
    if sign in ("offset", "stuck"):
        # The limit is six standard deviations of the mean, or more.
        size, spread = (float(np.degrees(offset_rad[part])), float(np.degrees(config.tracking_rad[part])) / 6) \
            if offset_rad else (0.0, 0.0)
        return Named(sign, config.joints[part], "", False, raw.evidence, size, spread, "deg" if offset_rad else "", ())
    if not 0 <= raw.hypothesis < len(config.hypotheses):
        lag = raw.hypothesis == len(config.hypotheses)
        return Named("lag" if lag else "", "", "", False, raw.evidence, raw.size[0], raw.spread[0],
                     "frames" if lag else "", ())
    return _deviation(config, raw, config.hypotheses[raw.hypothesis])


def _deviation(config: InspectorConfig, raw: Any, about: Hypothesis) -> Named:
    count = len(about.deviations)
    sizes, spreads = np.array(list(raw.size[0:count])), np.array(list(raw.spread[0:count]))
    rival = config.hypotheses[raw.rival].part if 0 <= raw.rival < len(config.hypotheses) else ""
    doubt = (rival, bool(raw.undecided), raw.evidence)
    if about.what == "short":
        return Named(about.what, about.part, *doubt, -100 * float(sizes[0]), 100 * float(spreads[0]), "%",
                     tuple(sizes.tolist()))
    length = float(np.linalg.norm(sizes))
    along = sizes / length if length > 0 else np.full(count, 1 / np.sqrt(count))
    return Named(_bend_or_twist(config, about, sizes), about.part, *doubt, float(np.degrees(length)),
                 float(np.degrees(np.linalg.norm(along * spreads))), "deg", tuple(sizes.tolist()))


def _bend_or_twist(config: InspectorConfig, about: Hypothesis, sizes: Float) -> str:
    """A turn about the link's own direction is a twist."""
    link = config.deviations[about.deviations[0]].of
    along = [np.array(d.axis) for d in config.deviations if d.kind == STRETCH and d.of == link]
    if about.what != "bend" or not along:
        return about.what
    turn = sizes @ np.array([config.deviations[i].axis for i in about.deviations])
    return "twist" if abs(turn @ along[0]) > TWIST * np.linalg.norm(turn) else "bend"


def _raw_config(c: InspectorConfig) -> tuple[Any, list[Any]]:
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
    for name in ("noise_bias", "noise_frame", "floor", "lag_prior", "cell_rad", "found", "explained", "unexplained",
                 "unexplained_sum", "threshold", "rival", "patience_frames", "stuck_rad", "frozen_frames",
                 "stale_frames", "frozen_rad"):
        setattr(raw, name, getattr(c, name))
    return raw, held


class Inspector:
    """Looks at pictures for how the body differs from its model. For one thread at a time.

    Args:
        engine: of a body model; the inspector borrows it, and its predictions with it.
        config: as calibrated.

    Raises:
        RuntimeFault: the engine runs no body model, or another inspector has it.
        BundleError: the settings do not fit the body.
    """

    def __init__(self, engine: Engine, config: InspectorConfig) -> None:
        body = lib.ek_engine_body(engine.handle)
        if body == ffi.NULL:
            raise RuntimeFault("the engine runs a decoder, which has no links that could deviate",
                               "Open the bundle's body model")
        self.config, self._engine = config, engine
        raw, held = _raw_config(config)
        status = ffi.new("int *")
        handle = lib.ek_inspector_create(body, raw, status)
        del held  # copied
        if status_name(status[0]) == "busy":
            raise RuntimeFault("another inspector looks at this engine's body", "Close it, or open a second engine")
        if handle == ffi.NULL:
            raise BundleError("the inspector's settings do not fit the body model, or are out of range", AGAIN)
        self._handle: Any = handle
        self._accepted = np.zeros(len(config.deviations))
        self._raw = self._nothing()
        self._mask_shape = (engine.info.n_views, engine.info.height, (engine.info.width + 7) // 8)

    @staticmethod
    def _nothing() -> Any:
        """What is found before the first picture."""
        return ffi.new("ek_finding *", {"hypothesis": -1, "rival": -1, "link": -1, "joint": -1})

    def close(self) -> None:
        """Give the body back to the engine; twice does no harm.

        Raises:
            RuntimeFault: the engine was closed before, and its body has gone with it.
        """
        if self._handle != ffi.NULL:
            lib.ek_inspector_destroy(self.handle)
            self._handle = ffi.NULL

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def handle(self) -> Any:
        """The C object."""
        if self._handle == ffi.NULL:
            raise RuntimeFault("the inspector is closed", "Make it again")
        _ = self._engine.handle  # raises where the engine was closed, and the body has gone with it
        return self._handle

    def _angles(self, values: ArrayLike) -> Any:
        angles = np.ascontiguousarray(values, dtype=np.float32)
        if angles.shape != (len(self.config.joints),):
            raise RuntimeFault(f"joint angles have the shape {angles.shape}, expected ({len(self.config.joints)},)")
        return ffi.from_buffer("float[]", angles)

    def judge(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> int:
        """Judge a fresh picture, and return the alarm's index in CLASSES, 0 while there is none.

        Args:
            q: (J,) rad, measured.
            masks: (V, H, row_bytes) as numpy.packbits makes them.
            commanded: (J,) rad, where known.

        Raises:
            RuntimeFault: a wrong shape, a NaN, or an angle beyond 10^4 rad.
        """
        if masks.shape != self._mask_shape or masks.dtype != np.uint8:
            raise RuntimeFault(f"masks are {masks.dtype} {masks.shape}, expected uint8 {self._mask_shape}")
        sent = ffi.NULL if commanded is None else self._angles(commanded)
        check(lib.ek_inspector_update(self.handle, self._angles(q), sent,
                                      ffi.from_buffer("uint8_t[]", np.ascontiguousarray(masks)), self._raw),
              "the inspector cannot judge this frame")
        return int(self._raw.alarm)

    def update(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> Finding:
        """Judge a fresh picture; arguments and errors as `judge`."""
        self.judge(q, masks, commanded)
        return self.finding

    @property
    def evidence(self) -> float:
        """Nats of the leading hypothesis after the last picture."""
        return float(self._raw.evidence)

    @property
    def misfit(self) -> float:
        """Squared error of the last picture by the body that is held to be healthy, summed over pixels."""
        return float(self._raw.misfit)

    @property
    def healthy_misfit(self) -> float:
        """What healthy pictures have of that, averaged over the regions of poses."""
        return float(self.config.misfit.mean())

    def with_named(self) -> Float | None:
        """Return the sizes (n,) of all deviations, rad or share, of a body that differs as the last picture's finding
        names it; None where no deviation makes such a body."""
        if not self.finding.named.sizes:
            return None
        sizes: Float = self._accepted.copy()
        sizes[list(self.config.hypotheses[self._raw.hypothesis].deviations)] += self.finding.named.sizes
        return sizes

    @property
    def fitted(self) -> float:
        """Squared error of the last picture with the deviations fitted, summed over pixels."""
        return float(self._raw.fitted)

    @property
    def misfit_z(self) -> float:
        """Of the last picture with the deviations fitted, standard deviations."""
        return float(self._raw.misfit_z)

    @property
    def finding(self) -> Finding:
        """What the last picture left."""
        raw, n = self._raw, len(self.config.joints)
        lost = raw.sign == SIGNS.index("lost")
        named = named_of(self.config, raw, raw.link if lost else raw.joint, list(raw.offset_rad[0:n]))
        return Finding(CLASSES[raw.alarm], SIGNS[raw.sign] if raw.alarm else "", raw.alarm_frame, raw.frames,
                       named, raw.misfit_z, tuple(raw.offset_rad[0:n]), tuple(raw.drift_rad[0:n]),
                       tuple(raw.drift_spread_rad[0:n]))

    def look(self) -> tuple[Float, Float, Float]:
        """Return information (n, n) and score (n,) of the last picture around the healthy body, and the fit (n,)."""
        n = len(self.config.deviations)
        out = np.empty((n, n)), np.empty(n), np.empty(n)
        check(lib.ek_inspector_look(self.handle, *(ffi.from_buffer("double[]", a) for a in out)), "nothing was seen")
        return out

    def reset(self) -> None:
        """Forget all evidence and the alarm."""
        lib.ek_inspector_reset(self.handle)
        self._raw = self._nothing()

    def accept(self, sizes: ArrayLike | None) -> None:
        """Hold a deviated body to be healthy from now on, or the model again (None).

        Args:
            sizes: (n,) rad or share.

        Raises:
            RuntimeFault: a wrong number, or sizes out of range.
        """
        if sizes is None:
            check(lib.ek_inspector_accept(self.handle, ffi.NULL), "the model is refused")
            self._raw, self._accepted = self._nothing(), np.zeros(len(self.config.deviations))
            return
        values = np.ascontiguousarray(sizes, dtype=np.float64)
        if values.shape != (len(self.config.deviations),):
            raise RuntimeFault(f"{values.size} sizes of deviations, expected {len(self.config.deviations)}")
        status = lib.ek_inspector_accept(self.handle, ffi.from_buffer("double[]", values))
        if status_name(status) == "range":
            raise RuntimeFault(f"a deviation of {values[np.abs(values).argmax()]:g} is more than an inspector can hold "
                               "to be healthy", "Train a body model of the robot as it is now")
        check(status, "these sizes are refused")
        self._raw, self._accepted = self._nothing(), values.copy()
