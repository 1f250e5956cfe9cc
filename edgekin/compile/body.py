"""The body model that goes into a bundle beside the decoder: a few kB for derivatives and diagnosis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgekin.bundle import BODY, BODY_ANSWERS, KNOWN_ANSWERS, WEIGHTS
from edgekin.compile.native import body_product
from edgekin.compile.parity import Parity, compare
from edgekin.compile.product import Product
from edgekin.errors import GateMissed
from edgekin.models import to_graph
from edgekin.models.body_graph import BodyGraph

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Test samples on which the engine's pictures are held against torch's.
SAMPLES = 256


@dataclass(frozen=True)
class BodyPart:
    """A body model compiled, and how well it holds."""

    product: Product
    parity: Parity
    n_ellipsoids: int
    n_about: int  # pictures that it learned from by cameras about the robot's own, some of a robot without a link

    def manifest(self) -> dict[str, Any]:
        """Return what the manifest says about it."""
        entry = _entry(BODY, BODY_ANSWERS, self.product, self.n_ellipsoids, self.n_about)
        return entry | {"parity": asdict(self.parity)}


def _entry(file: str, answers: str, product: Product, n_ellipsoids: int, n_about: int) -> dict[str, Any]:
    return {"file": file, "known_answers": answers, "precision": product.precision, "bytes": product.weight_bytes,
            "ellipsoids": n_ellipsoids, "n_about": n_about}


def own_body(run: Run, product: Product, graph: BodyGraph) -> dict[str, Any]:
    """Return what the manifest says where the bundle's own model is the body model."""
    return _entry(WEIGHTS, KNOWN_ANSWERS, product, len(graph.links), run.n_about)


def body_beside(run: Run, max_psnr_loss_db: float) -> BodyPart | None:
    """Compile the body model that a run's decoder was distilled from.

    Args:
        run: the trained run.
        max_psnr_loss_db: against torch, on the run's test split.

    Returns:
        None where the run has none, or is itself one.

    Raises:
        GateMissed: the engine's pictures are not torch's.
    """
    if run.body_model is None or run.body_model is run.self_model:
        return None
    graph = to_graph(run.body_model)
    assert isinstance(graph, BodyGraph)
    product = body_product(graph, "fp32")
    joint_pos, masks = run.test.joint_pos[:SAMPLES], run.test.masks[:SAMPLES]
    parity = compare(run.body_model.logits(joint_pos), product.predict(joint_pos), masks)
    if not parity.psnr_loss_db <= max_psnr_loss_db:
        raise GateMissed(f"the body model loses {parity.psnr_loss_db:.3f} dB of PSNR against torch, allowed "
                         f"{max_psnr_loss_db:g} dB; nothing was written", "Leave it out with --no-body-model")
    return BodyPart(product, parity, len(graph.links), run.n_about)
