"""FieldGraph -> ONNX: the plain ray-marcher, every sample of every ray, in standard operators.

The rays are constants; joint angles become the frames' poses by Rodrigues' formula, written as constants times sine and
cosine. Rays go through the network in blocks, so that its features need megabytes, not gigabytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import MissingExtra
from edgekin.models.field_graph import DARKEST, EMPTY, MOST, SAMPLES, FieldGraph, frame_offsets, ray_table
from edgekin.robot.spec import Joint

#: Rays of a block: 64 samples of each make features of 16 MB.
BLOCK = 512
OPSET = 17


def export_field(graph: FieldGraph) -> bytes:
    """Return a free-form model as a serialized and checked ONNX model for batch 1.

    Args:
        graph: joints (J,) rad -> logits (V, H, W).

    Returns:
        A ModelProto with input `joints` (1, J) float32 and output `logits` (1, V, H, W) float32.

    Raises:
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "train") from error
    writer = _Writer(graph)
    writer.write()
    helper, shape = onnx.helper, [1, graph.n_views, graph.height, graph.width]
    model = helper.make_model(
        helper.make_graph(writer.nodes, "edgekin-field",
                          [helper.make_tensor_value_info("joints", onnx.TensorProto.FLOAT, [1, graph.n_joints])],
                          [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, shape)], writer.constants),
        opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgekin", ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class _Writer:
    """Nodes and constants in the order they are made; names are numbers."""

    def __init__(self, graph: FieldGraph) -> None:
        self.graph, self.nodes, self.constants = graph, list[Any](), list[Any]()
        self.known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Return the name of a constant; equal ones are one."""
        from onnx import numpy_helper

        array = np.array(value, dtype=dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = f"c{len(self.known)}"
            self.constants.append(numpy_helper.from_array(array, self.known[key]))
        return self.known[key]

    def op(self, kind: str, *inputs: str | float | NDArray[Any], **attrs: Any) -> str:
        """Add a node and return its output's name; numbers and arrays become constants."""
        from onnx import helper

        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        out = attrs.pop("out", f"v{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, names, [out], **attrs))
        return str(out)

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        return self.op("Slice", x, *(self.constant([n], np.int64) for n in (start, stop, axis)))

    def total(self, x: str, axis: int) -> str:
        return self.op("ReduceSum", x, self.constant([axis], np.int64), keepdims=1)

    def write(self) -> None:
        """Joints to logits."""
        graph = self.graph
        poses = self.poses()
        centre = self.turn_and_place(poses[-1])[1]
        pose = self.pose_features()
        origin, direction, near = ray_table(graph.robot)
        depths = []
        for start in range(0, len(origin), BLOCK):
            block = slice(start, start + BLOCK)
            points, step = self.samples((origin[block], direction[block]), near, centre)
            depths.append(self.optical_depth(self.field(self.coordinates(poses, points), pose), step))
        depth = self.op("Concat", *depths, axis=0)  # (V H W, 1)
        background = graph.weights.get("background")
        depth = self.op("Add", depth, EMPTY if background is None else np.logaddexp(0.0, background)[:, None])
        depth = self.op("Sub", DARKEST, self.op("Softplus", self.op("Sub", DARKEST, depth)))
        light = self.op("Log", self.op("Sub", 1.0, self.op("Exp", self.op("Neg", depth))))
        shape = self.constant((1, graph.n_views, graph.height, graph.width), np.int64)
        self.op("Reshape", self.op("Add", light, depth), shape, out="logits")

    def poses(self) -> list[str]:
        """The (4, 4) poses of the frames."""
        robot, found = self.graph.robot, {0: self.constant(self.graph.robot.base)}
        coordinate, needed = 0, self.ancestors()
        for joint in robot.joints:
            index = coordinate if joint.actuated else None
            coordinate += joint.actuated
            if joint.child in needed:
                found[joint.child] = self.op("MatMul", found[joint.parent], self.motion(joint, index))
        return [found[link] for link in self.graph.frames]

    def ancestors(self) -> set[int]:
        needed = set(self.graph.frames)
        for joint in reversed(self.graph.robot.joints):
            if joint.child in needed:
                needed.add(joint.parent)
        return needed

    def motion(self, joint: Joint, index: int | None) -> str:
        """origin @ motion: constants times 1, sin q and 1 - cos q; only turning joints come into the frames."""
        k = np.zeros((4, 4))
        x, y, z = joint.axis
        k[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
        if joint.kind == "prismatic":
            shift = np.eye(4)
            shift[:3, 3] = joint.rest * np.asarray(joint.axis)
            return self.constant(joint.origin @ shift)
        if joint.kind == "fixed":
            return self.constant(joint.origin)
        if index is None:
            turn = np.eye(4) + math.sin(joint.rest) * k + (1 - math.cos(joint.rest)) * (k @ k)
            return self.constant(joint.origin @ turn)
        q = self.slice("joints", 1, index, index + 1)
        sine = self.op("Mul", self.op("Sin", q), joint.origin @ k)
        rest = self.op("Mul", self.op("Sub", 1.0, self.op("Cos", q)), joint.origin @ k @ k)
        return self.op("Add", self.op("Add", sine, rest), joint.origin)

    def turn_and_place(self, pose: str) -> tuple[str, str]:
        """The rotation (3, 3) and the place (1, 3) of a pose."""
        top = self.slice(pose, 0, 0, 3)
        return self.slice(top, 1, 0, 3), self.op("Transpose", self.slice(top, 1, 3, 4), perm=[1, 0])

    def samples(self, rays: tuple[NDArray[np.float32], NDArray[np.float32]], near: float,
                centre: str) -> tuple[str, str]:
        """Points (R * S, 3) m and steps (R, 1) of rays, as ffksm_march.samples_of has them; 0 where a ray passes by."""
        origin, direction = rays
        to = self.op("Sub", centre, origin)
        along = self.total(self.op("Mul", to, direction), 1)
        off = self.op("Sub", self.total(self.op("Mul", to, to), 1), self.op("Mul", along, along))
        half = self.op("Sqrt", self.op("Max", self.op("Sub", self.graph.radius**2, off), 0.0))
        enter = self.op("Max", self.op("Sub", along, half), near)
        length = self.op("Sub", self.op("Max", self.op("Add", along, half), enter), enter)
        at = ((np.arange(SAMPLES) + 0.5) / SAMPLES)[None]
        t = self.op("Add", enter, self.op("Mul", length, at))  # (R, S)
        moved = self.op("Mul", self.reshape(t, -1, SAMPLES, 1), direction[:, None])
        points = self.reshape(self.op("Add", moved, origin[:, None]), -1, 3)
        return points, self.op("Mul", length, 1.0 / (2.0 * self.graph.radius))

    def coordinates(self, poses: list[str], points: str) -> str:
        """(N, 3 K): about the pivot, in radii, times pi."""
        parts = []
        for pose, offset in zip(poses, frame_offsets(self.graph.robot, self.graph.frames), strict=True):
            turn, place = self.turn_and_place(pose)
            local = self.op("MatMul", self.op("Sub", points, place), turn)
            parts.append(self.op("Sub", local, offset[None]))
        return self.op("Mul", self.op("Concat", *parts, axis=1), math.pi / self.graph.radius)

    def encode(self, x: str, bands: int) -> str:
        parts = [x]
        for band in range(bands):
            angle = self.op("Mul", x, 2.0**band)
            parts += [self.op("Sin", angle), self.op("Cos", angle)]
        return self.op("Concat", *parts, axis=1)

    def linear(self, x: str, name: str) -> str:
        weights = self.graph.weights
        return self.op("Gemm", x, weights[f"field.{name}.weight"], weights[f"field.{name}.bias"], transB=1)

    def pose_features(self) -> str:
        """(1, width): what the joints add before the joining layer's ReLU."""
        graph, shape = self.graph, self.graph.shape
        if shape.joints:
            joints = self.slice("joints", 1, graph.n_joints - shape.joints, graph.n_joints)
        else:
            joints = self.constant(np.zeros((1, 1)))
        h = self.encode(joints, shape.joint_bands)
        for layer in ("joints.0", "joints.2"):
            h = self.op("Relu", self.linear(h, layer))
        weight = graph.weights["field.join.weight"]
        return self.op("Gemm", h, weight[:, shape.width :], graph.weights["field.join.bias"], transB=1)

    def field(self, x: str, pose: str) -> str:
        """(N, 2): visibility's log-odds and raw density."""
        shape, h = self.graph.shape, self.encode(x, self.graph.shape.point_bands)
        for layer in ("points.0", "points.2"):
            h = self.op("Relu", self.linear(h, layer))
        joined = self.op("MatMul", h, self.graph.weights["field.join.weight"][:, : shape.width].T)
        return self.linear(self.linear(self.op("Relu", self.op("Add", joined, pose)), "narrow"), "out")

    def optical_depth(self, raw: str, step: str) -> str:
        """(R, 1) nats of raw (R * S, 2)."""
        density = self.op("Softplus" if self.graph.shape.soft else "Relu", self.slice(raw, 1, 1, 2))
        density = self.reshape(density, -1, SAMPLES)
        stopped = self.op("Sub", 1.0, self.op("Exp", self.op("Neg", self.op("Mul", density, step))))
        seen = self.reshape(self.op("Sigmoid", self.slice(raw, 1, 0, 1)), -1, SAMPLES)
        opacity = self.op("Min", self.op("Mul", stopped, seen), MOST)
        return self.total(self.op("Neg", self.op("Log", self.op("Sub", 1.0, opacity))), 1)
