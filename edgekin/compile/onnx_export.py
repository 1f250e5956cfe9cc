"""Graph -> ONNX, node by node: FP32, an FP16 body, or explicit Q/DQ INT8 as TensorRT and ONNX Runtime read it.

Placement of Q/DQ: a pair in front of each quantized layer's input and none behind it; all zero-points 0; int8 only;
weights per output channel (axis 0), transposed convolutions per tensor, since tools disagree on their axis; biases
stay in the body's precision. Layers with few channels and the head stay in the body's precision: INT8 gains nothing
there. Data movement and resizing happen between the pairs, where TensorRT moves the pair through them by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import DEPTH, INPUT, OUTPUT
from edgekin.errors import ConfigError, MissingExtra
from edgekin.models.graph import DepthHead, Graph, Layer
from edgekin.models.reference import shapes
from edgekin.quantization.affine import Q_MAX, channel_scales, quantize

if TYPE_CHECKING:
    import onnx

#: sin and cos lie in [-1, 1]: the scale that docs/formats.md fixes for them.
SINCOS_SCALE = 1.0 / Q_MAX


@dataclass(frozen=True)
class OnnxOptions:
    """Which flavour to write."""

    scales: Mapping[str, float] | None = None  # layer name -> output scale; None: no Q/DQ
    body: str = "fp32"  # fp32 | fp16; inputs and outputs are FP32 in both
    opset: int = 17  # 19 or later for Q/DQ with FP16 scales
    min_channels: int = 16  # layers with fewer channels in, and a head with fewer out, keep the body's precision
    weight_pairs: bool = False  # weights as floats behind a Q and a DQ (TensorRT 8) instead of int8 behind a DQ


def export_onnx(graph: Graph, options: OnnxOptions | None = None) -> bytes:
    """Return the graph as a serialized and checked ONNX model for batch 1.

    Args:
        graph: joints (J,) rad -> logits (V, H, W).
        options: the flavour; FP32 at opset 17 by default.

    Returns:
        A ModelProto with input `joints` (1, J) float32 and output `logits` (1, V, H, W) float32; where the graph has a
        depth head, also `depth` of that shape, m.

    Raises:
        ConfigError: options that contradict each other, or a layer without its scale.
        MissingExtra: onnx is not installed.
    """
    options = options or OnnxOptions()
    if options.body not in ("fp32", "fp16"):
        raise ConfigError(f"ONNX body is {options.body!r}, expected fp32 or fp16")
    if options.body == "fp16" and options.scales is not None and options.opset < 19:
        raise ConfigError(f"Q/DQ with FP16 scales needs opset 19, got {options.opset}", "Ask for opset 19")
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "train") from error

    builder = _Builder(graph, options)
    for layer in graph.layers:
        builder.add(layer)
    model = builder.finish()
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def quantized_layers(graph: Graph, min_channels: int) -> set[str]:
    """Return the names of the layers that the Q/DQ flavour computes in int8."""
    weighted = [layer for layer in graph.layers if layer.weight is not None]
    names = set()
    for layer in weighted:
        assert layer.weight is not None
        out_axis, in_axis = (1, 0) if layer.kind == "convt" else (0, 1)
        head = layer is weighted[-1]
        narrow = layer.weight.shape[in_axis] < min_channels or (head and layer.weight.shape[out_axis] < min_channels)
        if not narrow:
            names.add(layer.name)
    return names


@dataclass
class _Builder:
    """The model under construction; `tensor` is the activation that the next layer reads."""

    graph: Graph
    options: OnnxOptions
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    tensor: str = INPUT
    scale: float | None = None  # of `tensor`, where it is known
    cast_done: bool = False

    def __post_init__(self) -> None:
        self.int8 = (quantized_layers(self.graph, self.options.min_channels)
                     if self.options.scales is not None else set())
        self.dtype = np.float16 if self.options.body == "fp16" else np.float32
        sizes = shapes(self.graph)
        self.channels_into = {layer.name: size[0] for layer, size in zip(self.graph.layers, sizes, strict=False)}

    # ---- pieces ----

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}", **attributes))
        return output

    def step(self, op: str, inputs: list[str], layer: Layer, **attributes: Any) -> None:
        """Append a layer's node, its ReLU, and make the result the current tensor."""
        self.tensor = self.node(op, inputs, layer.name, **attributes)
        if layer.attrs.get("relu"):
            self.tensor = self.node("Relu", [self.tensor], f"{layer.name}_relu")

    def cast(self, to_float32: bool, output: str) -> None:
        from onnx import TensorProto

        to = TensorProto.FLOAT if to_float32 else TensorProto.FLOAT16
        self.tensor = self.node("Cast", [self.tensor], output, to=to)

    def enter_body(self) -> None:
        """Cast to the body's precision, once; angles and their sines are computed in FP32 before it."""
        if not self.cast_done and self.dtype is np.float16:
            self.cast(False, "body")
        self.cast_done = True

    def quantize_input(self, layer: Layer) -> str:
        """Return the current tensor behind a Q and a DQ."""
        if self.scale is None:
            raise ConfigError(f"layer {layer.name} has no input scale", "Calibrate the graph again")
        scale = self.constant(f"{layer.name}_x_scale", np.array(self.scale, self.dtype))
        zero = self.constant(f"{layer.name}_x_zero", np.array(0, np.int8))
        q = self.node("QuantizeLinear", [self.tensor, scale, zero], f"{layer.name}_x_q")
        return self.node("DequantizeLinear", [q, scale, zero], f"{layer.name}_x_dq")

    def weight(self, layer: Layer) -> str:
        """Return the layer's weights as a tensor of the body's precision, behind a DQ where the layer is int8."""
        assert layer.weight is not None
        if layer.name not in self.int8:
            return self.constant(f"{layer.name}_w", layer.weight.astype(self.dtype))
        axis = None if layer.kind == "convt" else 0
        # Rounded to the body's precision first, so that codes and scales agree; FP16 subnormals round to at least one.
        shared = layer.attrs.get("phases", 1)  # consecutive channels that have one scale: edgekin.compile.subpixel
        grouped = layer.weight.reshape(layer.weight.shape[0] // shared, -1) if shared > 1 else layer.weight
        wide = channel_scales(grouped, axis) if layer.weight_scale is None else layer.weight_scale
        wide = np.repeat(wide, shared) if shared > 1 else wide
        scales = np.maximum(wide, float(np.finfo(self.dtype).tiny)).astype(self.dtype)
        scale = self.constant(f"{layer.name}_w_scale", scales)
        zero = self.constant(f"{layer.name}_w_zero", np.zeros(scales.shape, np.int8))
        extra = {} if axis is None else {"axis": axis}
        if self.options.weight_pairs:
            floats = self.constant(f"{layer.name}_w", layer.weight.astype(self.dtype))
            codes = self.node("QuantizeLinear", [floats, scale, zero], f"{layer.name}_w_q", **extra)
        else:
            shape = (-1,) + (1,) * (layer.weight.ndim - 1) if axis == 0 else ()
            wide = scales.astype(np.float64).reshape(shape)
            codes = self.constant(f"{layer.name}_w_q", quantize(layer.weight, wide))
        return self.node("DequantizeLinear", [codes, scale, zero], f"{layer.name}_w_dq", **extra)

    # ---- layers ----

    def add(self, layer: Layer) -> None:
        """Append one layer of the graph."""
        if layer.kind in ("linear", "conv", "convt"):
            self.weighted(layer)
        else:
            getattr(self, f"add_{layer.kind}")(layer)

    def weighted(self, layer: Layer) -> None:
        self.enter_body()
        assert layer.bias is not None
        x = self.quantize_input(layer) if layer.name in self.int8 else self.tensor
        inputs = [x, self.weight(layer), self.constant(f"{layer.name}_b", layer.bias.astype(self.dtype))]
        pads = [int(layer.attrs.get("pad", 0))] * 4
        if layer.kind == "linear":
            self.step("Gemm", inputs, layer, transB=1)
        elif layer.kind == "conv":
            self.step("Conv", inputs, layer, pads=pads)
        else:
            self.step("ConvTranspose", inputs, layer, pads=pads, strides=[int(layer.attrs["stride"])] * 2)
        self.scale = self.options.scales.get(layer.name) if self.options.scales is not None else None

    def add_joints(self, layer: Layer) -> None:
        self.scale = self.options.scales.get(layer.name) if self.options.scales is not None else None

    def add_sincos(self, layer: Layer) -> None:
        sin = self.node("Sin", [self.tensor], f"{layer.name}_sin")
        cos = self.node("Cos", [self.tensor], f"{layer.name}_cos")
        self.step("Concat", [sin, cos], layer, axis=1)
        self.scale = SINCOS_SCALE

    def add_reshape(self, layer: Layer) -> None:
        sizes = [1, *(int(layer.attrs[key]) for key in ("channels", "height", "width"))]
        self.step("Reshape", [self.tensor, self.constant(f"{layer.name}_sizes", np.array(sizes, np.int64))], layer)

    def add_pixel_shuffle(self, layer: Layer) -> None:
        self.step("DepthToSpace", [self.tensor], layer, blocksize=int(layer.attrs["factor"]), mode="CRD")

    def add_resize(self, layer: Layer) -> None:
        # `sizes` rather than scales: 100 / 62 in float32 may floor to 99 pixels. Opset 17 wants all four of them.
        sizes = np.array([1, self.channels_into[layer.name], layer.attrs["height"], layer.attrs["width"]], np.int64)
        inputs = [self.tensor, "", "", self.constant(f"{layer.name}_sizes", sizes)]
        self.step("Resize", inputs, layer, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")

    def add_crop(self, layer: Layer) -> None:
        ends = [int(layer.attrs["height"]), int(layer.attrs["width"])]
        values = {"starts": [0, 0], "ends": ends, "axes": [2, 3]}
        inputs = [self.constant(f"{layer.name}_{key}", np.array(value, np.int64)) for key, value in values.items()]
        self.step("Slice", [self.tensor, *inputs], layer)

    def split_heads(self, depth: DepthHead, maps: str) -> None:
        """Cut the last layer's maps into logits and depth in m; in FP32, where half a millimetre is left of FP16."""
        ends = (0, self.graph.n_views, 2 * self.graph.n_views)
        cut = [self.constant(f"view_{end}", np.array([end], np.int64)) for end in ends]
        axis = self.constant("view_axis", np.array([1], np.int64))
        self.node("Slice", [maps, cut[0], cut[1], axis], OUTPUT)
        numbers = self.node("Slice", [maps, cut[1], cut[2], axis], "depth_numbers")
        scaled = self.node("Mul", [numbers, self.constant("depth_unit", np.array(depth.unit_m, np.float32))], "depth_m")
        self.node("Add", [scaled, self.constant("depth_offset", np.array(depth.offset_m, np.float32))], DEPTH)

    def finish(self) -> onnx.ModelProto:
        """Return the model with its input and output."""
        from onnx import TensorProto, helper

        graph = self.graph
        last = "maps" if graph.depth else OUTPUT
        if self.dtype is np.float16:
            self.cast(True, last)
        else:
            self.node("Identity", [self.tensor], last)
        if graph.depth:
            self.split_heads(graph.depth, last)
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, graph.n_joints])]
        shape = [1, graph.n_views, graph.height, graph.width]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                   for name in ((OUTPUT, DEPTH) if graph.depth else (OUTPUT,))]
        body = helper.make_graph(self.nodes, "edgekin", inputs, outputs, initializer=self.initializers)
        opset = helper.make_opsetid("", self.options.opset)
        # IR 8 belongs to opset 17 and IR 9 to opset 19: what TensorRT 8.6 and ONNX Runtime 1.15 still read.
        return helper.make_model(body, opset_imports=[opset], ir_version=8 if self.options.opset < 19 else 9,
                                 producer_name="edgekin")


def open_session(model: bytes) -> Any:
    """Return an onnxruntime.InferenceSession on one CPU thread; raises MissingExtra where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "train") from error

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def run_onnx(model: bytes, joint_pos: NDArray[Any], output: str = OUTPUT) -> NDArray[np.float32]:
    """Run a model of `export_onnx` in ONNX Runtime on one CPU thread.

    Args:
        model: the serialized model.
        joint_pos: (N, J) rad.
        output: `logits`, or `depth` of a model that has it.

    Returns:
        (N, V, H, W) float32 logits, or m.
    """
    session = open_session(model)
    joints = np.ascontiguousarray(joint_pos, np.float32)
    frames = [session.run([output], {INPUT: joints[i : i + 1]})[0] for i in range(len(joints))]
    pictures: NDArray[np.float32] = np.concatenate(frames)
    return pictures
