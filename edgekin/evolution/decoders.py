"""How decoders are built of genomes, distilled, quantized and weighed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.evolution.decoder_space import DecoderSpace
from edgekin.evolution.decoder_weights import Moments, cell_shares, inherited, silenced
from edgekin.evolution.fitting import F32, Task, Tensors, train
from edgekin.evolution.genome import Genome, Innovations
from edgekin.evolution.problem import Costs, Problem

if TYPE_CHECKING:
    from edgekin.models.self_model import SelfModel
    from edgekin.quantization.qgraph import QuantGraph

#: Poses that ranges are observed on; one observer for all: what costs a final compilation minutes would cost each here.
CALIBRATION, METHOD = 96, "percentile"


class Decoders:
    """Of one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.space = problem, DecoderSpace(problem.shape)

    def trained_from(self, model: SelfModel, innovations: Innovations) -> tuple[Genome, Tensors]:
        """Return the genome of a run's own model, without cells that no frame shows the robot in, and its weights."""
        genome = self.space.of_size(model.size, innovations)
        shares = cell_shares(self.problem.often, self.space.cell_px(genome), self.space.grid(genome))
        cells = genome.of_kind("cells")[0].having(keep=float((shares > 0).mean()))
        return self.tensors(genome.put(cells), model)

    def first(self, task: Task) -> Tensors:
        """Return the weights that training begins from."""
        rng = np.random.default_rng(task.seed)
        if task.parent is None:
            _, tensors = self.tensors(task.genome, self.fresh(task.genome, task.seed))
        else:
            moments = self.moments(task.parent, task.tensors)
            tensors = inherited(self.space, task.parent, task.tensors, task.genome, rng, moments)
        return silenced(tensors, task.genome, self.space, self.problem.often, rng)

    def fresh(self, genome: Genome, seed: int) -> SelfModel:
        """Return a model with random weights."""
        from edgekin.models import build_model

        return build_model("neurokin", self.space.size(genome), self.problem.shape, seed % 2**31)

    def _layers(self, genome: Genome, model: SelfModel) -> list[tuple[str, Any]]:
        from torch import nn

        layers: Any = model.module.layers
        weighted = [m for m in layers if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        return list(zip((str(g.innovation) for g in self.space.layers(genome)), weighted, strict=True))

    def moments(self, genome: Genome, tensors: Tensors) -> Moments:
        """Return the second moments of every layer's outputs on training poses."""
        import torch
        from torch import nn

        model, found = self.model(genome, tensors), {}
        names = iter(self.space.layers(genome))
        x = torch.as_tensor(self._poses[0], dtype=torch.float32)
        with torch.no_grad():
            for layer in model.module.layers:  # type: ignore[union-attr]
                x = layer(x)
                if isinstance(layer, nn.ReLU):
                    gene = next(names)
                    n = self.space.outputs(gene)
                    units = x.reshape(len(x), n, -1).movedim(1, -1).reshape(-1, n).double()
                    found[str(gene.innovation)] = (units.T @ units / len(units)).numpy()
        return found

    def model(self, genome: Genome, tensors: Tensors) -> SelfModel:
        """Return a model with weights."""
        import torch
        from torch import nn

        model = self.fresh(genome, 0)
        with torch.no_grad():
            for name, layer in self._layers(genome, model):
                weight = tensors[f"{name}.weight"]
                if isinstance(layer, nn.ConvTranspose2d):
                    weight = weight.swapaxes(0, 1)
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
                layer.bias.copy_(torch.from_numpy(tensors[f"{name}.bias"]))
        return model

    def tensors(self, genome: Genome, model: SelfModel) -> tuple[Genome, Tensors]:
        """Return the genome, as it was, and a model's weights by innovation numbers."""
        from torch import nn

        out: Tensors = {}
        for name, layer in self._layers(genome, model):
            weight: F32 = layer.weight.detach().numpy()
            turned = weight.swapaxes(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
            out[f"{name}.weight"] = np.array(turned, dtype=np.float32)
            out[f"{name}.bias"] = np.array(layer.bias.detach().numpy(), dtype=np.float32)
        return genome, out

    @cached_property
    def _poses(self) -> tuple[np.ndarray, np.ndarray]:
        return self.problem.train.joint_pos[:CALIBRATION].astype(np.float64), self.problem.validation.joint_pos

    def trained(self, task: Task, model: SelfModel) -> SelfModel:
        """Distil a model from the body model."""
        from edgekin.training.settings import BODY
        from edgekin.training.teacher import Poses, Teacher

        poses = Poses.of(self.problem.train, self.problem.robot.limits)
        train(model, task, Teacher(self.problem.body, poses, task.seed), {"teacher": BODY})
        return model

    def quantized(self, model: SelfModel) -> tuple[QuantGraph, F32]:
        """Return the integer decoder and its probabilities on the validation frames."""
        from edgekin.compile.native import predict_int8
        from edgekin.models.graph import Graph
        from edgekin.quantization.calibrate import CalibrationSource, Calibrator, sigmoid
        from edgekin.quantization.profile import CalibrationProfile
        from edgekin.quantization.qgraph import quantize_graph

        graph = model.graph()
        assert isinstance(graph, Graph)
        poses, seen = self._poses
        source = CalibrationSource(CalibrationProfile(), 0, "the training split")
        scales = Calibrator(graph, poses, source).single(METHOD).scales
        quantized = quantize_graph(graph, scales)
        return quantized, sigmoid(predict_int8(quantized, seen))

    def costs(self, weights: QuantGraph) -> Costs:
        """Return what an integer decoder takes, by the closed form."""
        from edgekin.evolution.costs import figures_of
        from edgekin.evolution.decoder_costs import decoder_costs

        return decoder_costs(weights, self.problem.core, figures_of(self.problem.core))

    def file(self, model: SelfModel) -> bytes:
        """Return the weight file of the integer decoder."""
        from edgekin.compile.weights import write_weights

        return write_weights(self.quantized(model)[0])
