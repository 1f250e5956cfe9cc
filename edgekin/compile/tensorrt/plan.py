"""A plan and what vouches for it: the sidecar, which is read and held against this machine before a plan is opened.

A plan is code for one GPU and one version. Opened elsewhere it fails with an assertion at best: so nothing is handed to
TensorRT whose sidecar does not fit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekin.bundle import MAX_FILE_BYTES, MAX_MANIFEST_BYTES
from edgekin.compile.tensorrt.layers import Layer
from edgekin.errors import BundleError
from edgekin.gpu import Gpu

SCHEMA = "edgekin.plan/1"


@dataclass(frozen=True)
class Place:
    """What a plan is bound to."""

    target: str  # tensorrt | tensorrt-rtx
    version: str  # of it
    sms: tuple[int, ...]  # compute capabilities
    power_mode: str = ""  # a Jetson's nvpmodel number: its clocks decide which kernels were the fastest

    @property
    def stem(self) -> str:
        """The plan's file name in a cache, without what says the precision."""
        mode = f"-mode{self.power_mode}" if self.power_mode else ""
        return f"{self.target}-{self.version}-{'-'.join(f'sm{sm}' for sm in self.sms)}{mode}"

    def misfit(self, here: Place) -> str:
        """Say what of the machine at hand the plan is not for; empty where it fits."""
        pairs = [("target", self.target, here.target), ("version", self.version, here.version),
                 ("power mode", self.power_mode, here.power_mode)]
        for name, its, ours in pairs:
            if its != ours:
                return f"{name} {its or 'none'}, here is {ours or 'none'}"
        missing = sorted(set(here.sms) - set(self.sms))
        return f"SM {', '.join(map(str, self.sms))}, here is SM {missing[0]}" if missing else ""


@dataclass(frozen=True)
class Plan:
    """A plan with all that is known of it."""

    content: bytes
    place: Place
    precision: str  # fp32 | fp16 | int8: as asked for
    typing: str  # strong | weak
    model: str  # name of the ONNX file in the bundle that it was built of
    model_sha256: str
    layers: tuple[Layer, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)  # layers that would not build in INT8, and why
    build_seconds: float = 0.0
    frame_us: tuple[float, ...] = ()  # p50 of each build that was timed; the plan is that of the least
    timing_cache: bytes = b""

    def sidecar(self, name: str) -> dict[str, Any]:
        """Return what stands in the JSON file beside the plan `name`."""
        return {"schema": SCHEMA, "plan": {"file": name, "bytes": len(self.content), "sha256": sha256(self.content)},
                "place": asdict(self.place) | {"sms": list(self.place.sms)}, "precision": self.precision,
                "typing": self.typing, "onnx": {"file": self.model, "sha256": self.model_sha256},
                "layers": [asdict(layer) for layer in self.layers], "dropped": dict(self.dropped),
                "build_seconds": round(self.build_seconds, 3), "frame_us": list(self.frame_us)}

    def files(self, stem: str) -> dict[str, bytes]:
        """Return the two files of the plan, by name."""
        name = f"{stem}.plan"
        text = json.dumps(self.sidecar(name), indent=2) + "\n"
        return {name: self.content, f"{name}.json": text.encode()}


def sha256(content: bytes) -> str:
    """Return the hash as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def here(target: str, version: str, gpu: Gpu) -> Place:
    """Return the place that a plan for this machine is bound to."""
    mode = gpu.power_mode if target == "tensorrt" else ""  # TensorRT-RTX chooses its kernels when it loads the plan
    return Place(target, version, (gpu.sm,), mode)


def remedy(bundle: Path | str, target: str) -> str:
    """Return the command that builds a plan of a bundle anew."""
    return f"Build it for this machine: edgekin compile {bundle} --target {target} --force"


def cache_folder(bundle: Path) -> Path:
    """Return the folder beside a bundle that holds plans built on this machine."""
    return bundle.with_name(f"{bundle.name}.plans")


def timing_cache_file(place: Place) -> Path:
    """Return where what builds measured is kept: in $XDG_CACHE_HOME/edgekin, by version, GPU and power mode."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "edgekin" / f"{place.stem}.timing"


def read_plan(path: Path, at: Place, models: Mapping[str, str], hint: str) -> tuple[bytes, dict[str, Any]]:
    """Return a plan and its sidecar after holding them against this machine and the bundle.

    Args:
        path: the plan; its sidecar stands beside it.
        at: the machine at hand.
        models: ONNX file -> sha256, of the bundle.
        hint: how to build the plan anew.

    Raises:
        BundleError: one line: missing, changed, for another version, GPU or power mode, or of another model.
    """
    sidecar = _read_sidecar(path.with_name(f"{path.name}.json"), hint)
    try:
        place = Place(**{**sidecar["place"], "sms": tuple(sidecar["place"]["sms"])})
        entry, model = sidecar["plan"], sidecar["onnx"]
        misfit = place.misfit(at)
        stale = models.get(model["file"]) != model["sha256"]
        expected = entry["bytes"], entry["sha256"]
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path}.json is no sidecar of a plan: {error!r}", hint) from error
    if misfit:
        raise BundleError(f"plan {path} is for {misfit}", hint)
    if stale:
        raise BundleError(f"plan {path} was built of another {model['file']} than the bundle has", hint)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"plan {path} is larger than {MAX_FILE_BYTES} bytes", hint)
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"plan {path} cannot be read: {error.strerror}", hint) from error
    if (len(content), sha256(content)) != expected:
        raise BundleError(f"plan {path} was changed: its size or sha256 is not its sidecar's", hint)
    return content, sidecar


def _read_sidecar(path: Path, hint: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes", hint)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"there is no plan for this machine: no {path} ({error.strerror})", hint) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}", hint) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise BundleError(f"{path} is no sidecar of a plan (schema {SCHEMA})", hint)
    return content
