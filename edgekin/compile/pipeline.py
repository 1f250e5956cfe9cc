"""Run -> bundle: calibrate, compile, hold against the FP32 torch model, and publish all or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.bundle import BODY, BODY_ANSWERS, DETECTOR
from edgekin.compile.auto import choose
from edgekin.compile.body import body_beside, own_body
from edgekin.compile.cuda import CudaTarget
from edgekin.compile.detector import DetectorPlan, calibrate_detector
from edgekin.compile.mcu.cores import DEFAULT, core_of
from edgekin.compile.mcu.target import McuTarget
from edgekin.compile.native import NativeTarget, predict_int8
from edgekin.compile.onnx_target import OnnxTarget
from edgekin.compile.parity import Parity, compare
from edgekin.compile.product import Product, Target
from edgekin.compile.publish import new_bundle, robot_entry, write_cache
from edgekin.compile.result import CompileResult, against
from edgekin.compile.tensorrt.builder import BuildFailed
from edgekin.compile.tensorrt.maker import PlanOptions
from edgekin.compile.tensorrt.target import PlanTarget
from edgekin.compile.timing import Latency, interleaved
from edgekin.errors import ConfigError, GateMissed
from edgekin.machine import describe, revision
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.plans import cache_folder
from edgekin.quantization.calibrate import CalibrationSource, Calibrator, resolved, select_poses
from edgekin.quantization.prepare import prepared
from edgekin.quantization.profile import AUTO, Calibration, CalibrationProfile
from edgekin.sim.dataset import take
from edgekin.sim.views import from_own_camera
from edgekin.training.metrics import depth_mae_m

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Test samples that a free-form model is held against: a picture takes its ray-marcher seconds.
FIELD_SAMPLES = 32

PRECISIONS = ("fp32", "fp16", "int8")
PLANNED = ("tensorrt", "tensorrt-rtx")  # targets that build a plan for a GPU
TARGETS: dict[str, Callable[[CompileConfig, Run], Target]] = {
    "native": lambda *_: NativeTarget(), "onnx": lambda *_: OnnxTarget(),
    "tensorrt": lambda config, _: PlanTarget("tensorrt", config.plan),
    "tensorrt-rtx": lambda config, _: PlanTarget("tensorrt-rtx", config.plan),
    "cuda": lambda config, _: CudaTarget(config.plan),
    "mcu": lambda config, run: McuTarget(config.core or DEFAULT, run.robot.name),
}
#: Targets whose bundles run in our loop, with a detector of their own.
JUDGED = ("native", "cuda", *PLANNED)
#: The best target that is there: edgekin.compile.auto.
AUTO_TARGET = "auto"

#: Poses whose logits every load must reproduce.
KNOWN_ANSWERS_COUNT = 16

#: The mean depth error may grow by so much: a step of int8 is a few millimetres, and their errors average out.
MAX_DEPTH_LOSS_M = 0.002

#: Of a plan's silhouettes with those of ONNX Runtime on the same file: what differs is rounding at the outline.
SAME_IOU = 0.97

#: Beyond this loss no gate is worth loosening.
_MOST_ALLOWED_DB = 1.0

#: Test samples for the ONNX beside a native bundle; ONNX Runtime takes milliseconds a frame for the larger sizes.
_BESIDE_SAMPLES = 256


@dataclass(frozen=True)
class CompileConfig:
    """What to compile, and what it must hold."""

    precision: str = "int8"  # fp32 | fp16 | int8
    target: str = "native"  # a key of TARGETS, or AUTO_TARGET
    profile: CalibrationProfile = field(default_factory=CalibrationProfile)
    max_psnr_loss_db: float = 0.1  # the parity gate
    out: Path | None = None  # the bundle's folder; by default <run>/bundle-<precision>
    force: bool = False  # replace an existing bundle
    body_model: bool = True  # take in the body model that the decoder was distilled from
    force_int8: bool = False  # ship INT8 even where FP32 is faster here
    detector: DetectorPlan = field(default_factory=DetectorPlan)
    plan: PlanOptions = field(default_factory=PlanOptions)
    core: str = ""  # of target mcu: a key of edgekin.compile.mcu.cores.CORES; by default the most common
    seed: int = 0  # of the calibration poses and of the detector's healthy trajectories

    def validated(self) -> CompileConfig:
        """Return the config itself; raises ConfigError where it cannot be used."""
        if self.precision not in PRECISIONS or self.target not in (*TARGETS, AUTO_TARGET):
            raise ConfigError(f"cannot compile precision {self.precision!r} for target {self.target!r}",
                              f"Use one of {', '.join(PRECISIONS)} and one of {', '.join(TARGETS)}")
        if self.precision == "fp16" and self.target == "native":
            raise ConfigError("target native has fp32 and int8, got fp16",
                              "Run: edgekin compile --fp16 --target onnx, or edgekin compile --int8")
        if self.target == "mcu" and self.precision != "int8":
            raise ConfigError(f"target mcu has int8, got {self.precision}", "Run: edgekin compile --int8 --target mcu")
        if self.core:
            core_of(self.core)
            if self.target != "mcu":
                raise ConfigError(f"--core {self.core} says nothing to target {self.target}",
                                  "Use it with --target mcu")
        if not self.max_psnr_loss_db >= 0.0:
            raise ConfigError(f"--max-psnr-loss is {self.max_psnr_loss_db}, expected 0 dB or more")
        if self.target not in (*PLANNED, "cuda", AUTO_TARGET) and self.plan != PlanOptions():
            raise ConfigError(f"target {self.target} builds no plan, so --sm, --builds and --no-plan say nothing",
                              f"Use them with --target {' or '.join(PLANNED)}")
        self.plan.validated()
        self.detector.validated()
        self.profile.validated()
        return self


#: Called with the stage at work and the share of it that is done.
Progress = Callable[[str, float], None]


def compile_run(run: Run, config: CompileConfig, progress: Progress = lambda stage, share: None) -> CompileResult:
    """Compile a trained run into a bundle.

    Args:
        run: the trained run.
        config: what to compile.
        progress: called as each stage begins and advances.

    Returns:
        What was published.

    Raises:
        GateMissed: beyond max_psnr_loss_db, with nothing published.
        ConfigError: settings that contradict each other.
        DataError: too few calibration samples.
        BundleError: the output exists (without force) or cannot be written.
    """
    return _Compiler(run, config.validated(), progress).compile()


def compile_product(run: Run, config: CompileConfig,
                    progress: Progress = lambda stage, share: None) -> tuple[Product, Parity]:
    """Return what a run compiles to at the precision asked for, held against the gate, without making a bundle of it.

    Raises:
        GateMissed, ConfigError, DataError: as compile_run.
    """
    compiler = _Compiler(run, config.validated(), progress)
    compiler.prepare()
    if config.precision == "int8":
        return compiler.int8()[0]
    return compiler.fp16() if config.precision == "fp16" else compiler.fp32()


class _Compiler:
    """One compilation: the stages in order, and what they share."""

    def __init__(self, run: Run, config: CompileConfig, progress: Progress) -> None:
        target, self.chosen = (choose(run, config.precision) if config.target == AUTO_TARGET else (config.target, ""))
        self.run, self.config, self.progress = run, replace(config, target=target).validated(), progress
        self.target = TARGETS[target](self.config, run)

    def compile(self) -> CompileResult:
        config = self.config
        with new_bundle(self.out(config.precision), config.force):
            pass  # an output that cannot be written fails here, before the work
        self.prepare()
        reference = rival = self.fp32()
        chosen, calibration, note = reference, None, ""
        if config.precision == "int8":
            rival = self.rival(reference)
            try:
                chosen, calibration = self.int8()
            except BuildFailed as error:
                chosen, note = rival, f"{error.message}: the {rival[0].precision.upper()} bundle was written"
        elif config.precision == "fp16":
            chosen = self.fp16()
        beside = config.body_model and self.target.name != "mcu"  # flash is for one model
        body = body_beside(self.run, config.max_psnr_loss_db) if beside else None
        latency = self.time({p[0].precision: p[0] for p in (reference, rival, chosen)})
        if chosen[0].precision == "int8" and self.target.rival and not config.force_int8:
            kept, note = against(chosen, rival, latency)
            chosen, calibration = (chosen, calibration) if kept else (rival, None)
        result = CompileResult(
            self.out(chosen[0].precision), self.target.name, config.precision, chosen[0].precision,
            chosen[0].weight_bytes, reference[0].weight_bytes, chosen[1], reference[1], body, latency, calibration,
            note, revision(), config.seed, rival if rival is not reference else None, chosen[0].plan, self.chosen)
        return replace(result, detector=self.publish(chosen[0], result))

    def out(self, precision: str) -> Path:
        """The bundle's folder."""
        kind = f"{self.target.name}-" if self.target.name in (*PLANNED, "cuda", "mcu") else ""
        return self.config.out or Path(self.run.path) / f"bundle-{kind}{precision}"

    def prepare(self) -> None:
        """The graph, the torch model's predictions on the test split, and the calibration poses."""
        from edgekin.models import to_graph

        self.progress("read the run", 0.0)
        run, config = self.run, self.config
        model = run.self_model
        self.graph = to_graph(model)
        self.test = from_own_camera(run.robot, run.test)
        if isinstance(self.graph, FieldGraph):
            self.target.field(self.graph, config.precision)  # refused before the pictures, which take long
            self.test = take(self.test, slice(0, FIELD_SAMPLES))
        self.masks = self.test.masks
        self.expected = model.logits(run.own_inputs(self.test.joint_pos))
        source = str(Path(run.path) / "train.npz")
        profile = resolved(config.profile, run.train.meta.get("excitation"))
        self.poses = select_poses(profile, run.train.joint_pos, run.robot.limits, config.seed, source)
        self.source = CalibrationSource(profile, config.seed,
                                        source if profile.poses == "train" else "scrambled Sobol points")

    def parity(self, product: Product) -> Parity:
        parity = compare(self.expected, product.predict(self.test.joint_pos), self.masks)
        truth = self.test.depth
        if product.depth is None or truth is None:
            return parity
        after = product.depth(self.test.joint_pos)
        return replace(parity, depth_mae_m=depth_mae_m(after, truth), depth_mae_fp32_m=self.depth_mae_fp32_m)

    @cached_property
    def depth_mae_fp32_m(self) -> float | None:
        """The torch model's depth error on the test split; every product is held against it."""
        assert self.test.depth is not None
        return depth_mae_m(self.run.self_model.depth(self.run.own_inputs(self.test.joint_pos)), self.test.depth)

    def miss(self, product: Product, parity: Parity) -> str:
        """Say what misses the gate: the product itself or a file beside it; empty where nothing does."""
        for name, loss in self.losses(product, parity):
            if not loss <= self.config.max_psnr_loss_db:
                return f"{name} loses {loss:.3f} dB"
            if not parity.depth_loss_m <= MAX_DEPTH_LOSS_M:
                return f"{name} loses {1e3 * parity.depth_loss_m:.1f} mm of depth"
        return self.plan_miss(product)

    def losses(self, product: Product, parity: Parity) -> Iterator[tuple[str, float]]:
        """Yield what loses how many dB of PSNR: the product, then the files beside it."""
        yield product.precision, parity.psnr_loss_db
        n = min(_BESIDE_SAMPLES, len(self.test))
        for name, predict in product.beside.items():
            beside = compare(self.expected[:n], predict(self.test.joint_pos[:n]), self.masks[:n])
            yield f"{name} at {product.precision}", beside.psnr_loss_db

    def allowance(self, product: Product, parity: Parity) -> str:
        """Say what to give --max-psnr-loss for a product that missed the gate; empty where that would not help."""
        worst = max(loss for _, loss in self.losses(product, parity))
        if not self.config.max_psnr_loss_db < worst <= _MOST_ALLOWED_DB or parity.depth_loss_m > MAX_DEPTH_LOSS_M:
            return ""
        return f"Allow it with --max-psnr-loss {math.ceil(100 * worst) / 100:.2f}"

    def plan_miss(self, product: Product) -> str:
        """Say by how much a plan on this GPU differs from its ONNX in ONNX Runtime; empty where it does not."""
        if product.plan is None or product.plan.predict is None:
            return ""
        self.progress("hold the plan against ONNX Runtime", 0.0)
        q = self.test.joint_pos
        same = compare(product.predict(q), product.plan.predict(q), self.masks)
        if abs(same.psnr_loss_db) <= self.config.max_psnr_loss_db and same.iou_vs_fp32 >= SAME_IOU:
            return ""
        return (f"the plan of {self.target.name} at {product.precision} is not its ONNX (IoU with ONNX Runtime "
                f"{same.iou_vs_fp32:.4f}, expected {SAME_IOU}); it loses {same.psnr_loss_db:.3f} dB")

    def gated(self, product: Product) -> tuple[Product, Parity]:
        """Return the product with its parity; raises GateMissed beyond the limit."""
        parity = self.parity(product)
        miss = self.miss(product, parity)
        if miss:
            raise GateMissed(f"{miss} of PSNR against the FP32 torch model, allowed "
                             f"{self.config.max_psnr_loss_db:g} dB; nothing was written",
                             self.allowance(product, parity) or "Allow more with --max-psnr-loss")
        return product, parity

    def fp32(self) -> tuple[Product, Parity]:
        self.progress("compile FP32", 0.0)
        return self.gated(self.uncalibrated("fp32"))

    def fp16(self) -> tuple[Product, Parity]:
        return self.gated(self.uncalibrated("fp16"))

    def uncalibrated(self, precision: str) -> Product:
        """The product of a graph that needs no ranges: a decoder's in floats, that of any other at every precision."""
        if isinstance(self.graph, BodyGraph):
            return self.target.body(self.graph, precision)
        if isinstance(self.graph, FieldGraph):
            return self.target.field(self.graph, precision)
        return self.target.fp16(self.graph) if precision == "fp16" else self.target.fp32(self.graph)

    def int8(self) -> tuple[tuple[Product, Parity], Calibration | None]:
        """Try the profile's method, then the others in the order of their fidelity on the calibration poses."""
        if not isinstance(self.graph, Graph):  # parameters alone are quantized: there is nothing to calibrate
            self.progress("quantize the parameters", 0.0)
            return self.gated(self.uncalibrated("int8")), None
        self.progress("calibrate", 0.0)
        calibrator = prepared(self.graph, self.poses, self.source, predict_int8)
        asked = self.config.profile.method
        misses: list[str] = []
        best: tuple[Product, Parity] | None = None
        for method in self.methods(asked, calibrator):
            self.progress(f"quantize by {method}", 0.0)
            try:
                calibration = calibrator.by_method(method, partial(self.progress, f"quantize by {method}"))
                product = self.target.int8(calibrator.graph, calibration)
            except ConfigError as error:
                misses.append(f"{method}: {error.message}")
                continue
            parity = self.parity(product)
            miss = self.miss(product, parity)
            if not miss:
                return (product, parity), calibration
            misses.append(f"{method}: {miss}")
            if best is None or parity.psnr_loss_db < best[1].psnr_loss_db:
                best = product, parity
        allowance = self.allowance(*best) if best is not None else ""
        raise GateMissed(f"int8 loses more than {self.config.max_psnr_loss_db:g} dB of PSNR with every method "
                         f"({'; '.join(misses)}); nothing was written",
                         f"{allowance or 'Calibrate on more poses (--samples)'}, or compile --fp32")

    @staticmethod
    def methods(asked: str, calibrator: Calibrator) -> Iterator[str]:
        """Yield the method asked for, then the rest, the layer-wise search last; ranked only when it is needed."""
        yield asked
        yield from (method for method in (*calibrator.ranked(), AUTO) if method != asked)

    def rival(self, reference: tuple[Product, Parity]) -> tuple[Product, Parity]:
        """Return what INT8 is held against: FP16 where the target says so and FP16 holds the gate, else FP32."""
        if self.target.rival != "fp16" or not isinstance(self.graph, Graph):
            return reference
        self.progress("compile FP16", 0.0)
        try:
            return self.fp16()
        except (GateMissed, BuildFailed):
            return reference

    def time(self, products: dict[str, Product]) -> dict[str, Latency]:
        """Time the products in turn; nothing where one of them cannot run on this machine."""
        self.progress("time a frame", 0.0)
        n = min(64, len(self.test))
        frames = [product.open_frame() for product in products.values() if product.open_frame is not None]
        if len(frames) < len(products):
            return {}
        latencies = interleaved(frames, self.test.joint_pos[:n], self.test.packed[:n])
        return dict(zip(products, latencies, strict=True))

    def publish(self, product: Product, result: CompileResult) -> dict[str, Any] | None:
        """Write the whole bundle beside its place, then move it there; return how its detector was calibrated."""
        run, config, healthy = self.run, self.config, None
        poses = self.poses[np.linspace(0, len(self.poses) - 1, KNOWN_ANSWERS_COUNT).astype(int)]
        with new_bundle(result.bundle, config.force) as bundle:
            bundle.files(product.files)
            self.progress("known answers", 0.0)
            bundle.known_answers(product, poses)
            if result.body is not None:
                bundle.files({BODY: result.body.product.files[result.body.product.main]})
                bundle.known_answers(result.body.product, poses, BODY_ANSWERS)
            if self.target.name in JUDGED:
                self.progress("calibrate the detector", 0.0)
                detector = calibrate_detector(product, run, config.detector, config.seed,
                                              lambda share: self.progress("calibrate the detector", share))
                bundle.json(DETECTOR, detector)
                healthy = detector["calibration"]
            if result.calibration is not None:
                bundle.calibration(result.calibration)
            bundle.robot(run.robot)
            self.progress("write the bundle", 0.0)
            bundle.publish(self.manifest(product, result))
        if product.plan is not None and product.plan.cache:
            write_cache(cache_folder(result.bundle), product.plan.cache)
        return healthy

    def manifest(self, product: Product, result: CompileResult) -> dict[str, Any]:
        """Everything that the manifest says besides its file list."""
        run, config, calibration = self.run, self.config, result.calibration
        quantization = {"scheme": "symmetric int8, zero-point 0, weights per output channel",
                        "method": calibration.method, "poses": calibration.poses, "samples": calibration.samples,
                        "samples_sha256": calibration.samples_sha256} if calibration else None
        body = own_body(run, product, self.graph) if isinstance(self.graph, BodyGraph) else None
        if self.target.name == "mcu":
            body = None  # no inspector and no fit runs there
        body = result.body.manifest() if result.body is not None else body
        settings = asdict(replace(config, out=None)) | {"out": str(result.bundle)}
        return {
            "target": self.target.name, "precision": product.precision, "robot": robot_entry(run.robot),
            "convention": run.robot.convention,
            "input": {"joint_pos": [self.graph.n_joints], "unit": "rad"},
            "output": {"logits": [self.graph.n_views, self.graph.height, self.graph.width]},
            "quantization": quantization, "body": body,
            "parity": asdict(result.parity), "parity_fp32": asdict(result.parity_fp32),
            "frame_us": {name: asdict(latency) for name, latency in result.latency.items()},
            "weights": {"file": product.main, "bytes": result.weight_bytes, "bytes_fp32": result.weight_bytes_fp32},
            "note": result.note, "plan": dict(product.plan.sidecar) if product.plan is not None else None,
            "provenance": {"run": str(run.path), "run_config": run.config, "revision": result.revision,
                           "seed": config.seed, "machine": describe()},
            "config": settings,
        }
