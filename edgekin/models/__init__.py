"""Self-models: torch modules behind a small registry, and the graph that each hands to quantization and compile."""

from __future__ import annotations

from edgekin.models.registry import (
    MODELS,
    PictureShape,
    build_model,
    can_learn,
    default_learn,
    may_have_depth,
    model_sizes,
    needs_depth,
    to_graph,
)
from edgekin.models.self_model import SelfModel, load_model

__all__ = ["MODELS", "PictureShape", "SelfModel", "build_model", "can_learn", "default_learn", "load_model",
           "may_have_depth", "model_sizes", "needs_depth", "to_graph"]
