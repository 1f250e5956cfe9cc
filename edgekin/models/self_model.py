"""SelfModel: a torch module with its hyper-parameters, and its file (safetensors, no pickle)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.errors import ConfigError, MissingExtra
from edgekin.models.registry import HasDepth, HasOccupancy, PictureShape, build_model, to_graph

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekin.models.body_graph import BodyGraph
    from edgekin.models.field_graph import FieldGraph
    from edgekin.models.graph import Graph
    from edgekin.robot.spec import RobotSpec

SCHEMA = "edgekin.model/1"
#: Frames predicted at once: bounds the memory of the largest feature map.
CHUNK = 64
#: Points in space asked for at once.
POINTS = 16384


@dataclass(frozen=True)
class SelfModel:
    """A model from joint angles to silhouettes."""

    name: str  # a key of edgekin.models.MODELS
    size: str  # one of the model's sizes
    shape: PictureShape  # joints, views, height, width
    module: nn.Module  # forward: (B, J) float32 rad -> logits (B, V, H, W)
    learn: tuple[str, ...] = ()  # what it learns besides what it always learns

    @property
    def hyper(self) -> dict[str, Any]:
        """What build_model needs to make this model again, JSON-ready."""
        return {"schema": SCHEMA, "name": self.name, "size": self.size,
                **{k: v for k, v in asdict(self.shape).items() if k != "n_camera" or v},
                **({"learn": list(self.learn)} if self.learn else {})}

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(p.numel() for p in self.module.parameters())

    def graph(self) -> Graph | BodyGraph | FieldGraph:
        """The model as plain numbers, for compilation."""
        return to_graph(self.module)

    def logits(self, joint_pos: NDArray[np.float64]) -> NDArray[np.float32]:
        """Predict log-odds.

        Args:
            joint_pos: (N, J) rad.

        Returns:
            (N, V, H, W) float32 natural-log odds that a pixel shows the robot.
        """
        return self._evaluated(self.module, joint_pos)

    def probabilities(self, joint_pos: NDArray[np.float64]) -> NDArray[np.float32]:
        """Predict silhouettes.

        Args:
            joint_pos: (N, J) rad; of a model for many cameras (N, J + 16), `Dataset.inputs`.

        Returns:
            (N, V, H, W) float32 probability that a pixel shows the robot.
        """
        return self._evaluated(lambda q: self.module(q).sigmoid(), joint_pos)

    @property
    def has_depth(self) -> bool:
        """Whether it predicts depth, too."""
        return isinstance(self.module, HasDepth)

    def depth(self, joint_pos: NDArray[np.float64]) -> NDArray[np.float32]:
        """Predict depth along the cameras' axes.

        Args:
            joint_pos: as for probabilities.

        Returns:
            (N, V, H, W) float32 m; it means something where the robot is.

        Raises:
            ConfigError: this model predicts silhouettes alone.
        """
        network = self.module
        if not isinstance(network, HasDepth):
            raise ConfigError(f"model {self.name} predicts silhouettes, not depth", "Train with --model resneurokin-d")
        return self._evaluated(lambda q: network.both(q)[1], joint_pos)

    def _evaluated(self, function: Callable[[Tensor], Tensor], joint_pos: NDArray[np.float64]) -> NDArray[np.float32]:
        """Pictures (N, V, H, W) of a function of (B, J) angles, chunk by chunk, in evaluation mode."""
        import torch

        device = next(self.module.parameters()).device
        angles = torch.as_tensor(np.asarray(joint_pos, dtype=np.float32), device=device)
        training = self.module.training
        self.module.eval()
        with torch.no_grad():
            parts = [function(batch).cpu().numpy() for batch in torch.split(angles, CHUNK)]
        self.module.train(training)
        empty = np.zeros((0, self.shape.n_views, self.shape.height, self.shape.width), np.float32)
        return np.concatenate(parts) if parts else empty

    def occupancy(self, joint_pos: ArrayLike, points: ArrayLike) -> NDArray[np.float32]:
        """Tell how occupied points in space are.

        Args:
            joint_pos: (J,) rad.
            points: (N, 3) m in the world.

        Returns:
            (N,) float32, 0 free to 1 occupied.

        Raises:
            ConfigError: the model knows pictures alone, or the arrays have other shapes.
        """
        import torch

        if not isinstance(self.module, HasOccupancy):
            raise ConfigError(f"model {self.name} has no occupancy in 3D", "Train: edgekin train --model ffksm")
        q, p = np.asarray(joint_pos, np.float32), np.asarray(points, np.float32)
        if q.shape != (self.shape.n_joints,) or p.ndim != 2 or p.shape[1] != 3:
            raise ConfigError(f"occupancy was asked with joints {q.shape} and points {p.shape}, expected "
                              f"({self.shape.n_joints},) rad and (N, 3) m", "Ask for one pose at a time")
        device = next(self.module.parameters()).device
        with torch.no_grad():
            found = [self.module.occupancy(torch.as_tensor(q, device=device), part).cpu().numpy()
                     for part in torch.split(torch.as_tensor(p, device=device), POINTS)]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def to_bytes(self) -> bytes:
        """The content of a model file: weights in safetensors, hyper-parameters in its metadata."""
        save = _safetensors().save
        state = {k: v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        content: bytes = save(state, metadata={"hyper": json.dumps(self.hyper)})
        return content


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingExtra("safetensors", "train") from error
    return safetensors.torch


def read_safetensors(path: Path, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (tensors, the JSON object under `key` of the metadata) of a safetensors file.

    Raises:
        ConfigError: missing, truncated, or without that metadata.
    """
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            content = json.loads((file.metadata() or {})[key])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a model: {error}", "Run: edgekin train") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} has malformed metadata", "Run: edgekin train")
    return tensors, content


def shape_of(hyper: dict[str, Any]) -> PictureShape:
    """Return the shape that a model's hyper-parameters name; raises KeyError, TypeError or ValueError for none."""
    joints, views, height, width = (int(hyper[k]) for k in ("n_joints", "n_views", "height", "width"))
    return PictureShape(joints, views, height, width, int(hyper.get("n_camera", 0)))


def load_model(path: Path, robot: RobotSpec | None = None) -> SelfModel:
    """Read a model file.

    Args:
        path: the file.
        robot: as trained, for models that know the body.

    Raises:
        ConfigError: missing, truncated, of another schema, or weights that do not fit the model.
    """
    tensors, hyper = read_safetensors(path, "hyper")
    if hyper.get("schema") != SCHEMA:
        raise ConfigError(f"{path} is of schema {hyper.get('schema')!r}, expected {SCHEMA!r}", "Run: edgekin train")
    try:
        shape = shape_of(hyper)
        model = build_model(str(hyper["name"]), str(hyper["size"]), shape, robot=robot,
                            learn=tuple(hyper.get("learn", ())))
        model.module.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"{path} does not fit its model: {line}", "Run: edgekin train") from error
    model.module.eval()
    return model
