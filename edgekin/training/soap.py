"""Adam in the eigenbasis of the gradients: what a distillation learns in a third of plain Adam's steps.

Adam scales every weight's step by the size of that weight's own gradients, which is all it can do about weights that
matter together. Turned into the eigenvectors of the gradients' covariance, rows and columns of a matrix matter one by
one. The covariances are running means; the bases follow them by one orthogonal iteration every few steps.

A decoder's largest matrix, which spreads a code over the picture, would cost more to turn than the rest of a step. It
is kept turned: what it is multiplied with is turned instead.

Source: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024 (arXiv 2409.11321).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Longer sides are left as they are.
MAX_SIDE = 256
#: Steps between two looks at a gradient's covariance, what a look leaves of the earlier ones, and steps between turns.
WATCH_EVERY, COVARIANCE_DECAY, TURN_EVERY = 10, 0.9, 20


class _Side:
    """The basis of a matrix's rows or columns, and the covariance of the gradients, in that basis."""

    def __init__(self, like: Tensor, size: int) -> None:
        self.basis = torch.eye(size, dtype=like.dtype, device=like.device)
        self.covariance = torch.zeros_like(self.basis)
        self.seen = False

    def watch(self, product: Tensor) -> None:
        self.covariance.lerp_(product, 1.0 - COVARIANCE_DECAY if self.seen else 1.0)
        self.seen = True

    def turn(self, first: bool) -> tuple[Tensor, Tensor]:
        """Move the basis; return the old basis's turn into it, and the order of the old vectors that it began with."""
        if first:
            jitter = 1e-12 * torch.eye(len(self.covariance), dtype=self.basis.dtype, device=self.basis.device)
            turn = torch.linalg.eigh(self.covariance + jitter)[1].flip(1)
            order = torch.arange(len(turn), device=turn.device)
        else:
            order = torch.argsort(self.covariance.diagonal(), descending=True)
            turn = torch.linalg.qr(self.covariance[:, order])[0]
        self.basis = self.basis @ turn
        self.covariance = turn.T @ self.covariance @ turn
        return turn, order


class _Matrix:
    """A weight as a matrix, and its twin in the basis, which Adam moves."""

    def __init__(self, weight: nn.Parameter, kept_turned: bool) -> None:
        self.weight, self.kept_turned = weight, kept_turned
        flat = weight.detach().reshape(len(weight), -1)
        self.out, self.inner = (_Side(flat, n) if n <= MAX_SIDE else None for n in flat.shape)
        if kept_turned:
            self.out = None
        self.twin = weight if kept_turned else nn.Parameter(flat.clone())

    def sides(self) -> list[tuple[str, _Side]]:
        """The sides that have a basis, named."""
        return [(name, side) for name, side in (("out", self.out), ("in", self.inner)) if side is not None]

    def take(self, watched: bool) -> None:
        """Turn the weight's gradient into the twin's, and look at its covariance where asked."""
        assert self.weight.grad is not None
        grad = self.weight.grad.reshape(len(self.weight), -1)
        if not self.kept_turned:
            grad = grad if self.out is None else self.out.basis.T @ grad
            grad = grad if self.inner is None else grad @ self.inner.basis
            self.twin.grad = grad
        if watched and self.out is not None:
            self.out.watch(grad @ grad.T)
        if watched and self.inner is not None:
            self.inner.watch(grad.T @ grad)

    def give(self) -> None:
        """Turn the twin back into the weight."""
        if not self.kept_turned:
            flat = self.twin.detach() if self.out is None else self.out.basis @ self.twin.detach()
            flat = flat if self.inner is None else flat @ self.inner.basis.T
            self.weight.detach().copy_(flat.view_as(self.weight))

    def turn(self, first: bool, state: dict[str, Tensor], carried: list[Tensor]) -> None:
        """Move the bases; the twin, Adam's moments and what is carried along follow."""
        along = [self.twin.detach(), *([state["exp_avg"]] if state else []), *carried]
        if self.out is not None:
            turn, order = self.out.turn(first)
            for tensor in along:
                tensor.copy_(turn.T @ tensor)
            if state:
                state["exp_avg_sq"].copy_(state["exp_avg_sq"][order])
        if self.inner is not None:
            turn, order = self.inner.turn(first)
            for tensor in along:
                tensor.copy_(tensor @ turn)
            if state:
                state["exp_avg_sq"].copy_(state["exp_avg_sq"][:, order])


class Soap:
    """Adam in the eigenbasis of the gradients, for a decoder.

    Args:
        network: whose parameters it moves; from the second step on, the weight of `spread` is in its basis.
        spread: the layer whose weight is kept turned.
        carried: what follows that weight's turns: its running mean.
        learning_rate: peak.
        betas: of Adam.
    """

    def __init__(self, network: nn.Module, spread: nn.Linear, carried: Tensor, learning_rate: float,
                 betas: tuple[float, float]) -> None:
        self.steps, self.open = 0, True
        self._parameters, self._carried = list(network.parameters()), carried
        self._name = next(name for name, p in network.named_parameters() if p is spread.weight)
        self._matrices = [_Matrix(p, p is spread.weight) for p in self._parameters if p.ndim > 1]
        self._spread = next(m for m in self._matrices if m.kept_turned)
        twins = {id(m.weight): m.twin for m in self._matrices}
        group = {"params": [twins.get(id(p), p) for p in self._parameters], "scale": 1.0}
        try:
            self._adam = torch.optim.Adam([group], lr=learning_rate, betas=betas, fused=True)
        except (RuntimeError, TypeError):  # CPU before torch 2.4
            self._adam = torch.optim.Adam([group], lr=learning_rate, betas=betas)
        self.param_groups = self._adam.param_groups
        spread.register_forward_pre_hook(lambda _module, inputs: (self.turned(inputs[0]),) if self.open else None)

    def turned(self, code: Tensor) -> Tensor:
        """Return what `spread` takes, (B, units), in the basis that its weight is in."""
        side = self._spread.inner
        return code if side is None else code @ side.basis

    def plain(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a state of the network, trained or averaged, with the weight of `spread` turned back."""
        side = self._spread.inner
        return state if side is None else {**state, self._name: state[self._name] @ side.basis.T}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for p in self._parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters; the first step only looks at the gradients."""
        first = self.steps == 0
        for matrix in self._matrices:
            matrix.take(watched=self.steps % WATCH_EVERY == 0)
        if not first:
            self._adam.step()
            for matrix in self._matrices:
                matrix.give()
        if self.steps % TURN_EVERY == 0:
            for matrix in self._matrices:
                state = self._adam.state.get(matrix.twin, {})
                matrix.turn(first, state, [self._carried] if matrix is self._spread else [])
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return Adam's state and, numbered from the parameters' number on, the matrices' twins and bases."""
        state = dict(self._adam.state_dict()["state"])
        for number, matrix in enumerate(self._matrices, len(self._parameters)):
            state[number] = {"steps": torch.tensor(self.steps)}
            if not matrix.kept_turned:
                state[number]["twin"] = matrix.twin.detach()
            for name, side in matrix.sides():
                state[number] |= {f"{name}_basis": side.basis, f"{name}_covariance": side.covariance}
        return {"state": state, "param_groups": self._adam.state_dict()["param_groups"]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned; the network and the running mean have theirs already.

        Raises:
            KeyError: it is of another kind of optimiser.
        """
        # Clones: a product's last bits may depend on where in memory its factors begin, and a file's begin anywhere.
        entries = {k: {what: value.clone() for what, value in e.items()} for k, e in state["state"].items()}
        n = len(self._parameters)
        self._adam.load_state_dict({"state": {k: v for k, v in entries.items() if k < n},
                                    "param_groups": state["param_groups"]})
        self.param_groups = self._adam.param_groups
        for number, matrix in enumerate(self._matrices, n):
            entry = entries[number]
            self.steps = int(entry["steps"])
            if not matrix.kept_turned:
                matrix.twin.copy_(entry["twin"])
            for name, side in matrix.sides():
                side.basis, side.covariance = entry[f"{name}_basis"], entry[f"{name}_covariance"]
                side.seen = self.steps > 0
