"""What a bundle's engine says of frames: the residuals that every baseline is made of."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import Bundle
from edgekin.detection.calibration import Float, Regions
from edgekin.opening import detector_config, open_bundle
from edgekin.sim.episode import Frames


@dataclass(frozen=True)
class Observed:
    """How well the self-model explains frames."""

    nll: Float  # (N,) negative log-likelihood, nats per pixel
    squared: Float  # (N,) mean of (probability - observed)^2
    iou: Float  # (N,)
    z: Float  # (N,) nll standardised by the bundle's regions of poses; NaN where they are of other cameras

    def __len__(self) -> int:
        return len(self.nll)

    def to_json(self) -> dict[str, str]:
        """Return it as text, in float32."""
        return {f.name: base64.b64encode(getattr(self, f.name).astype("<f4").tobytes()).decode() for f in fields(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Observed:
        """Read what `to_json` wrote."""
        columns = (np.frombuffer(base64.b64decode(content[f.name]), "<f4").astype(np.float64) for f in fields(cls))
        return cls(*columns)


class Observer:
    """The bundle's engine on frames; a chunk is computed once for all that ask for it.

    Args:
        bundle: with an engine that runs here.
        views: cameras in the frames, the bundle's first ones.
    """

    def __init__(self, bundle: Bundle, views: int) -> None:
        self._engine = open_bundle(bundle)
        self._views, self._of_all = views, views == self._engine.info.n_views
        config = detector_config(bundle)
        self._regions = Regions(config.centroids, config.mean, config.std)
        self._last: tuple[Frames, Observed] | None = None

    def of(self, frames: Frames) -> Observed:
        """Return what the engine says of a chunk of frames."""
        if self._last is None or self._last[0] is not frames:
            self._last = frames, self._observe(frames)
        return self._last[1]

    def picture(self, pose: Float) -> NDArray[np.float32]:
        """Return what the self-model expects to be seen at joint angles (J,) rad: (V, H, W) probabilities."""
        self._engine.run(pose)
        expected: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * self._engine.logits()[:self._views]))
        return expected

    def _observe(self, frames: Frames) -> Observed:
        rows = np.empty((len(frames), 3))
        measure = self._whole if self._of_all else self._part
        for row, pose, masks in zip(rows, frames.joint_pos, frames.masks, strict=True):
            self._engine.run(pose)
            row[:] = measure(masks)
        nll, squared, iou = rows.T.copy()
        z = self._regions.standardize(nll, frames.joint_pos) if self._of_all else np.full(len(nll), np.nan)
        return Observed(nll, squared, iou, z)

    def _whole(self, masks: Any) -> tuple[float, float, float]:
        s = self._engine.score(masks)
        return s.nll / s.n_pixels, s.squared_err / s.n_pixels, s.intersection / max(s.union, 1)

    def _part(self, masks: Any) -> tuple[float, float, float]:
        """Of the first cameras alone: the engine scores all, block by block."""
        info = self._engine.info
        whole = np.zeros((info.n_views, *masks.shape[1:]), np.uint8)
        whole[:self._views] = masks
        self._engine.score(whole)
        blocks, pixels = self._engine.blocks()[:self._views], self._views * info.height * info.width
        both = int(blocks["intersection"].sum())
        union = int(blocks["predicted"].sum()) + int(blocks["observed"].sum()) - both
        return float(blocks["nll"].sum()) / pixels, float(blocks["squared_err"].sum()) / pixels, both / max(union, 1)
