"""Plans of a bundle on a device: the sidecar is read and held against this machine before a plan is opened.

A plan is code for one GPU and one version. Opened elsewhere it fails with an assertion at best: so nothing is handed to
TensorRT whose sidecar does not fit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekin.bundle import MAX_FILE_BYTES, MAX_MANIFEST_BYTES, PLAN, Bundle
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


def sha256(content: bytes) -> str:
    """Return the hash as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def here(target: str, version: str, gpu: Gpu) -> Place:
    """Return the place that a plan for this machine is bound to."""
    mode = gpu.power_mode if target == "tensorrt" else ""  # TensorRT-RTX chooses its kernels when it loads the plan
    return Place(target, version, (gpu.sm,), mode)


def remedy(bundle: Path | str, at: Place) -> str:
    """Return the command that builds a plan of a bundle anew, for a machine."""
    # TensorRT builds for the GPU that is here, TensorRT-RTX for those it is asked for.
    sms = f" --sm {','.join(map(str, at.sms))}" if at.target == "tensorrt-rtx" else ""
    return f"Build it for this machine: edgekin compile {bundle} --target {at.target}{sms} --force"


def cache_folder(bundle: Path) -> Path:
    """Return the folder beside a bundle that holds plans built on this machine."""
    return bundle.with_name(f"{bundle.name}.plans")


def timing_cache_file(place: Place) -> Path:
    """Return where what builds measured is kept: in $XDG_CACHE_HOME/edgekin, by version, GPU and power mode."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "edgekin" / f"{place.stem}.timing"


def open_plan(bundle: Bundle, at: Place) -> tuple[bytes, dict[str, Any]]:
    """Return the plan of a bundle for a machine, and its sidecar: from the bundle, else from the folder beside it.

    Raises:
        BundleError: there is none that fits, in one line with the command that builds one.
    """
    models = {name: entry["sha256"] for name, entry in bundle.manifest["files"].items()}
    hint = remedy(bundle.path, at)
    inside = bundle.path / PLAN
    if PLAN in models and bundle.target == at.target:
        try:
            return read_plan(inside, at, models, hint)
        except BundleError as error:
            refused = error
    else:
        refused = None
    cached = cache_folder(bundle.path) / f"{bundle.precision}-{at.stem}.plan"
    if not cached.is_file():
        others = ", ".join(sorted(path.stem for path in cached.parent.glob("*.plan"))) or "none"
        raise refused or BundleError(f"there is no {bundle.precision} plan of {bundle.path} for {at.stem}; beside it: "
                                     f"{others}", hint)
    return read_plan(cached, at, models, hint)


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
        raise BundleError(f"the plan's sidecar {path} cannot be read: {error.strerror}", hint) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}", hint) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise BundleError(f"{path} is no sidecar of a plan (schema {SCHEMA})", hint)
    return content
