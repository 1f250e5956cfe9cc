"""Pictures of a search: its front, its species, the winner's line, and quality against what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekin.output import write_atomic
from edgekin.report.figures import COLOURS, QUIET, new_figure, plain, png

if TYPE_CHECKING:
    from edgekin.evolution.prune import Result


def write_plots(result: Result, folder: Path) -> None:
    """Write the PNGs of a search into a folder."""
    for name, draw in PLOTS.items():
        figure = new_figure(7, 4)
        draw(result, plain(figure.subplots()))
        write_atomic(folder / f"{name}.png", png(figure))


def _front(result: Result, axes: Any) -> None:
    points = [(e.costs.instructions, e.member.outcome.psnr_db, e.costs.flash_bytes / 1024) for e in result.front]
    drawn = axes.scatter(*zip(*((x, y) for x, y, _ in points), strict=True), c=[z for *_, z in points], cmap="viridis")
    axes.figure.colorbar(drawn, label="flash, KiB")
    axes.axvline(result.options.budgets.instructions, color=QUIET, linestyle="--")
    axes.set(xlabel=f"instructions on {result.problem.core}", ylabel="PSNR, dB", title="the front")


def _species(result: Result, axes: Any) -> None:
    history = result.state.history
    names = sorted({(island, number) for entry in history for island, sizes in entry["species"].items()
                    for number in sizes}, key=lambda key: (key[0], int(key[1])))
    rows = [[entry["species"].get(island, {}).get(number, 0) for entry in history] for island, number in names]
    at = [entry["generation"] for entry in history]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    if any(any(row) for row in rows):
        axes.stackplot(at, rows, colors=colours, labels=[f"{island} {number}" for island, number in names])
        axes.legend(fontsize=6, ncols=2, loc="upper left")
    axes.set(xlabel="generation", ylabel="members", title="species")


def _genealogy(result: Result, axes: Any) -> None:
    """The winner's ancestors, by generation and quality."""
    ancestry, todo, seen = result.state.ancestry, [result.best.member.number], set()
    while todo:
        number = todo.pop()
        if number in seen or number not in ancestry:
            continue
        seen.add(number)
        parents, born, island, psnr_db = ancestry[number]
        axes.plot([born], [psnr_db], "o", color=COLOURS[island == "growth"], markersize=4)
        for rank, parent in enumerate(parents):
            if parent in ancestry:
                _, before, _, quality = ancestry[parent]
                axes.plot([before, born], [quality, psnr_db], color=QUIET, linewidth=1.2 if rank == 0 else 0.5)
                todo.append(parent)
    axes.set(xlabel="generation", ylabel="PSNR, dB", title="the winner's line (thick: weights, thin: genes)")


def _against(cost: str, label: str) -> Callable[[Result, Any], None]:
    def draw(result: Result, axes: Any) -> None:
        axes.plot([getattr(e.costs, cost) for e in result.front], [e.member.outcome.psnr_db for e in result.front], "o",
                  color=COLOURS[0], label="evolved")
        for number, (name, control) in enumerate(result.controls.items()):
            if control.outcome is not None:
                axes.plot([getattr(control.outcome.costs, cost)], [control.outcome.psnr_db], "s",
                          color=COLOURS[number + 1], label=name)
        axes.axvline(getattr(result.options.budgets, cost), color=QUIET, linestyle="--")
        axes.set(xlabel=label, ylabel="PSNR, dB", xscale="log")
        axes.legend(fontsize=8)
    return draw


PLOTS: dict[str, Callable[[Any, Any], None]] = {
    "front": _front, "species": _species, "genealogy": _genealogy,
    "quality-bytes": _against("flash_bytes", "flash, bytes"),
    "quality-instructions": _against("instructions", "instructions a tick")}
