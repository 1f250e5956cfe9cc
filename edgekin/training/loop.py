"""The training loop: Adam under a warm-up and a cosine, to a budget of seconds or steps, resumable at any step.

The learning rate follows the share of the budget that is used up, so a training that was interrupted and resumed ends
on the same schedule. With a budget in steps, the result is the same to the bit as without the interruption (CPU).
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.errors import ConfigError, DataError
from edgekin.models.registry import Batch, HasDepth, OwnTraining
from edgekin.models.self_model import SelfModel, read_safetensors
from edgekin.output import write_atomic
from edgekin.sim.dataset import Dataset
from edgekin.training.losses import (
    ACTIVITY_WEIGHT,
    depth_loss,
    feature_penalty,
    range_penalty,
    silhouette_loss,
    squared_loss,
)
from edgekin.training.metrics import score
from edgekin.training.settings import TrainConfig, fresh_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekin.training.soap import Soap
    from edgekin.training.tail import Tail
    from edgekin.training.teacher import Teacher

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY_S = 20.0
WARM_UP = 0.02  # share of the budget over which the learning rate rises
FINAL_RATE = 1e-3  # of the peak, at the end of the cosine
BETAS = (0.9, 0.98)  # a short memory of squares: a few thousand steps are all there are
AVERAGE_DECAY = 0.96  # of the running mean of the weights, which is what is kept
AVERAGE_EVERY = 4  # steps between two updates of that mean: it costs as much as a tenth of a step
CURVE_POINTS = 12  # looks at held-out samples along the way, for the learning curve only
CURVE_SAMPLES = 200  # unless the network names `curve_samples`, being slow to draw
MANY_THREADS_MACS = 20_000_000


@dataclass
class Progress:
    """Where a training stands; what the callback sees and the checkpoint keeps."""

    step: int = 0
    elapsed_s: float = 0.0  # of training, over all sessions
    loss: list[list[float]] = field(default_factory=list)  # [step, seconds, mean loss since the last point]
    held_out: list[list[float]] = field(default_factory=list)  # [step, seconds, PSNR dB]

    def share(self, config: TrainConfig) -> float:
        """The used share of the budget, 0 to 1."""
        used = self.step / config.steps if config.steps else self.elapsed_s / (config.budget_s or math.inf)
        return min(1.0, used)


@dataclass(frozen=True)
class Split:
    """A training and a test set of the same robot and cameras."""

    train: Dataset
    test: Dataset


Callback = Callable[[Progress, float], None]  # (progress, share of the budget)


def pick_device(name: str) -> str:
    """Return the torch device for auto, cpu or cuda; raises ConfigError for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("device is cuda, but torch finds no GPU", "Use --device auto")
    return "cuda" if there and name in ("auto", "cuda") else "cpu"


def learning_rate(config: TrainConfig, share: float) -> float:
    """Return the learning rate at a share of the budget: linear warm-up, then half a cosine."""
    if share < WARM_UP:
        return config.learning_rate * max(share / WARM_UP, 0.01)
    along = (share - WARM_UP) / (1.0 - WARM_UP)
    return config.learning_rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * along)))


@contextmanager
def _stop_flag() -> Iterator[list[bool]]:
    """Turn SIGINT and SIGTERM into a flag, so that a checkpoint is never written in the middle of a step."""
    flag = [False]
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        flag[0] = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _adam(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam in one kernel where torch has it for this device (a fifth of a step's time), else step by step."""
    import torch

    groups: list[dict[str, Any]] = [{"params": list(network.parameters()), "scale": 1.0}]
    if isinstance(network, OwnTraining):
        groups = network.parameter_groups()
    try:
        return torch.optim.Adam(groups, lr=config.learning_rate, betas=BETAS, fused=True)
    except (RuntimeError, TypeError):  # CPU before torch 2.4
        return torch.optim.Adam(groups, lr=config.learning_rate, betas=BETAS)


def _tail(network: nn.Module, depth_weight: float, activity_weight: float) -> Tail | None:
    """The C library's side of a decoder that it can train; None: all of it is torch's."""
    from edgekin.training.tail import Tail, fits

    if not fits(network):
        return None
    return Tail(network, depth_weight=depth_weight, activity_weight=activity_weight)


def _soap(network: nn.Module, config: TrainConfig, average: dict[str, torch.Tensor]) -> Soap | None:
    """The optimiser of a decoder that learns from fresh poses; None where it does not know the layers.

    From frames alone Adam learns as much: what it does not learn in time it cannot learn by heart.
    """
    from edgekin.training.soap import Soap
    from edgekin.training.tail import parts_of

    parts = parts_of(network)
    if parts is None:
        return None
    name = next(name for name, p in network.named_parameters() if p is parts.spread.weight)
    return Soap(network, parts.spread, average[name], config.learning_rate, BETAS)


class Trainer:
    """Trains one model on one split; the weights that it leaves in the model are the running mean.

    Args:
        model: trained in place.
        split: training set, and test set for the curve.
        config: validated.
        folder: where checkpoints go; None for none.
        teacher: draws most of every batch, for decoders; None: all of it are frames.
    """

    def __init__(self, model: SelfModel, split: Split, config: TrainConfig, folder: Path | None = None,
                 teacher: Teacher | None = None) -> None:
        import torch

        if config.steps is None and config.budget_s is None:
            raise ConfigError("a training needs a budget of seconds or steps", "Set budget_s or steps")
        own = isinstance(model.module, OwnTraining)
        self.teacher, self.fresh = teacher, fresh_of(config.batch_size) if teacher is not None else 0
        if len(split.train) < config.batch_size and teacher is None and not own:
            raise DataError(f"{len(split.train)} training samples are fewer than a batch of {config.batch_size}",
                            "Collect more samples or lower the batch in --config")
        self.model, self.config, self.folder = model, config, folder
        self.device = pick_device(config.device)
        self.network = model.module.to(self.device).train()
        self.joint_pos = torch.as_tensor(split.train.inputs, dtype=torch.float32, device=self.device)
        self.batch = min(config.batch_size - self.fresh, len(split.train))
        self.data = split.train
        self.masks = None if own else torch.as_tensor(split.train.masks, device=self.device)
        looks = min(getattr(self.network, "curve_samples", CURVE_SAMPLES), len(split.test))
        held_out = np.linspace(0, len(split.test) - 1, looks).astype(int)
        self.held_pos, self.held_masks = split.test.inputs[held_out], split.test.masks[held_out]
        self.activity_weight = ACTIVITY_WEIGHT if teacher is not None else 0.0
        self.tail = _tail(self.network, config.depth_weight, self.activity_weight)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.soap = None if teacher is None else _soap(self.network, config, self.average)
        self.optimiser = self.soap or _adam(self.network, config)
        self.progress = Progress()
        self._losses: list[torch.Tensor] = []

    def _index(self) -> torch.Tensor:
        """The indices of this step: epoch by epoch, each in an order of its own that the seed fixes."""
        import torch

        per_epoch = len(self.joint_pos) // self.batch
        epoch, position = divmod(self.progress.step, per_epoch)
        if position == 0 or not hasattr(self, "_order"):
            order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self.joint_pos))
            self._order = torch.as_tensor(order, device=self.device)
        start = position * self.batch
        return self._order[start : start + self.batch]

    def _batch(self, index: torch.Tensor) -> Batch:
        """The samples of this step, for a network that says itself what training minimises."""
        rows, data = index.cpu().numpy(), self.data
        return Batch(rows, self._joints(index), data.packed[rows], None if data.depth is None else data.depth[rows],
                     np.random.default_rng((self.config.seed, self.progress.step)))

    def _joints(self, index: torch.Tensor) -> torch.Tensor:
        """The joint angles of a batch, with the noise that was asked for: of a seed of its own in every step."""
        import torch

        q, sigma = self.joint_pos[index], self.config.angle_noise_rad
        if sigma == 0.0:
            return q
        noise = np.random.default_rng((self.config.seed, self.progress.step, 1)).normal(0.0, sigma, q.shape)
        noise[:, self.data.joint_pos.shape[1] :] = 0.0  # a camera's code
        return q + torch.as_tensor(noise, dtype=q.dtype, device=q.device)

    def _losses_of(self, index: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """What a batch costs, for the curve, and what is minimised: a decoder's has a penalty besides."""
        import torch

        if isinstance(self.network, OwnTraining):
            loss = self.network.training_loss(self._batch(index), share)
            return loss, loss
        assert self.masks is not None
        network, q, target = self.network, self._joints(index), self.masks[index].float()
        truth = self._depth(index) if isinstance(network, HasDepth) else None
        if self.teacher is not None:
            drawn = self.teacher.batch(self.progress.step, self.fresh)
            q, target = (torch.cat([a, torch.from_numpy(b).to(a)]) for a, b in zip((q, target), drawn, strict=True))
            if truth is not None and self.teacher.tells_depth:
                truth = torch.cat([truth, torch.from_numpy(self.teacher.depth(*drawn)).to(truth)])
        if self.tail is not None:
            with self._features(self.tail.head) as features:
                code = self.tail.head(q)
            code = code if self.soap is None else self.soap.turned(code)
            loss, total = self.tail.loss(code, target, truth)
            return loss, total + feature_penalty(features, self.activity_weight)
        with self._features(network) as features:
            logits, depth = network.both(q) if isinstance(network, HasDepth) else (network(q), None)
        loss = silhouette_loss(logits, target)
        total = loss + squared_loss(logits, target) + range_penalty(logits, features, self.activity_weight)
        if truth is not None and depth is not None:
            total = total + self.config.depth_weight * depth_loss(depth[: len(truth)], truth)
        return loss, total

    def _depth(self, index: torch.Tensor) -> torch.Tensor | None:
        """The depth pictures of a batch, where the data have them."""
        import torch

        if self.data.depth is None:
            return None
        return torch.as_tensor(self.data.depth[index.cpu().numpy()], device=self.device)

    def _step(self) -> None:
        import torch

        index, share = self._index(), self.progress.share(self.config)
        rate = learning_rate(self.config, share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        loss, total = self._losses_of(index, share)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.progress.step += 1
        self._losses.append(loss.detach())
        own = self.network if isinstance(self.network, OwnTraining) else None
        if own is not None and isinstance(self.optimiser, torch.optim.Optimizer) and own.adapt(share, self.optimiser):
            self._follow(0.0)
        elif self.progress.step % AVERAGE_EVERY == 0:
            self._follow(min(AVERAGE_DECAY, (1 + self.progress.step) / (10 + self.progress.step)))

    @contextmanager
    def _features(self, network: nn.Module) -> Iterator[list[torch.Tensor]]:
        """The outputs of a network's ReLUs during one forward pass."""
        from torch import nn

        outputs: list[torch.Tensor] = []
        hooks = [module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
                 for module in network.modules() if isinstance(module, nn.ReLU)]
        try:
            yield outputs
        finally:
            for hook in hooks:
                hook.remove()

    def _follow(self, decay: float) -> None:
        """Move the running mean towards the weights; counters are copied."""
        import torch

        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.average[name].copy_(value)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with the running mean as its weights, for the length of a block."""
        live = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self._take_average()
        try:
            yield
        finally:
            self.network.load_state_dict(live)
            if self.soap is not None:
                self.soap.open = True

    def _take_average(self) -> None:
        """Make the running mean the network's weights, for use."""
        self.network.load_state_dict(self.average if self.soap is None else self.soap.plain(self.average))
        if self.soap is not None:
            self.soap.open = False

    def _look(self) -> None:
        """Add a point to both curves."""
        import torch

        at = [float(self.progress.step), self.progress.elapsed_s]
        if self._losses:
            self.progress.loss.append([*at, float(torch.stack(self._losses).mean())])
            self._losses.clear()
        with self._averaged():
            held_out = score(self.model.probabilities(self.held_pos), self.held_masks)
        self.progress.held_out.append([*at, held_out.psnr_db])

    def _check_finite(self) -> None:
        if self._losses and not math.isfinite(float(self._losses[-1])):
            raise ConfigError(f"training diverged at step {self.progress.step}: the loss is not finite",
                              f"Lower learning_rate (now {self.config.learning_rate:g}) in --config")

    def run(self, callback: Callback | None = None) -> Progress:
        """Train to the end of the budget.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM came; a checkpoint was written.
            ConfigError: the loss is not finite any more.
        """
        progress, config = self.progress, self.config
        last, saved = time.monotonic(), time.monotonic()
        with _stop_flag() as stop:
            while (share := progress.share(config)) < 1.0:
                if share * CURVE_POINTS >= len(progress.held_out):
                    self._look()
                    last = time.monotonic()  # looking is no training: a model that is slow to draw keeps its budget
                self._step()
                now = time.monotonic()
                progress.elapsed_s += now - last
                last = now
                if progress.step % 16 == 0:
                    self._check_finite()
                    if callback is not None:
                        callback(progress, share)
                if self.folder is not None and (stop[0] or now - saved > CHECKPOINT_EVERY_S):
                    self.save()
                    saved = now
                if stop[0]:
                    raise KeyboardInterrupt
        self._look()
        self._take_average()
        if isinstance(self.network, OwnTraining):
            self.network.finish()
        self.network.eval()
        return progress

    def save(self) -> None:
        """Write the checkpoint: weights, running mean, Adam's moments; step, seconds and curves in its metadata."""
        from safetensors.torch import save

        assert self.folder is not None
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, entry in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{k}": v for k, v in entry.items()}
        if self._losses:
            import torch

            tensors["losses"] = torch.stack(self._losses)
        content = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        write_atomic(self.folder / CHECKPOINT, save(content, metadata={"progress": json.dumps(asdict(self.progress))}))

    def resume(self) -> None:
        """Take up the checkpoint.

        Raises:
            ConfigError: it is damaged or belongs to another model.
        """
        assert self.folder is not None
        path = self.folder / CHECKPOINT
        tensors, progress = read_safetensors(path, "progress")
        tensors = {k: v.to(self.device) for k, v in tensors.items()}
        parts: dict[str, dict[str, Any]] = {"model": {}, "average": {}}
        moments: dict[int, dict[str, Any]] = {}
        try:
            for name, value in tensors.items():
                room, _, rest = name.partition(".")
                if room == "adam":
                    number, _, what = rest.partition(".")
                    moments.setdefault(int(number), {})[what] = value
                elif room in parts:
                    parts[room][rest] = value
            self.network.load_state_dict(parts["model"])
            for name, value in self.average.items():
                value.copy_(parts["average"][name])
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
            self.progress = Progress(**progress)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"checkpoint {path} does not fit this run: {str(error).splitlines()[0]}",
                              "Train again with --force") from error
        self._losses = list(tensors["losses"]) if "losses" in tensors else []


def threads_for(macs: int) -> int:
    """Return how many threads to train a model of so many MACs a frame with; OMP_NUM_THREADS stands over it.

    One for the compact sizes: their layers take well under a millisecond, so the threads of a second core spend their
    time at barriers, and where that core is busy with something else a step takes ten times as long.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return 1 if macs < MANY_THREADS_MACS else len(os.sched_getaffinity(0))
