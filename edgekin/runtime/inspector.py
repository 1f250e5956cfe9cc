"""The inspector of the C library: it looks at pictures for how a body differs from its model. Numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import BundleError, RuntimeFault
from edgekin.runtime.changed import ChangedBody, raw_body
from edgekin.runtime.detector import Verdict
from edgekin.runtime.engine import Engine
from edgekin.runtime.findings import SIGNS, Drift, Finding, Named, named_of
from edgekin.runtime.inspector_config import AGAIN, CLASSES, Float, InspectorConfig, raw_config
from edgekin.runtime.status import check, status_name


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
        raw, held = raw_config(config)
        status = ffi.new("int *")
        handle = lib.ek_inspector_create(body, raw, status)
        del held  # copied
        if status_name(status[0]) == "busy":
            raise RuntimeFault("another inspector looks at this engine's body", "Close it, or open a second engine")
        if handle == ffi.NULL:
            raise BundleError("the inspector's settings do not fit the body model, or are out of range", AGAIN)
        self._handle: Any = handle
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

    @property
    def n_deviations(self) -> int:
        """How many deviations it looks for."""
        return len(self.config.deviations)

    def _angles(self, values: ArrayLike) -> Any:
        angles = np.ascontiguousarray(values, dtype=np.float32)
        if angles.shape != (len(self.config.joints),):
            raise RuntimeFault(f"joint angles have the shape {angles.shape}, expected ({len(self.config.joints)},)")
        return ffi.from_buffer("float[]", angles)

    def _masks(self, masks: NDArray[np.uint8]) -> Any:
        if masks.shape != self._mask_shape or masks.dtype != np.uint8:
            raise RuntimeFault(f"masks are {masks.dtype} {masks.shape}, expected uint8 {self._mask_shape}")
        return ffi.from_buffer("uint8_t[]", np.ascontiguousarray(masks))

    def judge(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> int:
        """Judge a fresh picture, and return the alarm's index in CLASSES, 0 while there is none.

        Args:
            q: (J,) rad, measured.
            masks: (V, H, row_bytes) as numpy.packbits makes them.
            commanded: (J,) rad, where known.

        Raises:
            RuntimeFault: a wrong shape, a NaN, or an angle beyond 10^4 rad.
        """
        sent = ffi.NULL if commanded is None else self._angles(commanded)
        check(lib.ek_inspector_update(self.handle, self._angles(q), sent, self._masks(masks), self._raw),
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

    def usual(self, q: Float) -> Float:
        """Return mean and standard deviation (2,) of the misfit of healthy pictures at a pose (J,) rad."""
        config = self.config
        region = np.square(config.centroids - q).sum(axis=1).argmin()
        return np.array([config.misfit[region], config.misfit_spread[region]], np.float64)

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

    def drifts(self) -> tuple[Drift, ...]:
        """Return how far every joint's encoder is off, as far as pictures tell; not while a loop has the inspector.

        Empty before the arm has left its first pose.
        """
        raw = ffi.new("ek_finding *")
        check(lib.ek_inspector_found(self.handle, raw), "nothing was seen")
        degrees = (np.degrees(list(values[0:len(self.config.joints)]))
                   for values in (raw.drift_rad, raw.drift_spread_rad))
        return tuple(Drift(joint, float(deg), float(spread))
                     for joint, deg, spread in zip(self.config.joints, *degrees, strict=True) if spread > 0)

    def named(self, verdict: Verdict) -> Named | None:
        """Return what a verdict of the loop that this inspector looks for names; None while there is no alarm."""
        return named_of(self.config, verdict.raw, verdict.raw.part) if verdict.alarm else None

    def look(self) -> tuple[Float, Float, Float]:
        """Return information (n, n) and score (n,) of the last picture around the healthy body, and the fit (n,)."""
        n = len(self.config.deviations)
        out = np.empty((n, n)), np.empty(n), np.empty(n)
        check(lib.ek_inspector_look(self.handle, *(ffi.from_buffer("double[]", a) for a in out)), "nothing was seen")
        return out

    def measure(self, q: ArrayLike, masks: NDArray[np.uint8], body: ChangedBody) -> tuple[Float, Float, float]:
        """Return what a picture says around a body, and leave all that was found so far.

        Args:
            q: (J,) rad, measured.
            masks: (V, H, row_bytes) as numpy.packbits makes them.
            body: of any sizes.

        Returns:
            Information (n, n) and score (n,) around its sizes, and the squared error, summed over pixels.

        Raises:
            RuntimeFault: a wrong shape or number, a NaN, or an angle beyond 10^4 rad.
        """
        n, misfit = len(self.config.deviations), ffi.new("double *")
        out = np.empty((n, n)), np.empty(n)
        check(lib.ek_inspector_measure(self.handle, self._angles(q), self._masks(masks), self._raw_body(body),
                                       *(ffi.from_buffer("double[]", a) for a in out), misfit),
              "the inspector cannot measure this frame")
        return *out, float(misfit[0])

    def _raw_body(self, body: ChangedBody | None) -> Any:
        return raw_body(body, len(self.config.deviations), len(self.config.joints))

    def reset(self) -> None:
        """Forget all evidence and the alarm."""
        lib.ek_inspector_reset(self.handle)
        self._raw = self._nothing()

    def accept(self, body: ChangedBody | None) -> None:
        """Hold a changed body to be healthy from now on, or the model again (None).

        Raises:
            RuntimeFault: a wrong number of sizes or offsets, one out of range, or no such link.
        """
        status = lib.ek_inspector_accept(self.handle, self._raw_body(body))
        if body is not None and status_name(status) == "range":
            what = f"a deviation of {body.farthest:g} is" if 0 <= body.lost < len(self.config.links) else \
                f"a link of number {body.lost}, which the robot has not, is"
            raise RuntimeFault(f"{what} more than an inspector can hold to be healthy",
                               "Train a body model of the robot as it is now")
        check(status, "this body is refused")
        self._raw = self._nothing()
