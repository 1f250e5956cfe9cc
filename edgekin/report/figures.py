"""What every plot shares: the colours, the axes, the PNG."""

from __future__ import annotations

import io
from typing import Any

from edgekin.errors import MissingExtra

INK, QUIET, GRID = "#1f2933", "#7b8794", "#e4e7eb"
#: Told apart by the colour-blind, too; by the order in which models are listed. Source: Okabe and Ito, 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c564b", "#444444")
DPI = 130


def new_figure(width: float, height: float) -> Any:
    """Return a matplotlib Figure of so many inches that no window knows of; raises MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "report") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def plain(axes: Any, grid: str = "both") -> Any:
    """Take away what an axes does not need, and return it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=9)
    axes.grid(True, axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def colours(models: list[str]) -> dict[str, str]:
    """Return a colour for each model; the same for the same set, in whatever order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(sorted(models))}


def png(figure: Any) -> bytes:
    """Return the figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
