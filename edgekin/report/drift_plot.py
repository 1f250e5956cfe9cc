"""The plot of `edgekin drift --png`: estimates beside the truth, the tip's error with and without them."""

from __future__ import annotations

from typing import Any

from edgekin.report.figures import COLOURS, INK, QUIET, new_figure, plain, png

#: Around what is drawn.
MARGIN_DEG = 0.3


def draw(result: dict[str, Any]) -> bytes:
    """Return the PNG of a result of schema edgekin.drift/1."""
    figure = new_figure(9, 6.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _estimates(plain(above), result)
    _tip(plain(below), result)
    return png(figure)


def _estimates(axes: Any, result: dict[str, Any]) -> None:
    looks = result["looks"]
    for j, joint in enumerate(result["joints"]):
        colour = COLOURS[j % len(COLOURS)]
        axes.plot([look["time_s"] for look in looks], [look["true_deg"][j] for look in looks], color=colour,
                  linestyle=":", linewidth=1.2)
        known = [(look["time_s"], one) for look in looks for one in look["drift"] if one["joint"] == joint]
        times = [time for time, _ in known]
        axes.plot(times, [one["deg"] for _, one in known], color=colour, label=joint)
        axes.fill_between(times, [one["low"] for _, one in known], [one["high"] for _, one in known], color=colour,
                          alpha=0.15, linewidth=0)
    if result["alarm_s"] is not None:
        axes.axvline(result["alarm_s"], color=INK, linewidth=1)
        axes.annotate(f"alarm: {result['alarm']}", (result["alarm_s"], 0.98), xycoords=("data", "axes fraction"),
                      xytext=(4, 0), textcoords="offset points", va="top", fontsize=9, color=INK)
    values = [v for look in looks for v in (*look["true_deg"], *(one["deg"] for one in look["drift"]))]
    axes.set_ylim(min(values) - MARGIN_DEG, max(values) + MARGIN_DEG)  # bands begin wider than anything
    axes.set_ylabel("encoder reads too much, deg", color=INK)
    axes.set_title(f"{result['damage']}: pictures with 95% (lines, bands), truth (dots)", color=INK, fontsize=11,
                   loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _tip(axes: Any, result: dict[str, Any]) -> None:
    tips = [look for look in result["looks"] if look["tip_mm"] is not None]
    times = [look["time_s"] for look in tips]
    axes.plot(times, [look["tip_mm"] for look in tips], color=QUIET, marker="o", label="encoders as they are")
    axes.plot(times, [look["corrected_mm"] for look in tips], color=COLOURS[2], marker="o",
              label="corrected by pictures")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("tip misses by, mm", color=INK)
    axes.set_xlabel("s", color=INK)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
