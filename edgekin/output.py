"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file through a temporary sibling, so that it is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any], indent: int | None = 2) -> None:
    """Write a JSON file whole or not at all.

    Args:
        path: its folder is made where it is missing.
        content: JSON-ready.
        indent: None: one line, for what only programs read.

    Raises:
        ConfigError: the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(content, indent=indent) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", "Choose a place you may write") from error


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Return a JSON object; raises ConfigError with the remedy where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object", remedy)
    return content


def check_output(path: Path | None, force: bool, option: str = "--json") -> None:
    """Check, before the work, that the file of an option may be written.

    Raises:
        ConfigError: it exists already, it is a folder, or its folder does not exist.
    """
    if path is None:
        return
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already", f"Choose another {option}, or overwrite it with --force")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: no such folder, or it is one", "Choose a file in a folder that exists")
