"""The closed-form costs of a core: what each call of a kernel takes, fitted to counts of the emulator.

instructions = sum over features of coefficient * feature; flash = tables + the like for code.
The coefficients lie in edgekin/data/mcu_costs.json (benchmarks/fit_mcu_costs.py writes it), with how far off they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from edgekin.compile.mcu.cores import core_of
from edgekin.errors import ConfigError
from edgekin.evolution.problem import Costs

SCHEMA = "edgekin.mcu-costs/1"


@dataclass(frozen=True)
class Figures:
    """Of one core."""

    compiler: str
    instructions: dict[str, float]  # by feature
    code_bytes: dict[str, float]  # by feature: compilers copy a kernel for some of its calls
    ram_bytes: float  # beside the arena
    error: float  # the largest relative error of instructions on the models fitted to
    code_error_bytes: float  # the largest of flash

    def counted(self, features: Mapping[str, float]) -> float:
        """Return the instructions of what has these features; one that was never seen costs what is usual."""
        return float(sum(self.instructions.get(name, 0.0) * value for name, value in features.items()))

    def within(self, budgets: Costs) -> Costs:
        """Return budgets that predictions have to keep, so that what they are off by does not exceed the true ones."""
        return Costs(budgets.flash_bytes - min(self.code_error_bytes, budgets.flash_bytes / 2), budgets.ram_bytes,
                     budgets.instructions / (1 + self.error))

    def flash(self, code: Mapping[str, float], tables: float) -> float:
        """Return the flash of tables and of the code that reads them, by its features."""
        return tables + sum(self.code_bytes.get(name, 0.0) * value for name, value in code.items())


@cache
def figures_of(core: str) -> Figures:
    """Return the figures of a core; raises ConfigError where it is unknown, or nobody has fitted it."""
    core_of(core)
    content = json.loads((files("edgekin") / "data" / "mcu_costs.json").read_text())
    if core not in content["cores"]:
        raise ConfigError(f"no costs were fitted for core {core!r}",
                          f"Use one of {', '.join(content['cores'])}; fit_mcu_costs.py in benchmarks fits others")
    return Figures(**content["cores"][core])


def fitted(rows: Sequence[Mapping[str, float]], counts: Sequence[float]) -> tuple[dict[str, float], float]:
    """Return coefficients, none negative, that make the relative errors small, and the largest of these.

    Args:
        rows: the features of every model.
        counts: what was counted.
    """
    from scipy.optimize import nnls

    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    wanted = np.asarray(counts, dtype=np.float64)
    scale = np.maximum(matrix.max(axis=0), 1e-12)
    found, _ = nnls(matrix / scale / wanted[:, None], np.ones(len(wanted)))
    error = float(np.abs(matrix / scale @ found / wanted - 1).max())
    return {name: float(value) for name, value in zip(names, found / scale, strict=True) if value > 0}, error


def to_json(cores: Mapping[str, Figures], revision: str, seed: int) -> dict[str, Any]:
    """Return the content of mcu_costs.json."""
    return {"schema": SCHEMA, "revision": revision, "seed": seed,
            "cores": {name: asdict(figures) for name, figures in cores.items()}}
