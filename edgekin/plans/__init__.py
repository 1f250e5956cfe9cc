"""Plans of TensorRT and TensorRT-RTX where they run: read and held against the machine, then run by the C launcher.

They are built in edgekin.compile.tensorrt. One code path, which asks the module what it can do and never what version
it is.
"""

from __future__ import annotations

from edgekin.plans.files import (
    SCHEMA,
    Place,
    cache_folder,
    here,
    open_plan,
    read_plan,
    remedy,
    sha256,
    timing_cache_file,
)

__all__ = ["SCHEMA", "Place", "cache_folder", "here", "open_plan", "read_plan", "remedy", "sha256", "timing_cache_file"]
