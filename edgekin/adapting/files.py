"""The small file that an adaptation is; edgekin.opening reads it."""

from __future__ import annotations

from pathlib import Path

from edgekin import machine
from edgekin.adapting.result import Adapted
from edgekin.bundle import load_bundle
from edgekin.errors import ConfigError
from edgekin.opening import ADAPTATION_SCHEMA, adaptation_path, body_sha256
from edgekin.output import write_json


def write_adaptation(found: Adapted, path: Path) -> None:
    """Write what was accepted; raises ConfigError where the place cannot be written to.

    Args:
        found: with a change.
        path: of the file.
    """
    assert found.change is not None
    plan = found.plan
    write_json(path, {"schema": ADAPTATION_SCHEMA, "revision": machine.revision(), "seed": plan.seed,
                      "body_sha256": body_sha256(load_bundle(found.bundle)),
                      "changes": [str(named) for named in found.change.named], "sizes": found.change.sizes.tolist(),
                      "offsets_rad": found.offsets.tolist(), "lost": found.lost, "worse": found.change.worse,
                      "damage": plan.damage if plan.data is None else None,
                      "data": str(plan.data) if plan.data else None})


def rollback(folder: Path, path: Path | None = None) -> Path:
    """Remove a bundle's adaptation, and return where it was.

    Raises:
        BundleError: no bundle.
        ConfigError: it has none, or it cannot be removed.
    """
    path = path or adaptation_path(load_bundle(folder))
    try:
        path.unlink()
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: the model is as it was trained", "There is nothing to give back") \
            from None
    except OSError as error:
        raise ConfigError(f"cannot remove {path}: {error.strerror}", "Run as who may write there") from error
    return path
