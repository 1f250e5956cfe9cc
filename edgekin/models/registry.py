"""The models by name. Nothing here imports torch; a model's own module does, when the model is built."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgekin.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from edgekin.models.body_graph import BodyGraph
    from edgekin.models.field_graph import FieldGraph
    from edgekin.models.graph import Graph
    from edgekin.models.self_model import SelfModel
    from edgekin.robot.spec import RobotSpec
    from edgekin.sim.about import PicturesAbout

#: name -> the module that makes it. A module has SIZES and LEARNS (names), `build(Plan) -> nn.Module`, and where its
#: choice of what to learn depends on the data, `default_learn(mean_image) -> names`; where it builds sizes that have no
#: name, for ablations, `is_variant(size) -> bool`. The network is (B, J) rad ->
#: logits (B, V, H, W); one that is trained in a way of its own follows OwnTraining, one that predicts depth HasDepth. A
#: module that learns depth and so cannot do without it in its data has NEEDS_DEPTH, one that knows it anyway
#: HAS_DEPTH; one that can be told the camera of each sample (PictureShape.n_camera) has CAMERAS.
MODELS = {"neurokin": "edgekin.models.neurokin", "resneurokin-d": "edgekin.models.resneurokin_d",
          "k3dgs": "edgekin.models.k3dgs", "ffksm": "edgekin.models.ffksm"}

MAX_JOINTS, MAX_VIEWS, MAX_SIZE_PX = 16, 4, 4096  # the first two as in engines/include/edgekin.h


@dataclass(frozen=True)
class PictureShape:
    """What a model maps between: joints in, silhouettes out."""

    n_joints: int  # 1..16
    n_views: int  # 1..4
    height: int  # px
    width: int  # px
    n_camera: int = 0  # numbers behind the joint angles that say from where (robot/views.py); 0: from fixed cameras

    @classmethod
    def of(cls, robot: RobotSpec) -> PictureShape:
        """Return the shape of a robot's pictures."""
        camera = robot.cameras[0]
        return cls(len(robot.actuated), len(robot.cameras), camera.height, camera.width)

    @property
    def n_inputs(self) -> int:
        """Numbers that the network takes."""
        return self.n_joints + self.n_camera

    def validated(self) -> PictureShape:
        """Return itself; raises ConfigError where a number is out of range."""
        for name, value, top in (("joints", self.n_joints, MAX_JOINTS), ("views", self.n_views, MAX_VIEWS),
                                 ("rows", self.height, MAX_SIZE_PX), ("columns", self.width, MAX_SIZE_PX)):
            if not 1 <= value <= top:
                raise ConfigError(f"a model of {value} {name} was asked for, expected 1 to {top}",
                                  "Choose fewer joints, cameras or pixels in the RobotSpec YAML")
        return self


@dataclass(frozen=True)
class Plan:
    """What a model's module builds a network from."""

    size: str  # one of its SIZES
    shape: PictureShape
    robot: RobotSpec | None = None  # for models that know the body
    learn: tuple[str, ...] = ()  # of its LEARNS: what is learned besides


@dataclass(frozen=True)
class Batch:
    """The samples of one training step."""

    index: NDArray[np.int64]  # (B,) which of the training set
    q: Tensor  # (B, J) float32 rad, on the network's device
    packed: NDArray[np.uint8]  # (B, V, H, ceil(W / 8)) masks, numpy.packbits along x
    depth: NDArray[np.float32] | None  # (B, V, H, W) m, +inf off the robot; None where the data have none
    rng: np.random.Generator  # for what is random in this step: seed and step fix it, so a resumed training repeats it


@runtime_checkable
class OwnTraining(Protocol):
    """A network that says itself what training minimises; the others are decoders (edgekin.training.losses)."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: `params`, and `scale`, the factor of the learning rate."""

    def training_loss(self, batch: Batch, share: float) -> Tensor:
        """Return the loss of a batch; share of the budget used, 0 to 1."""

    def adapt(self, share: float, optimiser: Optimizer) -> bool:
        """Change the network's structure where it is time for it; tell whether that was so."""

    def finish(self) -> None:
        """Take leave of what only training needs."""


@runtime_checkable
class LooksAbout(Protocol):
    """A network that also learns from pictures by cameras about the robot's own."""

    def look_about(self, pictures: PicturesAbout) -> None:
        """Learn from them, too, from now on."""


@runtime_checkable
class HasGraph(Protocol):
    """A network that is no sequence of layers and says itself what it compiles to."""

    def graph(self) -> Graph | BodyGraph | FieldGraph:
        """Return it as plain numbers."""


@runtime_checkable
class HasDepth(Protocol):
    """A network that predicts depth besides silhouettes."""

    def both(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and depth in m, each (B, V, H, W), of q (B, J) rad; depth means something on robot pixels."""


@runtime_checkable
class HasOccupancy(Protocol):
    """A network that knows which points in space the body fills."""

    def occupancy(self, q: Tensor, points: Tensor) -> Tensor:
        """Return (N,) 0 to 1 at points (N, 3) m in the world, for q (J,) rad."""


def _module(name: str) -> Any:
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        raise ConfigError(f"model {name!r} is not known",
                          f"Did you mean {close[0]!r}?" if close else f"Use one of: {', '.join(MODELS)}")
    try:
        return importlib.import_module(MODELS[name])
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from error


def model_sizes(name: str) -> tuple[str, ...]:
    """Return the sizes that a model comes in."""
    return tuple(_module(name).SIZES)


def check_size(name: str, size: str) -> None:
    """Check that a model comes in a size, named or spelled out; raises ConfigError where it does not."""
    module = _module(name)
    variant = getattr(module, "is_variant", None)
    if size not in module.SIZES and not (variant is not None and variant(size)):
        raise ConfigError(f"model {name} has no size {size!r}", f"Use one of: {', '.join(module.SIZES)}")


def needs_depth(name: str) -> bool:
    """Tell whether a model learns from depth pictures."""
    return bool(getattr(_module(name), "NEEDS_DEPTH", False))


def may_have_depth(name: str) -> bool:
    """Tell whether a model predicts depth besides silhouettes."""
    module = _module(name)
    return bool(getattr(module, "NEEDS_DEPTH", False) or getattr(module, "HAS_DEPTH", False))


def can_learn(name: str) -> tuple[str, ...]:
    """Return what a model can learn besides what it always learns."""
    return tuple(_module(name).LEARNS)


def default_learn(name: str, mean_image: NDArray[np.float32]) -> tuple[str, ...]:
    """Return what a model learns besides, where nothing is asked: mean_image (V, H, W) of the training pictures."""
    choose = getattr(_module(name), "default_learn", None)
    return tuple(choose(mean_image)) if choose is not None else ()


def build_model(name: str, size: str, shape: PictureShape, seed: int = 0, robot: RobotSpec | None = None,
                learn: tuple[str, ...] = ()) -> SelfModel:
    """Build a model with fresh weights.

    Args:
        name: a key of MODELS.
        size: one of the model's sizes.
        shape: joints, views and picture size.
        seed: of the initial weights.
        robot: for models that know the body; its joints and cameras are those of `shape`.
        learn: what is learned besides what the model always learns.

    Raises:
        ConfigError: unknown model, size or thing to learn, a shape out of range, or no robot where one is needed.
        MissingExtra: torch is not installed.
    """
    from edgekin.models.self_model import SelfModel

    module = _module(name)
    check_size(name, size)
    unknown = sorted(set(learn) - set(module.LEARNS))
    if unknown:
        raise ConfigError(f"model {name} cannot learn {unknown[0]!r}",
                          f"Use: {', '.join(module.LEARNS)}" if module.LEARNS else "Leave it out")
    if shape.n_camera and not getattr(module, "CAMERAS", False):
        raise ConfigError(f"model {name} sees from the cameras that it is trained with, not from others",
                          "Use --model neurokin or k3dgs")
    if robot is not None and PictureShape.of(robot) != replace(shape, n_camera=0):
        raise ConfigError(f"the model is for {shape}, the robot {robot.name} gives {PictureShape.of(robot)}",
                          "Give the robot that it was trained for")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = module.build(Plan(size, shape.validated(), robot, learn))
    return SelfModel(name, size, shape, network, learn)


def to_graph(module: nn.Module | SelfModel) -> Graph | BodyGraph | FieldGraph:
    """Return a trained module as plain numbers: what its own `graph` gives, else its flat list of layers.

    Raises:
        ConfigError: the module holds a layer that the graph has no kind for.
    """
    from edgekin.models.export import sequential_graph
    from edgekin.models.self_model import SelfModel

    network = module.module if isinstance(module, SelfModel) else module
    if isinstance(network, HasGraph):
        return network.graph()
    return sequential_graph(network)
