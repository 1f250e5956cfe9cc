"""How body models are built of genomes, fitted to frames, quantized and weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.errors import ConfigError
from edgekin.evolution.body_space import BodySpace
from edgekin.evolution.body_weights import COLUMNS, by_part, fresh, inherited
from edgekin.evolution.fitting import F32, Task, Tensors, train
from edgekin.evolution.genome import Genome, Innovations
from edgekin.evolution.problem import Costs, Problem
from edgekin.models.body_graph import BodyGraph

if TYPE_CHECKING:
    from edgekin.models.self_model import SelfModel

#: What a body model learns besides its ellipsoids.
OTHERS = ("chain", "camera", "background")


class Bodies:
    """Of one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.space = problem, BodySpace(problem.robot)

    def trained_from(self, model: SelfModel, innovations: Innovations) -> tuple[Genome, Tensors]:
        """Return the genome and weights of a run's own model."""
        network: Any = model.module
        links = network.links.numpy()
        counts = {int(link): int(n) for link, n in zip(*np.unique(links, return_counts=True), strict=True)}
        genome = self.space.genome(innovations, counts, network.isotropic)
        return self._taken(genome, network)

    def _taken(self, genome: Genome, network: Any) -> tuple[Genome, Tensors]:
        rows = np.concatenate([getattr(network, name).detach().numpy() for name in COLUMNS], axis=1)
        genome, tensors = by_part(self.space, genome, network.links.numpy(), rows.astype(np.float32))
        others = {f"body.{name}": np.array(getattr(network, name).detach().numpy(), dtype=np.float32)
                  for name in OTHERS if hasattr(network, name)}
        return genome, tensors | others

    def first(self, task: Task) -> Tensors:
        """Return the ellipsoids that fitting begins from."""
        from edgekin.models.k3dgs import usual_length

        rng, length = np.random.default_rng(task.seed), usual_length(self.problem.robot)
        if task.parent is not None:
            return inherited(task.parent, task.tensors, task.genome, rng, length)
        return {str(g.innovation): fresh(int(g["count"]), rng, length) for g in task.genome.of_kind("part")}

    def model(self, genome: Genome, tensors: Tensors) -> SelfModel:
        """Return a model with ellipsoids."""
        import torch

        from edgekin.models.k3dgs import ISOTROPIC, PER_PART, Ellipsoids
        from edgekin.models.self_model import SelfModel

        parts = [g for g in genome.of_kind("part") if g["count"]]
        if not parts:
            raise ConfigError("a body model has 0 ellipsoids, expected at least 1", "Give a part some")
        links = [int(g["link"]) for g in parts for _ in range(int(g["count"]))]
        network = Ellipsoids(self.problem.robot, links, self.problem.learn, self.space.isotropic(genome))
        rows = np.concatenate([tensors[str(g.innovation)] for g in parts])
        with torch.no_grad():
            for name, columns in COLUMNS.items():
                getattr(network, name).copy_(torch.from_numpy(np.ascontiguousarray(rows[:, columns])))
            for name in OTHERS:
                if f"body.{name}" in tensors:
                    getattr(network, name).copy_(torch.from_numpy(tensors[f"body.{name}"]))
        room = len(self.space.parts())
        size = next((size for size, n in PER_PART.items() if n * room >= len(links)), "l")
        size += ISOTROPIC if network.isotropic else ""
        return SelfModel("k3dgs", size, self.problem.shape, network, self.problem.learn)

    def trained(self, task: Task, model: SelfModel) -> SelfModel:
        """Fit a model to frames."""
        train(model, task, None, {})
        return model

    def tensors(self, genome: Genome, model: SelfModel) -> tuple[Genome, Tensors]:
        """Return a model's ellipsoids by part, and the genome that they make."""
        return self._taken(genome, model.module)

    def quantized(self, model: SelfModel) -> tuple[bytes, F32]:
        """Return the weight file with parameters in int8, and its probabilities on the validation frames."""
        from edgekin.compile.native import predict
        from edgekin.quantization.calibrate import sigmoid

        blob = self.file(model)
        return blob, sigmoid(predict(blob, self.problem.validation.joint_pos))

    def costs(self, weights: bytes) -> Costs:
        """Return what a body model takes, by the closed form."""
        from edgekin.evolution.body_costs import body_costs
        from edgekin.evolution.costs import figures_of

        return body_costs(weights, self.problem.validation.joint_pos, figures_of(self.problem.core))

    def file(self, model: SelfModel) -> bytes:
        """Return the weight file with parameters in int8."""
        from edgekin.compile.weights import write_body

        graph = model.graph()
        assert isinstance(graph, BodyGraph)
        return write_body(graph, "int8")
