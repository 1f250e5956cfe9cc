"""What cameras show of the arm when events act on its body, on the cameras, on the pictures or on their timing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekin.robot.damage import scenes
from edgekin.robot.events import Event
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.faults import PICTURE_STREAM, TIMING_STREAM, generator
from edgekin.sim.renderer import Renderer

Packed = NDArray[np.uint8]

#: Sides of an occluding rectangle, height to width.
ASPECTS = (0.5, 2.0)
#: Waves of light and shadow across the picture, and how many of them are added up.
LIGHT_WAVES, LIGHT_TERMS = 1.5, 4


class Timeline:
    """The last few seconds of the joints, to look up what a late picture shows.

    Args:
        keep_s: how far back is asked for, s.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._time_s, self._q = np.zeros(0), np.zeros((0, 0))

    def add(self, time_s: Float, q: Float) -> None:
        """Append (N,) s, increasing, and (N, J) rad."""
        if len(time_s) and time_s[-1] <= (self._time_s[-1] if len(self._time_s) else -np.inf):
            return  # the clock of the live arm stands still before second 0
        self._time_s = np.concatenate([self._time_s, time_s])
        self._q = np.concatenate([self._q, q]) if len(self._q) else q.copy()
        first = max(0, int(np.searchsorted(self._time_s, time_s[0] - self._keep_s)) - 1)
        if first > len(self._time_s) // 2:
            self._time_s, self._q = self._time_s[first:], self._q[first:]

    def at(self, time_s: Float) -> Float:
        """Return (N, J) rad at (N,) s, linear between what was added, its ends beyond."""
        return np.stack([np.interp(time_s, self._time_s, column) for column in self._q.T], axis=1)


class Pictures:
    """Draws frame after frame; every call goes on in time from the one before.

    Args:
        spec: the robot, whole.
        events: those that act on scene, picture or timing are followed, others ignored.
        seed: of noise, places and directions.
        boundary_share: of the pixels along outlines that always flip.
    Raises:
        ConfigError: an event does not fit the robot.
        RobotError: the cameras have different sizes, or nothing is left to see.
    """

    def __init__(self, spec: RobotSpec, events: Iterable[Event], seed: int, boundary_share: float = 0.0) -> None:
        self._events = tuple(events)
        stages = scenes(spec, self._events, seed)
        self.stages = tuple(stage for _, stage in stages)
        self._starts = np.array([start for start, _ in stages])
        self._renderers = [Renderer(stage) for stage in self.stages]
        one = self._renderers[0]
        self.shape = (one.n_views, one.height, one.row_bytes)
        self._width, self._boundary = one.width, boundary_share
        self._timing, self._rng = generator(seed, TIMING_STREAM), generator(seed, PICTURE_STREAM)
        self._noise_seed = int(generator(seed, PICTURE_STREAM).integers(2**63))
        self._light: dict[int, NDArray[np.int64]] = {}
        self._shade: dict[int, Packed] = {}
        self._last: Packed | None = None
        self._drawn = 0  # masks that noise was drawn for
        self._frozen_s = min((e.onset_s for e in self._of("frozen-camera")), default=np.inf)
        self._lags = [e for e in self._events if e.kind in ("latency", "jitter")]
        #: How far behind the joints a picture may be, s; 0: never.
        self.most_lag_s = sum(e.size for e in self._lags) / 1000.0

    def _of(self, kind: str) -> list[Event]:
        return [e for e in self._events if e.kind == kind]

    def stage(self, time_s: float) -> int:
        """Return the index into `stages` of the robot at a time."""
        return int(np.searchsorted(self._starts, time_s, side="right")) - 1

    def seen_at(self, time_s: Float) -> Float:
        """Return when what the pictures of (N,) s show was so, (N,) s."""
        seen = time_s.copy()
        for event in self._lags:
            late = np.full(len(seen), event.size) if event.kind == "latency" else self._timing.uniform(
                0.0, event.size, len(seen))
            seen -= np.where(time_s >= event.onset_s, late / 1000.0, 0.0)
        return seen

    def draw(self, time_s: Float, seen_s: Float, q: Float) -> Packed:
        """Return what the cameras deliver.

        Args:
            time_s: (N,) when, increasing, s.
            seen_s: (N,) when what they show was so, s (`seen_at`).
            q: (N, J) where the links were then, rad.

        Returns:
            (N, V, H, row_bytes), numpy.packbits along x.
        """
        fresh = int(np.searchsorted(time_s, self._frozen_s))
        if fresh == 0 and self._last is None:
            fresh = 1  # frozen from the start: something must have been seen
        out = np.empty((len(time_s), *self.shape), np.uint8)
        stages = np.searchsorted(self._starts, seen_s[:fresh], side="right") - 1
        for number in np.unique(stages):
            chosen = stages == number
            out[:fresh][chosen] = self._renderers[number].masks(q[:fresh][chosen])
        self._spoil(out[:fresh], time_s[:fresh])
        last = out[fresh - 1] if fresh else self._last
        if last is not None:
            out[fresh:] = last
        self._last = out[-1].copy()
        return out

    def _spoil(self, masks: Packed, time_s: Float) -> None:
        """Light, occluders and noise, in place."""
        for index, event in enumerate(self._events):
            first = int(np.searchsorted(time_s, event.onset_s))
            if first < len(masks) and event.kind == "lighting":
                self._darken(masks[first:], index, event.size / 100.0)
            elif first < len(masks) and event.kind == "occlusion":
                view, shade = self._occluder(masks[first], index, event.size / 100.0)
                masks[first:, view] &= shade
        noisy = [e for e in self._events if e.kind in ("mask-noise", "boundary-noise")]
        cuts = [0, *(int(np.searchsorted(time_s, e.onset_s)) for e in noisy), len(masks)]
        for begin, end in zip(sorted(cuts)[:-1], sorted(cuts)[1:], strict=True):
            if begin < end:
                acting = [e for e in noisy if time_s[begin] >= e.onset_s]
                self._flip(masks[begin:end], _share(self._boundary, acting, "boundary-noise"),
                           _share(0.0, acting, "mask-noise"))

    def _flip(self, masks: Packed, boundary: float, anywhere: float) -> None:
        """Flip pixels of masks (N, V, H, row_bytes), contiguous, in place."""
        from edgekin._ek import ffi, lib
        from edgekin.runtime.status import check

        count = len(masks) * self.shape[0]
        if boundary or anywhere:
            check(lib.ek_mask_noise(ffi.from_buffer("uint8_t[]", masks), count, self._width, self.shape[1], boundary,
                                    anywhere, self._noise_seed, self._drawn), "cannot draw noise")
        self._drawn += count

    def _occluder(self, masks: Packed, index: int, share: float) -> tuple[int, Packed]:
        """The view that something stands before, and (H, row_bytes) bits that are 0 behind it."""
        if index not in self._shade:
            rng, (views, height, _) = self._rng, self.shape
            view = int(rng.integers(views))
            area, aspect = share * height * self._width, np.exp(rng.uniform(*np.log(ASPECTS)))
            tall = int(np.clip(round(np.sqrt(area * aspect)), max(1, np.ceil(area / self._width)), height))
            wide = int(np.clip(round(area / tall), 1, self._width))
            rows, columns = np.nonzero(np.unpackbits(masks[view], axis=-1, count=self._width))
            at = int(rng.integers(len(rows))) if len(rows) else -1
            y, x = (int(rows[at]), int(columns[at])) if len(rows) else (height // 2, self._width // 2)
            top, left = (int(np.clip(c - size // 2, 0, whole - size)) for c, size, whole in
                         ((y, tall, height), (x, wide, self._width)))
            shown = np.ones((height, self._width), np.uint8)
            shown[top:top + tall, left:left + wide] = 0
            self._shade[index] = np.packbits(shown, axis=-1)
            self._light[index] = np.array([view])
        return int(self._light[index][0]), self._shade[index]

    def _darken(self, masks: Packed, index: int, share: float) -> None:
        """Take the darkest share of the robot's pixels from every mask."""
        if index not in self._light:
            self._light[index] = _light(self._rng, self.shape[1], self._width).argsort(axis=None).argsort()
        rank = self._light[index]
        for row in masks.reshape(-1, *self.shape[1:]):
            bits = np.unpackbits(row, axis=-1, count=self._width).ravel()
            on = np.flatnonzero(bits)
            lost = round(share * len(on))
            if lost:
                bits[on[np.argpartition(rank[on], lost - 1)[:lost]]] = 0
                row[:] = np.packbits(bits.reshape(-1, self._width), axis=-1)

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers:
            renderer.close()


def _share(always: float, events: Sequence[Event], kind: str) -> float:
    """The probability that independent causes together flip a pixel."""
    share = always
    for event in events:
        if event.kind == kind:
            share = share + event.size / 100.0 - 2 * share * event.size / 100.0
    return share


def _light(rng: np.random.Generator, height: int, width: int) -> Float:
    """A smooth brightness over the picture, (H, W)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    out = np.zeros((height, width))
    for direction, phase in zip(rng.uniform(0, 2 * np.pi, LIGHT_TERMS), rng.uniform(0, 2 * np.pi, LIGHT_TERMS),
                                strict=True):
        out += np.cos(2 * np.pi * LIGHT_WAVES * (np.cos(direction) * x + np.sin(direction) * y) + phase)
    return out
