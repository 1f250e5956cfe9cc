"""Learning curves as a picture."""

from __future__ import annotations

import io
from typing import Any

from edgekin.errors import MissingExtra
from edgekin.training.loop import Progress


def curves_png(progress: Progress, floors: dict[str, dict[str, Any]], title: str) -> bytes:
    """Return a PNG: training loss, and held-out PSNR beside the floors, over the seconds of training.

    Args:
        progress: of a finished training.
        floors: name -> {psnr_db, iou}.
        title: above the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([p[1] for p in progress.loss], [p[2] for p in progress.loss], color="#33507a")
    left.set(xlabel="training time, s", ylabel="cross-entropy, nats per pixel", yscale="log")
    right.plot([p[1] for p in progress.held_out], [p[2] for p in progress.held_out], marker=".", color="#33507a",
               label="model, held out")
    for (name, floor), style in zip(floors.items(), (":", "--", "-."), strict=False):
        right.axhline(floor["psnr_db"], linestyle=style, color="#999999", label=name.replace("_", " "))
    right.set(xlabel="training time, s", ylabel="PSNR, dB")
    right.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
