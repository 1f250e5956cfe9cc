"""One plan from one ONNX file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from edgekin.errors import EdgekinError
from edgekin.plans.api import Api, Message


class BuildFailed(EdgekinError):
    """TensorRT parsed or built no plan; the message has what it logged."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build."""

    precision: str  # fp32 | fp16 | int8
    typing: str  # strong | weak: one of Api.typings
    sms: tuple[int, ...] = ()  # compute capabilities to build for ahead of time; empty: the GPU that is here
    timing_cache: bytes = b""  # what an earlier build measured


@dataclass(frozen=True)
class Built:
    """A plan and how it came about."""

    plan: bytes
    options: BuildOptions
    seconds: float
    timing_cache: bytes  # what this build has measured besides
    log: tuple[Message, ...]


def build(api: Api, model: bytes, options: BuildOptions) -> Built:
    """Build a plan.

    Args:
        api: which TensorRT.
        model: an ONNX file whose types fit the typing: its own for strong, FP32 for weak.
        options: how.

    Raises:
        BuildFailed: the file is not understood, or no plan can be built of it.
        ConfigError: a capability that this TensorRT does not build for.
    """
    api.messages.clear()
    builder = api.module.Builder(api.logger)
    network = builder.create_network(api.network_flags(options.typing))
    parser = api.module.OnnxParser(network, api.logger)
    if not parser.parse(model):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise BuildFailed(f"{api.target} {api.version} does not understand the ONNX: "
                          f"{'; '.join(errors) or api.errors()}")
    config = _config(api, builder, options)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if plan is None:
        raise BuildFailed(f"{api.target} {api.version} built no {options.precision} plan: "
                          f"{api.errors() or 'it logged no error'}")
    # Ahead of time nothing is timed.
    timings = b"" if options.sms else bytes(config.get_timing_cache().serialize())
    return Built(bytes(plan), options, seconds, timings, tuple(api.messages))


def _config(api: Api, builder: Any, options: BuildOptions) -> Any:
    config, flags = builder.create_builder_config(), api.module.BuilderFlag
    config.profiling_verbosity = api.module.ProfilingVerbosity.DETAILED
    if options.precision == "fp32" and hasattr(flags, "TF32"):
        config.clear_flag(flags.TF32)  # it is on by default, and has 11 bits of mantissa
    if options.typing == "weak" and options.precision != "fp32":
        config.set_flag(flags.FP16)
        if options.precision == "int8":
            config.set_flag(flags.INT8)
    if options.sms:
        config.num_compute_capabilities = len(options.sms)
        for index, sm in enumerate(options.sms):
            config.set_compute_capability(api.capability(sm), index)
    else:
        _take_over(config, options.timing_cache)
    return config


def _take_over(config: Any, timing_cache: bytes) -> None:
    """Go on with an earlier build's timings; those of another version or GPU are dropped."""
    for blob in dict.fromkeys((timing_cache, b"")):
        cache = config.create_timing_cache(blob)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
