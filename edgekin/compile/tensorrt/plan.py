"""A plan that was built, and the sidecar that will vouch for it (edgekin.plans reads it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekin.compile.tensorrt.layers import Layer
from edgekin.plans import SCHEMA, Place, sha256


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
