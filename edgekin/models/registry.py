"""The models by name. Nothing here imports torch; a model's own module does, when the model is built."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekin.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from torch import nn

    from edgekin.models.graph import Graph
    from edgekin.models.self_model import SelfModel

#: name -> the module that builds it: `SIZES` (names) and `build(size, shape) -> nn.Module` with `to_graph(module)`.
MODELS = {"neurokin": "edgekin.models.neurokin"}

MAX_JOINTS, MAX_VIEWS, MAX_SIZE_PX = 16, 4, 4096  # the first two as in engines/include/edgekin.h


@dataclass(frozen=True)
class PictureShape:
    """What a model maps between: joints in, silhouettes out."""

    n_joints: int  # 1..16
    n_views: int  # 1..4
    height: int  # px
    width: int  # px

    def validated(self) -> PictureShape:
        """Return itself; raises ConfigError where a number is out of range."""
        for name, value, top in (("joints", self.n_joints, MAX_JOINTS), ("views", self.n_views, MAX_VIEWS),
                                 ("rows", self.height, MAX_SIZE_PX), ("columns", self.width, MAX_SIZE_PX)):
            if not 1 <= value <= top:
                raise ConfigError(f"a model of {value} {name} was asked for, expected 1 to {top}",
                                  "Choose fewer joints, cameras or pixels in the RobotSpec YAML")
        return self


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


def build_model(name: str, size: str, shape: PictureShape, seed: int = 0) -> SelfModel:
    """Build a model with fresh weights.

    Args:
        name: a key of MODELS.
        size: one of the model's sizes.
        shape: joints, views and picture size.
        seed: of the initial weights.

    Raises:
        ConfigError: unknown model or size, or a shape out of range.
        MissingExtra: torch is not installed.
    """
    from edgekin.models.self_model import SelfModel

    module = _module(name)
    if size not in module.SIZES:
        raise ConfigError(f"model {name} has no size {size!r}", f"Use one of: {', '.join(module.SIZES)}")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = module.build(size, shape.validated())
    return SelfModel(name, size, shape, network)


def to_graph(module: nn.Module | SelfModel) -> Graph:
    """Return a trained module as a flat list of layers, batch normalisation folded.

    Raises:
        ConfigError: the module holds a layer that the graph has no kind for.
    """
    from edgekin.models.export import sequential_graph
    from edgekin.models.self_model import SelfModel

    return sequential_graph(module.module if isinstance(module, SelfModel) else module)
