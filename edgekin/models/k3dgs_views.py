"""K-3DGS from many cameras: each sample brings the code of its own (edgekin.robot.views), and the body is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from edgekin.errors import ConfigError
from edgekin.models import body_reference
from edgekin.models.body import Body
from edgekin.models.k3dgs import Ellipsoids, dense_loss, drawn, drawn_with_depth, loss_of
from edgekin.models.registry import Batch, Plan
from edgekin.robot.spec import RobotSpec
from edgekin.robot.views import CODE, camera_of


class SeenFromAnywhere(Ellipsoids):
    """The self-model: (B, J + 16) rad and camera codes -> logits (B, 1, H, W)."""

    def __init__(self, plan: Plan, links: list[int], isotropic: bool) -> None:
        assert plan.robot is not None
        for name in ("background", "camera"):
            if name in plan.learn:
                raise ConfigError(f"a {name} cannot be learned from many cameras: each has its own",
                                  f"Leave {name} out of --learn")
        super().__init__(plan.robot, links, plan.learn, isotropic)
        self.shape = plan.shape

    def _from(self, code: Tensor) -> tuple[RobotSpec, Body]:
        """The robot before the camera of a code, and the C library's side of it."""
        numbers = code.detach().cpu().double().numpy()
        return self._before(lambda: (camera_of(numbers, self.robot.cameras[0]),), numbers.tobytes())

    def _groups(self, x: Tensor) -> Iterator[tuple[Tensor, RobotSpec, Body]]:
        """The rows of a batch, camera by camera."""
        codes, which = torch.unique(x[:, -CODE:], dim=0, return_inverse=True)
        for number, code in enumerate(codes):
            yield ((which == number).nonzero()[:, 0], *self._from(code))

    def _pictures(self, x: Tensor, draw: Callable[[Tensor, RobotSpec, Body], Tensor]) -> Tensor:
        """What `draw` gives of the angles of each camera's rows, in the order of x."""
        parts = [(rows, draw(x[rows, :-CODE], spec, body)) for rows, spec, body in self._groups(x)]
        if not parts:
            return x.new_zeros((0, 1, self.shape.height, self.shape.width))
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat([pictures for _, pictures in parts])[order]

    def forward(self, q: Tensor) -> Tensor:
        """Predict log-odds; (B, J + 16) -> (B, 1, H, W)."""
        flat = self.flat()

        def draw(angles: Tensor, spec: RobotSpec, body: Body) -> Tensor:
            if angles.is_cuda:
                return body_reference.logits(spec, self.links.long(), self.optics, flat, angles)
            return drawn(flat, angles, body)

        return self._pictures(q, draw)

    def both(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Predict log-odds and depth in m, each (B, 1, H, W), of (B, J + 16)."""
        flat = self.flat()
        depth = self._pictures(q, lambda angles, _, body: drawn_with_depth(flat, angles, body)[1])
        return self(q), depth

    def training_loss(self, batch: Batch, share: float) -> Tensor:
        """Return the mean loss per pixel of a batch, each sample before its own camera."""
        if batch.q.is_cuda:
            return dense_loss(self(batch.q), batch.packed)
        flat = self.flat()
        total = flat.new_zeros(())
        for rows, _, body in self._groups(batch.q):
            part = loss_of(flat, batch.q[rows, :-CODE], batch.packed[rows.numpy()], body)
            total = total + part * (len(rows) / len(batch.q))
            self.travel += torch.from_numpy(body.travel())
        return total
