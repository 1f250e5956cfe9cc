"""Finished pieces of long work, one JSON file each in a folder, so that what was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError
from edgekin.output import read_object, write_json

PIECES, STATE = "pieces", "state.json"
BEGIN_AGAIN = "Begin again with --force"


def fingerprint(*parts: Any) -> str:
    """Return ten hexadecimal digits that change with any of the parts, which are JSON-ready."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def folder_name(name: str) -> str:
    """Return a name with nothing in it that a folder should not have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "robot"


class PieceStore:
    """The folder of one piece of long work.

    Args:
        folder: made where it is missing.
        what: the work, for messages: "comparison".
        schema: of what says whose folder it is.
        identity: what the work must share with that in the folder to go on with it.
        force: begin again whatever lies there.
        parts: folders in it that beginning again empties.

    Raises:
        ConfigError: the folder holds the work of another identity, or something else, or cannot be written.
    """

    def __init__(self, folder: Path, what: str, schema: str, identity: dict[str, Any], force: bool,
                 parts: tuple[str, ...] = (PIECES,)) -> None:
        self.folder = folder
        if (folder / STATE).is_file():
            self._agree(what, schema, identity, force, parts)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} exists and holds no {what}", "Choose another --out")
        try:
            (folder / PIECES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write into {folder}: {error.strerror}", "Choose another --out") from error
        write_json(folder / STATE, {"schema": schema, **identity})

    def _agree(self, what: str, schema: str, identity: dict[str, Any], force: bool, parts: tuple[str, ...]) -> None:
        found = read_object(self.folder / STATE, BEGIN_AGAIN)
        if found.get("schema") != schema:
            raise ConfigError(f"{self.folder} exists and holds no {what}", "Choose another --out")
        if force:
            for part in parts:
                shutil.rmtree(self.folder / part, ignore_errors=True)
            return
        for key, value in identity.items():
            if found.get(key) != value:
                raise ConfigError(f"{self.folder} holds a {what} with {key} {found.get(key)}, not {value}",
                                  "Choose another --out, or begin again with --force")

    def read(self, key: str) -> dict[str, Any] | None:
        """Return a finished piece, or None; one that cannot be read counts as not done."""
        try:
            return read_object(self.folder / PIECES / f"{key}.json", BEGIN_AGAIN)
        except ConfigError:
            return None

    def write(self, key: str, content: dict[str, Any]) -> dict[str, Any]:
        """Keep a finished piece and return it."""
        write_json(self.folder / PIECES / f"{key}.json", content, indent=None)
        return content
