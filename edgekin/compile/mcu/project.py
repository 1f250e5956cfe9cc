"""The folder around an exported source: one that make, Arduino and Zephyr each take as it is."""

from __future__ import annotations

from edgekin.bundle import MCU_SOURCES
from edgekin.compile.mcu.cores import Core
from edgekin.compile.mcu.decoder import HEADER, SOURCE
from edgekin.compile.mcu.model import Model
from edgekin.compile.mcu.sources import filled

FILES = ("README.md", "Makefile", "library.properties", "examples/watch/watch.ino", "zephyr/module.yml",
         "zephyr/CMakeLists.txt", "zephyr/Kconfig")


def project(model: Model, core: Core, robot: str) -> dict[str, bytes]:
    """Return the files of an exported model: its source and what users' tools need around it.

    Args:
        model: what is exported.
        core: for which.
        robot: its name.

    Raises:
        ConfigError: the kernels do not take the model.
    """
    exported = model.export(core)
    views, height, width = model.shape
    values = {"title": robot, "robot": robot, "core": core.name, "flags": " ".join(core.flags), "views": views,
              "height": height, "width": width, "joints": exported.joints, "summary": model.summary,
              "predict": exported.predict}
    sources = dict(zip(MCU_SOURCES, (exported.files[HEADER], exported.files[SOURCE]), strict=True))
    texts = {name: filled(f"project/{name}", values) for name in FILES} | sources
    return {name: text.encode() for name, text in texts.items()}
