"""A simulated or recorded arm that has changed, and a body that adapts to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekin.adapting.plan import AdaptPlan
from edgekin.adapting.result import Adapted, Quality
from edgekin.adapting.scene import HEALTHY_S, Scene, pictures_of, psnr_db
from edgekin.bundle import Bundle, load_bundle
from edgekin.detection.adaptation import ADAPTED, GIVEN_BACK, TRY_FRAMES, Adaptation, Adapter
from edgekin.detection.patch import Patcher, probability
from edgekin.errors import DataError
from edgekin.opening import inspector_config, open_body
from edgekin.robot.spec import Float
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import Inspector
from edgekin.sim.dataset import check_fits, load_dataset
from edgekin.training import metrics

#: Of a recording, the last share that nothing is fitted to and that bodies are scored on.
TEST_SHARE = 0.25
#: Predictions that must be the model's again, bit for bit, once everything is given back.
EXACT = 32

#: Called with (stage, frames done, frames in all).
Report = Callable[[str, int, int], None]
Pictures = Iterable[tuple[Float, NDArray[np.uint8], Float | None]]


class _Watched:
    """An adapter among frames, and the processor time that each took it."""

    def __init__(self, adapter: Adapter, report: Report, total: int) -> None:
        self._adapter, self._report, self._total = adapter, report, total
        self.seconds: list[float] = []

    def show(self, pictures: Pictures, ended: Callable[[Adaptation], bool] = lambda result: False) -> None:
        """Show pictures until they end, or until the adaptation has."""
        for q, masks, sent in pictures:
            began = time.thread_time()
            state = self._adapter.judge(q, masks, sent)
            self.seconds.append(time.thread_time() - began)
            self._report(state, len(self.seconds), self._total)
            if ended(self._adapter.result):
                return

    @property
    def judge_ms(self) -> dict[str, float]:
        """Percentiles of a frame, ms."""
        ms = 1e3 * np.array(self.seconds)
        return {"p50": float(np.median(ms)), "p99": float(np.quantile(ms, 0.99)), "max": float(ms.max())}


def _decided(result: Adaptation) -> bool:
    return result.done_frame is not None


def adapt(folder: Path, plan: AdaptPlan, report: Report = lambda stage, done, total: None) -> Adapted:
    """Let something happen to a simulated arm, or read what was recorded, and adapt the bundle's body to it.

    Args:
        folder: a bundle whose inspector was calibrated.
        plan: what happens.
        report: called with every frame.

    Raises:
        BundleError: no bundle, or one without body model or inspector.
        ConfigError: the plan cannot be followed, or the damage does not fit the robot.
        DataError: the recording is of another robot, or too short.
    """
    plan = plan.validated()
    bundle = load_bundle(folder)
    config = inspector_config(bundle).at(plan.camera_hz)
    with open_body(bundle) as engine, Inspector(engine, config) as inspector:
        adapter = Adapter(inspector, fit_frames=plan.frames - TRY_FRAMES)
        if plan.data is not None:
            return _recorded(bundle, plan, engine, adapter, report)
        return _simulated(bundle, plan, engine, inspector, adapter, report)


def _simulated(bundle: Bundle, plan: AdaptPlan, engine: Engine, inspector: Inspector, adapter: Adapter,
               report: Report) -> Adapted:
    scene = Scene(bundle, plan)
    watched, left = _Watched(adapter, report, scene.stream.n_frames), round(plan.seconds * plan.camera_hz)
    exact, healthy = engine.predict(scene.healthy.joint_pos[:EXACT]), scene.before(engine)
    damaged, stale = scene.after(engine, inspector.config, None), engine.predict(scene.damaged.joint_pos[:1])
    frames = pictures_of(scene.stream)
    watched.show(frames, _decided)
    first, adapted, refined = adapter.result, None, None
    if first.change is not None:
        adapted = scene.after(engine, inspector.config, first.change)
    patch = _patched(scene, engine, plan, frames) if first.change is None and first.alarm_frame is not None else None
    watched.show(islice(frames, left))
    change, offsets = adapter.result.change, adapter.offsets
    if change is not None:
        refined = scene.after(engine, inspector.config, change)
    now = probability(engine.predict(scene.damaged.joint_pos[:1])[0]) if patch is None else patch.picture
    repaired = None if change is None else healthy.psnr_db - _repaired(scene, engine, adapter)
    adapter.reset()
    return Adapted(
        plan=plan, bundle=bundle.path, first=first, change=change, offsets=offsets, healthy=healthy, damaged=damaged,
        adapted=adapted,
        refined=refined, repaired_db=repaired,
        patched=None if patch is None else patch.quality, patch_state=None if patch is None else patch.state,
        patch_ms=None if patch is None else patch.ms, judge_ms=watched.judge_ms,
        delay_frames=None if first.alarm_frame is None else first.alarm_frame - scene.stream.onset_frame,
        restored=np.array_equal(engine.predict(scene.healthy.joint_pos[:EXACT]), exact),
        pictures=_shown(scene.damaged.masks[0], probability(stale[0]), now))


def _repaired(scene: Scene, engine: Engine, adapter: Adapter) -> float:
    """PSNR on the healthy arm, dB, when that is shown to a body that has adapted: it must find back by itself."""
    for q, masks, sent in pictures_of(scene.repaired(round(HEALTHY_S * scene.plan.camera_hz) + 4 * scene.plan.frames)):
        adapter.judge(q, masks, sent)
    return psnr_db(engine, scene.healthy.joint_pos, scene.healthy.masks)


@dataclass(frozen=True)
class _Patched:
    """A body with a linear patch."""

    state: str
    quality: Quality
    ms: float  # of a picture, p50
    picture: Float  # (V, H, W) of the first pose that bodies are scored on


def _patched(scene: Scene, engine: Engine, plan: AdaptPlan, frames: Pictures) -> _Patched:
    """Fit a patch to the next pictures of the damaged arm, and score it."""
    patcher, seconds = Patcher(engine, scene.robot, plan.frames - TRY_FRAMES), []
    for q, masks, _ in frames:
        began = time.thread_time()
        state = patcher.judge(q, masks)
        seconds.append(time.thread_time() - began)
        if state in (ADAPTED, GIVEN_BACK):
            break
    patched = np.stack([patcher.patch.predict(q)[1] for q in scene.damaged.joint_pos])
    masks = np.unpackbits(scene.damaged.masks, axis=-1, count=scene.robot.cameras[0].width).astype(bool)
    return _Patched(patcher.state, Quality(float(metrics.psnr_db(patched, masks).mean())),
                    1e3 * float(np.median(seconds)), patched[0])


def _shown(packed: NDArray[np.uint8], *predictions: Float) -> tuple[Float, ...]:
    return np.unpackbits(packed, axis=-1, count=predictions[0].shape[-1]).astype(np.float64), *predictions


def _recorded(bundle: Bundle, plan: AdaptPlan, engine: Engine, adapter: Adapter, report: Report) -> Adapted:
    assert plan.data is not None
    data = load_dataset(plan.data)
    check_fits(data, bundle.robot, str(plan.data))
    if data.view is not None:
        raise DataError(f"dataset {plan.data} has many cameras, and a body is adapted to what the robot's own sees",
                        "Give a recording by the robot's own camera")
    kept = round((1 - TEST_SHARE) * len(data))
    q, masks = data.joint_pos[kept:], data.packed[kept:]
    if kept < plan.frames or not len(q):
        raise DataError(f"dataset {plan.data} has {len(data)} frames, of which {kept} may be fitted to, expected "
                        f"{plan.frames} or more", "Record more, or lower --frames")
    exact, damaged, stale = engine.predict(q[:EXACT]), Quality(psnr_db(engine, q, masks)), engine.predict(q[:1])
    watched = _Watched(adapter, report, kept)
    watched.show(zip(data.joint_pos[:kept], data.packed[:kept], repeat(None, kept), strict=True))
    result, offsets, now = adapter.result, adapter.offsets, engine.predict(q[:1])
    adapted = Quality(psnr_db(engine, q, masks)) if result.change is not None else None
    adapter.reset()
    return Adapted(
        plan=plan, bundle=bundle.path, first=result, change=result.change, offsets=offsets, healthy=None,
        damaged=damaged,
        adapted=adapted, refined=None, patched=None, patch_state=None, patch_ms=None, repaired_db=None,
        judge_ms=watched.judge_ms, delay_frames=None, restored=np.array_equal(engine.predict(q[:EXACT]), exact),
        pictures=_shown(masks[0], probability(stale[0]), probability(now[0])))
