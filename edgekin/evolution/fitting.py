"""An evaluation: a genome and its parent's weights in; trained, quantized, scored and weighed weights out.

A pure function of its task, so it may run in any process of any machine, and again where one died.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.evolution.genome import Genome
from edgekin.evolution.problem import Costs, Problem

if TYPE_CHECKING:
    from edgekin.models.self_model import SelfModel

F32 = NDArray[np.float32]
Tensors = dict[str, F32]


@dataclass(frozen=True)
class Task:
    """What is to be evaluated."""

    problem: Problem
    genome: Genome
    steps: int  # of training; 0: none
    seed: int
    parent: Genome | None = None  # whose weights they are; None: fresh weights
    tensors: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came out."""

    psnr_db: float  # INT8, on the validation frames
    iou: float
    costs: Costs
    genome: Genome  # as it came out: training may drop ellipsoids
    tensors: Tensors
    seconds: float


def evaluate(task: Task) -> Outcome:
    """Train, quantize, score and weigh.

    Raises:
        ConfigError: there are no cost figures for the core.
    """
    import torch

    from edgekin.training.metrics import score

    start = time.perf_counter()
    torch.set_num_threads(1)
    way = ways_of(task.problem)
    tensors = way.first(task)
    model = way.model(task.genome, tensors)
    if task.steps:
        model = way.trained(task, model)
    weights, probability = way.quantized(model)
    found = score(probability, task.problem.validation.masks)
    genome, tensors = way.tensors(task.genome, model)
    return Outcome(found.psnr_db, found.iou, way.costs(weights), genome, tensors, time.perf_counter() - start)


def ways_of(problem: Problem) -> Any:
    """Return how models of a problem's kind are handled."""
    if problem.kind == "decoder":
        from edgekin.evolution.decoders import Decoders

        return Decoders(problem)
    from edgekin.evolution.bodies import Bodies

    return Bodies(problem)


def train(model: SelfModel, task: Task, teacher: Any, config: dict[str, Any]) -> None:
    """Train a model in place for the steps of a task."""
    from edgekin.sim.dataset import take
    from edgekin.training.loop import Split, Trainer
    from edgekin.training.settings import TrainConfig

    settings = TrainConfig(model=model.name, size=model.size, steps=task.steps, seed=task.seed % 2**31,
                           device="cpu", **config).validated()
    model.module.curve_samples = 1  # type: ignore[assignment]
    problem = task.problem
    Trainer(model, Split(problem.train, take(problem.validation, slice(0, 1))), settings, None, teacher).run()
