"""Who scores the healthy frames of a detector's calibration: the engine that will judge, or one that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import WEIGHTS
from edgekin.compile.product import Float, Logits, Product
from edgekin.errors import EdgekinError

#: The residuals (N,) nats per pixel of joint angles (N, J) rad and packed masks (N, V, H, ceil(W / 8)).
Residuals = Callable[[Float, NDArray[np.uint8]], Float]

#: Frames on which the native engine must give what ONNX Runtime gives, which takes up to 20 ms for each.
COMPARED = 200

#: How far apart they may be, as a share of the residuals' own spread. FP32 differs by 1e-5 and FP16 by 0.005; INT8 by
#: 0.1, since the ONNX keeps its head and narrow layers in floats, and thresholds are set 1.4 times beyond what is seen.
MOST_APART = 0.25

#: Pictures that are in memory at once.
_CHUNK = 500


@dataclass(frozen=True)
class HeldAgainst:
    """How near an engine is to the one that it stands for."""

    engine: str
    frames: int  # healthy ones that both scored
    apart: float  # root mean square difference of their residuals, as a share of the residuals' standard deviation


@dataclass(frozen=True)
class Scorer:
    """An engine at work on healthy frames."""

    engine: str  # and its precision: "native int8"
    residuals: Residuals
    held_against: HeldAgainst | None = None  # None where the engine itself will judge
    note: str = ""  # why the native engine does not score, where it could have

    def record(self) -> dict[str, Any]:
        """Return what detector.json says of it."""
        held = asdict(self.held_against) if self.held_against is not None else None
        return {"engine": self.engine, "held_against": held, "note": self.note}


@contextmanager
def open_scorer(product: Product, healthy: Callable[[], tuple[Float, NDArray[np.uint8]]]) -> Iterator[Scorer]:
    """Yield what scores healthy frames for a product.

    Weight files are scored by the native engine, a plan by itself where it runs here. Where it does not, ONNX Runtime
    is what it is held against, and the native engine, many times as fast, stands for that if it is near enough.

    Args:
        product: what was compiled.
        healthy: draws the frames that show whether it is: joint angles (N, J) rad and packed masks
            (N, V, H, ceil(W / 8)) uint8.
    """
    with ExitStack() as stack:
        if WEIGHTS in product.files:
            yield _native(stack, product.files[WEIGHTS])
        elif product.plan is not None and product.plan.predict is not None:
            name = f"{product.plan.sidecar['place']['target']} {product.precision}"
            yield Scorer(name, partial(_of_pictures, product.plan.predict))
        else:
            judge = Scorer(f"onnxruntime {product.precision}", partial(_of_pictures, product.predict))
            yield judge if product.native is None else _stand_in(stack, product.native, judge, *healthy())


def _native(stack: ExitStack, weights: bytes) -> Scorer:
    from edgekin.detection import score_dataset
    from edgekin.runtime.engine import Engine

    engine = stack.enter_context(Engine.open(weights))
    return Scorer(f"native {engine.info.precision}", partial(score_dataset, engine))


def _stand_in(stack: ExitStack, weights: Callable[[], bytes], judge: Scorer, joint_pos: Float,
              packed: NDArray[np.uint8]) -> Scorer:
    """The native engine, or the judge itself with the reason in its note."""
    try:
        native = _native(stack, weights())
    except EdgekinError as error:
        return replace(judge, note=f"not native: {error.message}")
    some = np.unique(np.linspace(0, len(joint_pos) - 1, COMPARED).astype(int))
    expected = judge.residuals(joint_pos[some], packed[some])
    difference = native.residuals(joint_pos[some], packed[some]) - expected
    apart = float(np.sqrt(np.mean(np.square(difference))) / max(float(expected.std()), np.finfo(np.float64).tiny))
    if apart <= MOST_APART:
        return replace(native, held_against=HeldAgainst(judge.engine, len(some), apart))
    return replace(judge, note=f"not {native.engine}: on {len(some)} healthy frames its residuals are {apart:.2f} of "
                               f"their spread from those of {judge.engine}, allowed {MOST_APART}")


def _of_pictures(predict: Callable[[Float], Logits], joint_pos: Float, packed: NDArray[np.uint8]) -> Float:
    residual = np.empty(len(joint_pos))
    for start in range(0, len(joint_pos), _CHUNK):
        part = slice(start, start + _CHUNK)
        logits = predict(joint_pos[part])
        observed = np.unpackbits(packed[part], axis=-1, count=logits.shape[-1]).astype(bool)
        residual[part] = np.logaddexp(0.0, np.where(observed, -logits, logits)).mean(axis=(1, 2, 3), dtype=np.float64)
    return residual
