"""Graph -> LiteRT (TFLite) file, written with the flatbuffer schema that ai-edge-litert ships: no TensorFlow needed.

LiteRT keeps channels last, so the rows of a linear layer before a reshape and the outputs of a convolution before a
pixel shuffle are put into that order. INT8: symmetric, weights per output channel, as LiteRT's specification asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import shapes
from edgekin.quantization.affine import Q_MAX, channel_scales, quantize


def export_litert(graph: Graph, scales: dict[str, float] | None = None) -> bytes:
    """Return the model file: joints (1, J) float32 rad -> logits (1, H, W, V) float32.

    Args:
        graph: a decoder.
        scales: layer name -> output scale; None: FP32.

    Raises:
        ConfigError: a layer that LiteRT has no operator for.
    """
    builder = _Builder(graph, scales)
    for index in range(len(graph.layers)):
        builder.add(index)
    return builder.finish()


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@dataclass
class _Builder:
    graph: Graph
    scales: dict[str, float] | None
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[tuple[int, int]] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=lambda: [b""])

    def __post_init__(self) -> None:
        self.s = _schema()
        self.sizes = shapes(self.graph)
        self.current = self.input = self.tensor("joints", (1, self.graph.n_joints))
        self.scale = 1.0
        self.int8 = self.scales is not None

    # ---- pieces ----

    def tensor(self, name: str, shape: tuple[int, ...], data: NDArray[Any] | None = None, scale: Any = None,
               axis: int = 0) -> int:
        kinds = {"float32": self.s.TensorType.FLOAT32, "int8": self.s.TensorType.INT8, "int32": self.s.TensorType.INT32}
        made = self.s.TensorT()
        made.name, made.shape, made.buffer = name.encode(), list(shape), 0
        made.type = kinds[str(data.dtype)] if data is not None else kinds["float32" if scale is None else "int8"]
        if data is not None:
            self.buffers.append(np.ascontiguousarray(data).tobytes())
            made.buffer = len(self.buffers) - 1
        if scale is not None:
            made.quantization = self.s.QuantizationParametersT()
            made.quantization.scale = [float(x) for x in np.atleast_1d(scale)]
            made.quantization.zeroPoint = [0] * len(made.quantization.scale)
            made.quantization.quantizedDimension = axis
        self.tensors.append(made)
        return len(self.tensors) - 1

    def step(self, op: str, inputs: list[int], name: str, shape: tuple[int, ...], options: str = "",
             scale: float | None = None, version: int = 1, **values: Any) -> int:
        """Append an operator and return its output."""
        code = (getattr(self.s.BuiltinOperator, op), version)
        if code not in self.codes:
            self.codes.append(code)
        made = self.s.OperatorT()
        made.opcodeIndex, made.inputs = self.codes.index(code), inputs
        made.outputs = [self.tensor(name, shape, scale=scale)]
        if options:
            made.builtinOptionsType = getattr(self.s.BuiltinOptions, options)
            made.builtinOptions = getattr(self.s, f"{options}T")()
            for key, value in values.items():
                setattr(made.builtinOptions, key, value)
        self.operators.append(made)
        return int(made.outputs[0])

    def constant(self, name: str, values: list[int]) -> int:
        return self.tensor(name, (len(values),), np.array(values, np.int32))

    def last_shape(self, index: int) -> tuple[int, ...]:
        c, h, w = (*self.sizes[index + 1], 1, 1)[:3]
        return (1, h, w, c)

    def weights(self, layer: Layer, weight: NDArray[Any], bias: NDArray[Any]) -> tuple[int, int]:
        """Add weights (output channel first) and bias."""
        if not self.int8:
            return (self.tensor(f"{layer.name}_w", weight.shape, weight.astype(np.float32)),
                    self.tensor(f"{layer.name}_b", bias.shape, bias.astype(np.float32)))
        scale = channel_scales(weight, 0) if layer.weight_scale is None else layer.weight_scale
        codes = quantize(weight, scale.reshape((-1,) + (1,) * (weight.ndim - 1)))
        wide = np.rint(bias / (scale * self.scale)).astype(np.int32)
        return (self.tensor(f"{layer.name}_w", codes.shape, codes, scale),
                self.tensor(f"{layer.name}_b", wide.shape, wide, scale * self.scale))

    def out_scale(self, layer: Layer) -> float | None:
        if self.scales is None:
            return None
        return float(self.scales[layer.name])

    def quantized(self, name: str, shape: tuple[int, ...]) -> None:
        if self.int8:
            self.current = self.step("QUANTIZE", [self.current], name, shape, "QuantizeOptions", self.scale)

    # ---- layers ----

    def add(self, index: int) -> None:
        """Append one layer."""
        layer = self.graph.layers[index]
        method = getattr(self, f"add_{layer.kind}", None)
        if method is None:
            raise ConfigError(f"LiteRT has no operator for {layer.kind}")
        method(index, layer)

    def add_joints(self, index: int, layer: Layer) -> None:
        self.scale = self.out_scale(layer) or 1.0
        self.quantized("joints_q", (1, self.graph.n_joints))

    def add_sincos(self, index: int, layer: Layer) -> None:
        n = self.graph.n_joints
        parts = [self.step(op, [self.current], op.lower(), (1, n)) for op in ("SIN", "COS")]
        self.current = self.step("CONCATENATION", parts, "sincos", (1, 2 * n), "ConcatenationOptions", axis=1)
        self.scale = 1.0 / Q_MAX
        self.quantized("sincos_q", (1, 2 * n))

    def activation(self, layer: Layer) -> int:
        kinds = self.s.ActivationFunctionType
        return int(kinds.RELU if layer.attrs.get("relu") else kinds.NONE)

    def add_linear(self, index: int, layer: Layer) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        weight, bias = layer.weight, layer.bias
        following = self.graph.layers[index + 1] if index + 1 < len(self.graph.layers) else None
        if following is not None and following.kind == "reshape":
            order = np.arange(len(weight)).reshape(self.sizes[index + 2]).transpose(1, 2, 0).ravel()
            weight, bias = weight[order], bias[order]
        inputs = [self.current, *self.weights(layer, weight, bias)]
        scale, shape = self.out_scale(layer), (1, len(weight))
        self.current = self.step("FULLY_CONNECTED", inputs, layer.name, shape, "FullyConnectedOptions", scale,
                                 version=5 if self.int8 else 1, fusedActivationFunction=self.activation(layer))
        self.scale = scale or 1.0

    def add_reshape(self, index: int, layer: Layer) -> None:
        shape = self.last_shape(index)
        into = self.constant(f"{layer.name}_shape", list(shape))
        self.current = self.step("RESHAPE", [self.current, into], layer.name, shape, "ReshapeOptions",
                                 self.scale if self.int8 else None, newShape=list(shape))

    def add_conv(self, index: int, layer: Layer) -> None:
        assert layer.weight is not None
        self.conv(index, layer, layer.weight, int(layer.attrs.get("pad", 0)))

    def conv(self, index: int, layer: Layer, weight: NDArray[Any], pad: int) -> None:
        """A convolution of stride 1; weight (out, in, k, k)."""
        assert layer.bias is not None
        k = weight.shape[-1]
        if pad not in (0, k // 2) or (pad and k % 2 == 0):
            raise ConfigError(f"LiteRT pads a {k}x{k} convolution by 0 or {k // 2}, got {pad}")
        bias, following = layer.bias, self.graph.layers[index + 1 : index + 2]
        if following and following[0].kind == "pixel_shuffle":  # (C, f, f) -> (f, f, C)
            factor = int(following[0].attrs["factor"])
            order = np.arange(len(weight)).reshape(-1, factor, factor).transpose(1, 2, 0).ravel()
            weight, bias = weight[order], bias[order]
        inputs = [self.current, *self.weights(layer, weight.transpose(0, 2, 3, 1), bias)]
        scale, padding = self.out_scale(layer), self.s.Padding.SAME if pad else self.s.Padding.VALID
        self.current = self.step("CONV_2D", inputs, layer.name, self.last_shape(index), "Conv2DOptions", scale,
                                 version=3 if self.int8 else 1, padding=padding, strideW=1, strideH=1,
                                 dilationWFactor=1, dilationHFactor=1, fusedActivationFunction=self.activation(layer))
        self.scale = scale or 1.0

    def add_convt(self, index: int, layer: Layer) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        k, stride, pad = layer.weight.shape[-1], int(layer.attrs["stride"]), int(layer.attrs["pad"])
        if stride == 1:  # the same as a convolution with the kernel turned round
            self.conv(index, layer, layer.weight.transpose(1, 0, 2, 3)[..., ::-1, ::-1], k - 1 - pad)
            return
        if k - 2 * pad != stride:
            raise ConfigError(f"LiteRT cannot crop a transposed convolution of kernel {k}, stride {stride} by {pad}")
        shape, scale = self.last_shape(index), self.out_scale(layer)
        weight, bias = self.weights(layer, layer.weight.transpose(1, 2, 3, 0), layer.bias)
        inputs = [self.constant(f"{layer.name}_shape", list(shape)), weight, self.current, bias]
        # Version 4 carries a fused activation.
        self.current = self.step("TRANSPOSE_CONV", inputs, layer.name, shape, "TransposeConvOptions", scale, version=4,
                                 padding=self.s.Padding.SAME, strideW=stride, strideH=stride,
                                 fusedActivationFunction=self.activation(layer))
        self.scale = scale or 1.0

    def add_pixel_shuffle(self, index: int, layer: Layer) -> None:
        self.current = self.step("DEPTH_TO_SPACE", [self.current], layer.name, self.last_shape(index),
                                 "DepthToSpaceOptions", self.scale if self.int8 else None,
                                 blockSize=int(layer.attrs["factor"]))

    def add_resize(self, index: int, layer: Layer) -> None:
        size = self.constant(f"{layer.name}_size", [int(layer.attrs["height"]), int(layer.attrs["width"])])
        self.current = self.step("RESIZE_BILINEAR", [self.current, size], layer.name, self.last_shape(index),
                                 "ResizeBilinearOptions", self.scale if self.int8 else None, version=3,
                                 alignCorners=False, halfPixelCenters=True)

    def add_crop(self, index: int, layer: Layer) -> None:
        shape = self.last_shape(index)
        inputs = [self.current, self.constant(f"{layer.name}_begin", [0] * 4),
                  self.constant(f"{layer.name}_size", list(shape))]
        self.current = self.step("SLICE", inputs, layer.name, shape, "SliceOptions", self.scale if self.int8 else None,
                                 version=2 if self.int8 else 1)

    def finish(self) -> bytes:
        """Return the flatbuffer."""
        import flatbuffers

        if self.int8:
            self.current = self.step("DEQUANTIZE", [self.current], "logits", self.last_shape(len(self.sizes) - 2),
                                     "DequantizeOptions", version=2)
        graph, model = self.s.SubGraphT(), self.s.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs, graph.name = [self.input], [self.current], b"edgekin"
        model.version, model.subgraphs, model.description = 3, [graph], b"edgekin"
        model.operatorCodes, model.buffers = [], []
        for op, version in self.codes:
            code = self.s.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = op, min(op, 127), version
            model.operatorCodes.append(code)
        for content in self.buffers:
            buffer = self.s.BufferT()
            buffer.data = np.frombuffer(content, np.uint8) if content else None
            model.buffers.append(buffer)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
