"""From ONNX to the plan that is kept: which typing, which layers in INT8, which of several builds."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial

from edgekin.bundle import ONNX, STRONG
from edgekin.compile.tensorrt import device
from edgekin.compile.tensorrt.backoff import BackedOff, back_off
from edgekin.compile.tensorrt.builder import BuildFailed, BuildOptions, Built, build
from edgekin.compile.tensorrt.layers import Kernel, from_inspector, from_log, layers
from edgekin.compile.tensorrt.plan import Plan
from edgekin.errors import ConfigError, RuntimeFault
from edgekin.gpu import Gpu, gpu
from edgekin.output import write_atomic
from edgekin.plans import Place, here, sha256, timing_cache_file
from edgekin.plans.api import Api, load

#: RTX 30, RTX 40 and RTX 50.
DEFAULT_SMS = (86, 89, 120)


@dataclass(frozen=True)
class PlanOptions:
    """What to build; targets without plans ignore it."""

    sms: tuple[int, ...] = ()  # compute capabilities, ahead of time; empty: DEFAULT_SMS
    builds: int = 1  # of which the fastest is kept
    plan: bool = True  # False: ONNX files alone, the plan is built on the device

    def validated(self) -> PlanOptions:
        """Return the options themselves; raises ConfigError where they cannot be used."""
        if not 1 <= self.builds <= 100:
            raise ConfigError(f"--builds is {self.builds}, expected 1 to 100")
        return self


@dataclass(frozen=True)
class Flavours:
    """A network as the two ONNX files that versions of TensorRT want."""

    weak: bytes  # FP32, opset 17: precisions are asked for by builder flags, INT8 by Q/DQ and a flag
    strong: bytes  # its types are the precisions: FP16 body, opset 19; the same file where it is FP32 throughout

    def files(self) -> dict[str, bytes]:
        """Return the bundle's files."""
        return {ONNX: self.weak} | ({STRONG: self.strong} if self.strong != self.weak else {})

    def file(self, typing: str) -> str:
        """Return the name of the file for a typing."""
        return STRONG if typing == "strong" and self.strong != self.weak else ONNX


@dataclass(frozen=True)
class Made:
    """A plan, and the ONNX that gives the same in ONNX Runtime."""

    plan: Plan
    model: bytes


class PlanMaker:
    """Builds plans for one place.

    Args:
        api: which TensorRT.
        device_here: the GPU of this machine, None where there is none.
        options: what to build.

    Raises:
        ConfigError: capabilities that this TensorRT does not build for, or several builds with nothing to time them on.
    """

    def __init__(self, api: Api, device_here: Gpu | None, options: PlanOptions) -> None:
        self.api, self.options = api, options
        if api.ahead_of_time:
            self.place = Place(api.target, api.version, tuple(sorted(set(options.sms or DEFAULT_SMS))))
            for sm in self.place.sms:
                api.capability(sm)
        elif device_here is not None:
            self.place = here(api.target, api.version, device_here)
            if set(options.sms) - {device_here.sm}:
                raise ConfigError(f"{api.target} builds for the GPU that is here, SM {device_here.sm}, got --sm "
                                  f"{','.join(map(str, options.sms))}", "Leave out --sm, or use --target tensorrt-rtx")
        else:
            raise ConfigError(f"{api.target} builds on the GPU that a plan is for, and none is here")
        self.runs_here = device_here is not None and device_here.sm in self.place.sms
        if options.builds > 1 and not self.runs_here:
            raise ConfigError(f"--builds {options.builds} keeps the fastest, and no GPU is here to time them on",
                              "Leave out --builds")

    def make(self, flavours: Flavours, precision: str) -> Made:
        """Build the plan of a network.

        Raises:
            BuildFailed: no plan builds, however it is asked for; the message has every reason.
        """
        failures = dict[str, str]()
        # All of it in any typing comes before a part of it: a fallback to flags loses nothing, a layer in FP16 does.
        for partly in (False, True) if precision == "int8" else (False,):
            for typing in self.api.typings:
                model, recipe = flavours.files()[flavours.file(typing)], self._recipe(precision, typing)
                once = partial(build, self.api, options=recipe)
                try:
                    found = back_off(once, model) if partly else BackedOff(once(model), model, {})
                except BuildFailed as error:
                    failures[typing] = f"{typing} typing: {error.message}"
                    continue
                return self._finish(found, flavours, typing)
        raise BuildFailed("; ".join(failures.values()), "Compile at another precision, and report this")

    def _recipe(self, precision: str, typing: str) -> BuildOptions:
        if self.api.ahead_of_time:
            return BuildOptions(precision, typing, self.place.sms)
        cache = timing_cache_file(self.place)
        return BuildOptions(precision, typing, timing_cache=cache.read_bytes() if cache.is_file() else b"")

    def _finish(self, found: BackedOff, flavours: Flavours, typing: str) -> Made:
        built, times = self._fastest(found)
        if not self.api.ahead_of_time:
            self._remember(built.timing_cache)
        recipe, file = built.options, flavours.file(typing)
        asked = flavours.files()[file]  # of the whole: a layer that had to leave INT8 was asked for it
        weak_body = "fp16" if typing == "weak" and recipe.precision != "fp32" else ""
        plan = Plan(built.plan, self.place, recipe.precision, typing, file, sha256(asked),
                    tuple(layers(asked, self._kernels(built), weak_body)), found.dropped, built.seconds, times)
        return Made(plan, found.model)

    def _fastest(self, found: BackedOff) -> tuple[Built, tuple[float, ...]]:
        """Builders choose kernels by timing them, so builds differ; those after the first start without its timings."""
        if self.options.builds == 1:
            return found.built, ()
        fresh = replace(found.built.options, timing_cache=b"")
        builts = [found.built, *(build(self.api, found.model, fresh) for _ in range(self.options.builds - 1))]
        times = tuple(round(device.p50_us(self.api, built.plan), 2) for built in builts)
        return builts[times.index(min(times))], times

    def _kernels(self, built: Built) -> list[Kernel]:
        return device.inspect(self.api, built.plan, from_inspector) if self.runs_here else from_log(built.log)

    def _remember(self, timing_cache: bytes) -> None:
        path = timing_cache_file(self.place)
        with contextlib.suppress(OSError):  # it only saves time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, timing_cache)


def plan_maker(target: str, options: PlanOptions) -> PlanMaker:
    """Return what builds plans on this machine.

    Raises:
        ConfigError: TensorRT is not installed, or cannot build what is asked.
        RuntimeFault: it builds on the GPU that a plan is for, and none is here.
    """
    try:
        api = load(target)
    except ConfigError as error:
        if target == "tensorrt":
            error.hint += "; or write the bundle without its plan, which is then built on the device: --no-plan"
        raise
    try:
        device_here = gpu()
    except RuntimeFault as error:
        if not api.ahead_of_time:
            raise RuntimeFault(f"{target} builds on the GPU that a plan is for: {error.message}",
                               "Write the bundle here (--no-plan) and build on the device (edgekin compile BUNDLE "
                               f"--target {target}); --target tensorrt-rtx builds without a GPU") from error
        device_here = None
    return PlanMaker(api, device_here, options)
