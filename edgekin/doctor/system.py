"""What the checks look at: files under a root, programs in PATH, packages that a Python imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

#: A package that hangs at import, as torch on a broken network file system does, must not hang the doctor.
IMPORT_TIMEOUT_S = 60.0
OK, WARNING, MISSING = "ok", "warning", "missing"

#: Imports in a process of its own: what crashes, prints or takes the GPU does so there.
_IMPORT = """
import importlib, importlib.metadata, json, sys
name, distribution = sys.argv[1:]
try:
    module = importlib.import_module(name)
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = str(getattr(module, "__version__", "of unknown version"))
    answer = [version, ""]
except BaseException as error:
    answer = [None, (type(error).__name__ + ": " + str(error)).split("\\n")[0]]
print("\\n" + json.dumps(answer))
"""


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    section: str
    name: str
    status: str  # ok | warning | missing
    detail: str
    remedy: str = ""
    base: bool = False  # without it the base job cannot run


@dataclass(frozen=True)
class Imported:
    """What became of an import."""

    version: str | None  # None: it failed
    error: str = ""


@dataclass(frozen=True)
class System:
    """The machine, or in a test a part of one."""

    root: Path = Path("/")
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, name: str) -> Path:
        """Return a path of the system ("/etc/...") under the root."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """Return a file's text without white space around it; empty where it cannot be read."""
        try:
            return self.path(name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def glob(self, pattern: str) -> list[Path]:
        """Return the paths of the system that match."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def which(self, program: str) -> str | None:
        """Return where PATH has a program."""
        return shutil.which(program, path=self.environment.get("PATH"))

    @property
    def is_jetson(self) -> bool:
        """Whether this runs NVIDIA's Jetson Linux."""
        return self.path("/etc/nv_tegra_release").exists()

    def imports(self, packages: Iterable[tuple[str, str]]) -> dict[str, Imported]:
        """Import packages, each in a process of its own, a few at a time.

        Args:
            packages: (module, distribution that says the version).

        Returns:
            module -> what became of it.
        """
        wanted = list(packages)
        with ThreadPoolExecutor(max_workers=4) as pool:
            return dict(zip((name for name, _ in wanted), pool.map(self._import, wanted), strict=True))

    def _import(self, package: tuple[str, str]) -> Imported:
        lines, error = self._child(_IMPORT, *package)
        try:
            version, message = json.loads(lines[-1])
        except (IndexError, ValueError, TypeError):
            return Imported(None, error)
        return Imported(version, message)

    def _child(self, code: str, *args: str) -> tuple[list[str], str]:
        """Run code in a Python; return its output's lines and, where it ended badly, how."""
        try:
            done = subprocess.run([self.python, "-c", code, *args], capture_output=True, text=True, errors="replace",
                                  timeout=IMPORT_TIMEOUT_S, env=self.environment)
        except subprocess.TimeoutExpired:
            return [], f"no answer within {IMPORT_TIMEOUT_S:g} s"
        except OSError as error:
            return [], str(error)
        return done.stdout.splitlines(), f"ended with status {done.returncode}"
