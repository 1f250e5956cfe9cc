"""A generation on disk, whole or not at all, with the one before it: whatever stops the search, it goes on from there.

A file: a line with the schema, a line with the SHA-256 of the rest, and an npz of the state (JSON) and all weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.output import write_atomic

SCHEMA = "edgekin.evolution/1"
KEPT = 2
_NAME = re.compile(r"generation-(\d{6})\.ckpt")
Arrays = dict[str, NDArray[Any]]


def save(folder: Path, generation: int, state: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a generation, and remove those before the last."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    np.savez(buffer, state=text, **arrays)  # type: ignore[arg-type]
    body = buffer.getvalue()
    head = f"{SCHEMA}\n{hashlib.sha256(body).hexdigest()}\n".encode()
    write_atomic(folder / f"generation-{generation:06d}.ckpt", head + body)
    for _, path in _found(folder)[KEPT:]:
        path.unlink(missing_ok=True)


def load(folder: Path) -> tuple[dict[str, Any], Arrays, str]:
    """Return state and weights of the last generation that is whole, and what was wrong with a later one.

    Raises:
        ConfigError: there is none.
    """
    trouble = ""
    for number, path in _found(folder):
        content = _read(path)
        if content is not None:
            return *content, trouble
        trouble = trouble or f"checkpoint {path} is damaged: going back from generation {number} to the one before it"
    if trouble:
        raise ConfigError(f"no checkpoint in {folder} is whole", "Begin anew without --resume")
    raise ConfigError(f"there is no checkpoint in {folder}", "Begin without --resume")


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Generations and their files, the last first."""
    return sorted(((int(found[1]), path) for path in folder.glob("*.ckpt")
                   if (found := _NAME.fullmatch(path.name))), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], Arrays] | None:
    schema, _, rest = path.read_bytes().partition(b"\n")
    digest, _, body = rest.partition(b"\n")
    if schema.decode(errors="replace") != SCHEMA or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    return json.loads(arrays.pop("state").tobytes()), arrays
