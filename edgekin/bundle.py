"""The deployable bundle: a folder whose manifest vouches for every file, checked before the first tick. Numpy only."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import BundleError
from edgekin.output import write_atomic

if TYPE_CHECKING:
    from edgekin.robot.spec import RobotSpec
    from edgekin.runtime.cuda import CudaEngine, CudaInfo, CudaOptions
    from edgekin.runtime.engine import Engine

AnyEngine = TypeVar("AnyEngine", bound="Engine")

SCHEMA = "edgekin.bundle/1"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "model.ekw"
ONNX = "model.onnx"
#: FP16 body and FP16 scales at opset 19, for strongly typed TensorRT (10 and later).
STRONG = "model.strong.onnx"
#: Tensors of the ONNX files and of the plans that are built of them: (1, J) rad; (1, V, H, W) log-odds; the same, m.
INPUT, OUTPUT, DEPTH = "joints", "logits", "depth"
#: Built ahead of time for GPUs that may be elsewhere; PLAN.json beside it says for which.
PLAN = "model.plan"
DETECTOR = "detector.json"
#: Settings of the body model's inspector; edgekin calibrate-detector adds it.
INSPECTION = "inspection.json"
KNOWN_ANSWERS = "known_answers.npz"
#: The body model beside a decoder, and its known answers.
BODY, BODY_ANSWERS = "body.ekw", "body_answers.npz"

#: Of target cuda: what the kernels are, and their source; cubins are beside them.
KERNELS, KERNELS_SOURCE = "kernels.json", "kernels.cu"

#: Of target mcu: the standalone C99; project files for its users' tools are around it.
MCU_SOURCES = ("src/edgekin_model.h", "src/edgekin_model.c")

#: target -> the files without which a bundle of it is of no use.
REQUIRED = {
    "native": (WEIGHTS, DETECTOR, KNOWN_ANSWERS, "robot.urdf", "robot.yaml"),
    "cuda": (WEIGHTS, DETECTOR, KNOWN_ANSWERS, KERNELS, KERNELS_SOURCE, "robot.urdf", "robot.yaml"),
    "onnx": (ONNX, KNOWN_ANSWERS, "robot.urdf", "robot.yaml"),
    "tensorrt": (ONNX, KNOWN_ANSWERS, "robot.urdf", "robot.yaml"),
    "mcu": (WEIGHTS, KNOWN_ANSWERS, *MCU_SOURCES, "robot.urdf", "robot.yaml"),
    "tensorrt-rtx": (ONNX, PLAN, f"{PLAN}.json", KNOWN_ANSWERS, "robot.urdf", "robot.yaml"),
}

#: Caps before anything is read: far beyond any honest bundle, far below what would hurt the machine.
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 512 << 20
MAX_FILES = 64

#: A file's path in its bundle: no part of it begins with a dot, so none leads out of it.
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/){0,2}[A-Za-z0-9_][A-Za-z0-9_.-]*")
_RECOMPILE = "Run: edgekin compile --force"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files have been checked against its manifest."""

    path: Path
    manifest: dict[str, Any]
    detector: dict[str, Any] = field(default_factory=dict)  # detector.json; empty where the target has none
    inspection: dict[str, Any] = field(default_factory=dict)  # inspection.json; empty where it was never calibrated

    @property
    def target(self) -> str:
        """What runs it: a key of REQUIRED."""
        return str(self.manifest["target"])

    @property
    def precision(self) -> str:
        """fp32, fp16 or int8."""
        return str(self.manifest["precision"])

    @cached_property
    def robot(self) -> RobotSpec:
        """The robot as trained; reads its meshes on first use, which a device without them never needs."""
        from edgekin.robot import load_robot

        return load_robot(str(self.path / "robot.yaml"))

    def read(self, name: str) -> bytes:
        """Return a file's content after checking its size and hash; raises BundleError, naming the file."""
        return _read_checked(self.path, name, self.manifest["files"])

    def open_engine(self, isa: str = "auto") -> Engine:
        """Open the native engine and make it give the known answers.

        Args:
            isa: auto, scalar, avx2, avx512 or neon.

        Raises:
            BundleError: not a native bundle, or an answer differs from the recorded one.
            RuntimeFault: the engine refuses the weights or the instruction set.
        """
        if self.target not in ("native", "cuda"):
            raise BundleError(f"bundle {self.path} is for target {self.target}, which the native engine cannot run",
                              "Run: edgekin compile --target native")
        return self._open(WEIGHTS, KNOWN_ANSWERS, isa)

    def open_cuda(self, options: CudaOptions | None = None) -> CudaEngine:
        """Open the weights on a GPU, with the bundle's kernels where it has some for it, and ask the known answers.

        Raises:
            BundleError: neither a cuda nor a native bundle, or an answer differs from the recorded one.
            RuntimeFault: no driver, no GPU, or no kernels for it and no compiler.
        """
        from edgekin.runtime.cuda import CudaEngine, probe

        if self.target not in ("native", "cuda"):
            raise BundleError(f"bundle {self.path} is for target {self.target}, which our CUDA kernels cannot run",
                              "Run: edgekin compile --target cuda")
        kernels = self._kernels()
        cubin = self._cubin(kernels, probe(options))
        engine = CudaEngine(self.read(WEIGHTS), cubin, str(kernels["arithmetic"]), options)
        return self.checked(engine)

    def _kernels(self) -> dict[str, Any]:
        """What the bundle says of its kernels; of a native one, what fits its weights."""
        if self.target == "native":
            plain = self.precision == "int8" and self.manifest.get("quantization") is not None
            return {"arithmetic": "int8" if plain else "fp32", "cubins": [], "source_sha256": "", "nvcc": ""}
        kernels = _parse_object(self.read(KERNELS), self.path / KERNELS)
        if not {"arithmetic", "cubins", "source_sha256", "nvcc"} <= kernels.keys():
            raise BundleError(f"{self.path / KERNELS} does not say what the kernels are", _RECOMPILE)
        return kernels

    def _cubin(self, kernels: dict[str, Any], gpu: CudaInfo) -> bytes:
        """The bundle's, where it has one of this library's source for this GPU and driver; else cached or made here."""
        from edgekin.runtime.cuda_kernels import cached_cubin, runs_on, source_sha256

        name = f"kernels.sm_{gpu.sm}.cubin"
        ours = name in kernels["cubins"] and kernels["source_sha256"] == source_sha256()
        if ours and runs_on(str(kernels["nvcc"]), gpu.driver):
            return self.read(name)
        return cached_cubin(gpu.sm).cubin

    @property
    def has_body(self) -> bool:
        """Whether there is a body model: the bundle's own, or one beside its decoder."""
        return isinstance(self.manifest.get("body"), dict)

    def open_body(self, isa: str = "auto") -> Engine:
        """Open the body model in the native engine and make it give its known answers.

        Raises:
            BundleError: there is none, or an answer differs from the recorded one.
            RuntimeFault: the engine refuses the weights or the instruction set.
        """
        entry = self.manifest.get("body")
        if not isinstance(entry, dict):
            raise BundleError(f"bundle {self.path} has no body model",
                              "Train without --model and --no-body-model, and compile again")
        return self._open(str(entry.get("file")), str(entry.get("known_answers")), isa)

    def _open(self, weights: str, answers: str, isa: str) -> Engine:
        from edgekin.runtime.engine import Engine

        return self.checked(Engine.open(self.read(weights), isa), answers)

    def checked(self, engine: AnyEngine, answers: str = KNOWN_ANSWERS) -> AnyEngine:
        """Return an engine of the bundle once it has given its known answers; it is closed where it does not."""
        try:
            check_known_answers(engine, self.read(answers), f"{self.path}/{answers}")
        except BaseException:
            engine.close()
            raise
        return engine


def runs_root() -> Path:
    """Return the folder of the runs: $EDGEKIN_RUNS or ./runs."""
    return Path(os.environ.get("EDGEKIN_RUNS") or "runs")


def latest_bundle() -> Path:
    """Return the bundle whose manifest was written last; raises BundleError where there is none."""
    # A hidden folder is one that is still being written, or that an interruption left behind.
    whole = [path for path in runs_root().glob(f"*/*/{MANIFEST}") if not path.parent.name.startswith(".")]
    found = sorted(whole, key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise BundleError(f"no bundle under {runs_root()}/", "Run: edgekin train && edgekin compile --int8")
    return found[-1].parent


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check its version, its file sizes and every hash.

    Args:
        path: the bundle's folder.

    Returns:
        The bundle; the known answers are checked when an engine is opened from it.

    Raises:
        BundleError: missing, of another version, or with a missing or changed file (which it names).
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    files = _check_file_list(folder, manifest)
    content = {name: _read_checked(folder, name, files) for name in sorted(files)}
    detector, inspection = (_parse_object(content[name], folder / name) if name in content else {}
                            for name in (DETECTOR, INSPECTION))
    return Bundle(folder, manifest, detector, inspection)


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise BundleError(f"bundle {folder} does not exist", "Run: edgekin compile --int8")
    path = folder / MANIFEST
    try:
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} has {size} bytes, expected at most {MAX_MANIFEST_BYTES}", _RECOMPILE)
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): {folder} is not a bundle",
                          "Run: edgekin compile --int8") from error
    manifest = _parse_object(raw, path)
    version = manifest.get("format_version")
    if manifest.get("schema") != SCHEMA or version != FORMAT_VERSION:
        raise BundleError(f"bundle {folder} is of format version {version!r} ({manifest.get('schema')!r}), "
                          f"this edgekin reads version {FORMAT_VERSION} ({SCHEMA!r})",
                          "Compile the run again with this edgekin: edgekin compile --force")
    return manifest


def _parse_object(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}", _RECOMPILE) from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds no JSON object", _RECOMPILE)
    return content


def _check_file_list(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest's file list after checking names, form and completeness; nothing of it is opened."""
    files = manifest.get("files")
    target = manifest.get("target")
    if not isinstance(files, dict) or not 0 < len(files) <= MAX_FILES or target not in REQUIRED:
        raise BundleError(f"{folder / MANIFEST} lists no files for a known target ({target!r}), expected one of "
                          f"{', '.join(REQUIRED)}", _RECOMPILE)
    for name, entry in files.items():
        plain = isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)
        if not _NAME.fullmatch(name) or not plain or name == MANIFEST:
            raise BundleError(f"{folder / MANIFEST} has a malformed entry for file {name!r}", _RECOMPILE)
    missing = [name for name in REQUIRED[target] if name not in files]
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}, which target {target} needs", _RECOMPILE)
    return files


def _read_checked(folder: Path, name: str, files: dict[str, Any]) -> bytes:
    path = folder / name
    if name not in files:
        raise BundleError(f"bundle {folder} has no file {name}", _RECOMPILE)
    expected = files[name]
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a regular file", _RECOMPILE)
        if status.st_size != expected["bytes"] or status.st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path} has {status.st_size} bytes, the manifest says {expected['bytes']} (at most "
                              f"{MAX_FILE_BYTES})", _RECOMPILE)
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}", _RECOMPILE) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected["sha256"]:
        raise BundleError(f"{path} was changed: its sha256 is {digest[:12]}..., the manifest says "
                          f"{expected['sha256'][:12]}...", _RECOMPILE)
    return content


def write_manifest(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Hash every file of the folder and write manifest.json as the last one.

    Args:
        folder: the bundle under construction; holds its other files and nothing else.
        content: what the manifest says besides schema, format_version and files.

    Returns:
        The whole manifest.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        files[path.relative_to(folder).as_posix()] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"schema": SCHEMA, "format_version": FORMAT_VERSION, **content, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def with_file(bundle: Bundle, name: str, data: bytes) -> Bundle:
    """Put one more file into a bundle on disk, or another version of it, and return the bundle as it is then.

    At every moment the folder is a whole bundle: while a file is replaced, one without it.

    Args:
        bundle: as it was loaded.
        name: of a file that no target requires.
        data: its content.

    Raises:
        BundleError: the bundle has become another one since, or cannot be written to.
    """
    if _read_manifest(bundle.path) != bundle.manifest:
        raise BundleError(f"bundle {bundle.path} was written anew meanwhile; {name} was not put into it",
                          "Run it again")
    others = {key: entry for key, entry in bundle.manifest["files"].items() if key != name}
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    try:
        if len(others) < len(bundle.manifest["files"]):
            _rewrite_manifest(bundle, others)
        write_atomic(bundle.path / name, data)
        _rewrite_manifest(bundle, dict(sorted({**others, name: entry}.items())))
    except OSError as error:
        raise BundleError(f"cannot write {bundle.path / name}: {error.strerror}",
                          "Free disk space, or copy the bundle to where you may write") from error
    return load_bundle(bundle.path)


def _rewrite_manifest(bundle: Bundle, files: dict[str, Any]) -> None:
    content = json.dumps({**bundle.manifest, "files": files}, indent=2) + "\n"
    write_atomic(bundle.path / MANIFEST, content.encode())


def known_answers_bytes(joint_pos: NDArray[np.float64], **answers: NDArray[Any]) -> bytes:
    """Return the content of known_answers.npz.

    Args:
        joint_pos: (K, J) rad.
        answers: `logits_int8` (K, V, H, W) int8; or `logits` (K, V, H, W) float32 and `tolerance` () float64.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"joint_pos": joint_pos, **answers}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_known_answers(raw: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of known_answers.npz; raises BundleError where it is damaged or too large."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            total = sum(info.file_size for info in archive.infolist())
        if total > MAX_FILE_BYTES:
            raise BundleError(f"{where} unpacks to {total} bytes, expected at most {MAX_FILE_BYTES}",
                              _RECOMPILE)
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise BundleError(f"{where} is damaged: {error}", _RECOMPILE) from error
    if arrays.get("joint_pos", np.zeros(0)).ndim != 2 or len(arrays["joint_pos"]) == 0:
        raise BundleError(f"{where} holds no poses", _RECOMPILE)
    return arrays


def check_known_answers(engine: Engine, raw: bytes, where: str) -> None:
    """Raise BundleError unless the engine gives every recorded answer.

    Args:
        engine: an open native engine.
        raw: the content of known_answers.npz.
        where: the file's path, for the message.
    """
    answers = read_known_answers(raw, where)
    exact = "logits_int8" in answers
    expected = answers.get("logits_int8" if exact else "logits", np.zeros(0))
    tolerance = 0.0 if exact else float(answers.get("tolerance", np.zeros(())))
    if exact != (engine.info.precision == "int8") or expected.shape != (len(answers["joint_pos"]), *engine.shape):
        raise BundleError(f"{where} is not for its {engine.info.precision} engine: answers of shape "
                          f"{expected.shape}, expected {(len(answers['joint_pos']), *engine.shape)}", _RECOMPILE)
    for index, (pose, wanted) in enumerate(zip(answers["joint_pos"], expected, strict=True)):
        engine.run(pose)
        got = engine.logits_int8()[0] if exact else engine.logits()
        error = float(np.max(np.abs(got.astype(np.float64) - wanted.astype(np.float64))))
        if not error <= tolerance:
            raise BundleError(f"the engine fails its known answer {index + 1} of {len(expected)} in {where}: "
                              f"off by {error:.3g}, allowed {tolerance:.3g}",
                              f"{_RECOMPILE}, and report this machine's CPU with it")
