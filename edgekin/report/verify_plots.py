"""The plots of a verification, each from its part of an edgekin.verify/1 result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekin.report.figures import COLOURS, GRID, INK, QUIET, new_figure, plain, png
from edgekin.report.pictures import unpacked_picture
from edgekin.report.verify_tables import mostly_missed

Json = dict[str, Any]

UNITS = {"DEG": "deg", "PERCENT": "%", "DEG_PER_MIN": "deg/min", "": ""}
COLUMNS = 3
#: Joints stand beside each other at a size, so that equal values do not hide one another.
SPREAD = 0.07
NOT_SEEN, MADE_UP = -1, 1
#: Width of a legend's key and of a letter of its text, inches.
KEY_IN, LETTER_IN = 0.75, 0.085


def _panels(count: int, wide: float = 3.3, tall: float = 2.5) -> tuple[Any, list[Any]]:
    """A figure of so many panels, three in a row."""
    columns, rows = min(COLUMNS, count), -(-count // COLUMNS)
    figure = new_figure(wide * columns + 0.4, tall * rows + 0.6)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def _by_size(result: Json, cases: Sequence[Json], draw: Callable[[Any, float, Json, str], float | None], title: str,
             says: str) -> tuple[Any, list[Any]]:
    """One panel for each kind, sizes from left to right, a line for each joint."""
    kinds = list(dict.fromkeys(case["kind"] for case in cases))
    figure, panels = _panels(len(kinds))
    joints = result["robot"]["joints"]
    for axes, kind in zip(panels, kinds, strict=True):
        plain(axes, "y")
        own = [case for case in cases if case["kind"] == kind]
        sizes = sorted({case["size"] or 0.0 for case in own})
        for number, colour in zip(range(1, len(joints) + 1), np.resize(COLOURS, len(joints)), strict=True):
            points = []
            for case in (c for c in own if c["joint"] == number):
                x = sizes.index(case["size"] or 0.0) + SPREAD * (number - (len(joints) + 1) / 2)
                y = draw(axes, x, case, str(colour))
                points += [(x, y)] if y is not None else []
            axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.3, alpha=0.6, zorder=2)
        unit = UNITS[own[0]["unit"]]
        axes.set_xticks(range(len(sizes)), [f"{size:g}" if size else "" for size in sizes])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        axes.set_title(f"{kind}{', ' + unit if unit else ''}", fontsize=10, color=INK, loc="left")
    for axes in panels[::COLUMNS]:
        axes.set_ylabel(says, color=INK, fontsize=9)
    shown = {case["joint"] for case in cases}
    names = [f"{i} {name}" for i, name in enumerate(joints, 1)]
    handles = [panels[0].plot([], [], "o-", color=c, label=name)[0] for i, (name, c) in
               enumerate(zip(names, np.resize(COLOURS, len(joints)), strict=True), 1) if i in shown]
    columns = int(figure.get_figwidth() / (KEY_IN + LETTER_IN * max(map(len, names))))
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(len(handles), columns)), frameon=False,
                  fontsize=9)
    figure.suptitle(title, color=INK, fontsize=11)
    return figure, panels


def _of_joints(result: Json) -> list[Json]:
    return [case for case in result["cases"] if case["joint"] is not None]


def delays(result: Json) -> bytes:
    """Return the PNG of delay against size, by kind and joint."""
    length = result["settings"]["after_s"] * result["settings"]["camera_hz"]

    def draw(axes: Any, x: float, case: Json, colour: str) -> float | None:
        median, p95 = case["median_frames"], case["p95_frames"]
        if median is None:
            return None
        axes.plot([x, x], [median, p95], color=colour, linewidth=1.2, alpha=0.5, zorder=2)
        missed = mostly_missed(case)
        axes.plot(x, median, "o", color="white" if missed else colour, markeredgecolor=colour if missed else "white",
                  markersize=6.5, markeredgewidth=1.4 if missed else 0.8, zorder=3)
        return float(median)

    figure, panels = _by_size(result, _of_joints(result), draw, f"Frames from the first that shows it to the alarm, "
                              f"{result['subject']}: median, a line up to p95; hollow: mostly missed", "frames")
    for axes in panels:
        axes.axhline(length, color=QUIET, linestyle=":", linewidth=1)
        axes.set_yscale("log")
        axes.set_ylim(0.8, length * 1.5)
        ticks = [n for n in (1, 10, 100, 1000, 10_000) if n < length * 1.5]
        axes.set_yticks(ticks, [f"{n:,}" for n in ticks])
        axes.minorticks_off()
    return png(figure)


def aucs(result: Json) -> bytes:
    """Return the PNG of how well single frames are told from healthy ones, by kind, size and joint."""
    subject = result["subject"]
    found = {name: by[subject] for name, by in result["auc"].items() if subject in by}

    def draw(axes: Any, x: float, case: Json, colour: str) -> float:
        axes.plot(x, found[case["damage"]], "o", color=colour, markeredgecolor="white", markersize=6.5, zorder=3)
        return float(found[case["damage"]])

    cases = [case for case in _of_joints(result) if case["damage"] in found]
    figure, panels = _by_size(result, cases, draw, f"Single frames of independent poses, told from healthy ones: AUC, "
                              f"{subject}", "AUC")
    for axes in panels:
        axes.axhline(0.5, color=QUIET, linestyle=":", linewidth=1)
        axes.set_ylim(0.4, 1.03)
    return png(figure)


def operating(result: Json) -> bytes:
    """Return the PNG of delay against the rate of false alarms."""
    figure = new_figure(8.2, 4.6)
    axes, curves = plain(figure.subplots()), result["curves"]
    rows = {result["subject"]: result["versus"]["on_shared"], **result["baselines"]}
    # One false alarm in the hours that were watched: nothing is known of rarer ones.
    least = 1.0 / max(row["healthy_hours"] for row in rows.values())
    shown = {name: row for name, row in rows.items() if row["median_frames"] is not None and name != "never"}
    for (name, row), colour in zip(shown.items(), np.resize(COLOURS, len(shown)), strict=True):
        bold = name == result["subject"]
        points = [(max(p["rate_per_hour"], least / 2), p["median_frames"]) for p in curves.get(name, [])
                  if p["median_frames"] is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=2.4 if bold else 1.4,
                  zorder=2)
        axes.plot(max(row["rate_per_hour"], least / 2), row["median_frames"], "D" if bold else "o", color=colour,
                  markeredgecolor="white", markersize=10 if bold else 7, label=name, zorder=4 if bold else 3)
    axes.axvspan(least / 3, least, color=GRID, alpha=0.6, zorder=0)
    axes.annotate("none\nseen", (least / np.sqrt(3), 0.0), xycoords=("data", "axes fraction"), fontsize=8, color=QUIET,
                  ha="center", va="bottom", xytext=(0, 4), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left=least / 3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.set_minor_formatter(lambda value, _: f"{value:,g}" if f"{value:g}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=8, colors=QUIET, labelcolor=QUIET)
    axes.set_xlabel("false alarms an hour", color=INK)
    axes.set_ylabel("median delay over all damages, frames", color=INK)
    axes.set_title("Delay against false alarms: lines are lower thresholds, markers the detectors as they are",
                   color=INK, fontsize=11)
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(figure)


def confusion(result: Json) -> bytes:
    """Return the PNG of what was called what: classes, and joints."""
    matrices = []
    for name, title in (("classes", "class of every case"), ("joints", "joint of every damage that has one")):
        part = result["confusion"][name]
        rows = [i for i, row in enumerate(part["counts"]) if sum(row)]
        matrices += [(part, rows, title)] if rows else []
    heights = [len(rows) for _, rows, _ in matrices]
    figure = new_figure(8.6, 0.42 * sum(heights) + 1.3 * len(matrices) + 0.6)
    grid = figure.subplots(len(matrices), 1, squeeze=False, height_ratios=[h + 2 for h in heights])[:, 0]
    for axes, (part, rows, title) in zip(grid, matrices, strict=True):
        _matrix(axes, part, rows, title)
    figure.suptitle(f"What {result['subject']} called it (columns) and what it was (rows); share of the row, and runs",
                    color=INK, fontsize=11)
    return png(figure)


def _matrix(axes: Any, part: Json, rows: list[int], title: str) -> None:
    counts = np.array(part["counts"], dtype=float)[rows]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        if counts[y, x]:
            axes.text(x, y, f"{share:.0%}\n{counts[y, x]:,.0f}", ha="center", va="center", fontsize=7.5,
                      linespacing=1.0, color="white" if share > 0.55 else INK)
    axes.set_xticks(range(len(part["said"])), [name.replace("/", "/\n").replace(" ", "\n", 1) for name in part["said"]],
                    fontsize=8)
    axes.set_yticks(range(len(rows)), [part["true"][i] for i in rows], fontsize=8.5)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_color(GRID)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")


def example(result: Json) -> bytes:
    """Return the PNG of one onset: pictures as they are seen and expected, their difference, and the evidence."""
    part = result["example"]
    pictures, shape = part["pictures"], tuple(part["shape"])
    columns, height = len(pictures), 1.5
    figure = new_figure(height * columns + 1.0, 3 * height + 2.6)
    above, below = figure.subfigures(2, 1, height_ratios=[3 * height + 0.4, 2.2])
    grid = above.subplots(3, columns, squeeze=False)
    drawn = [[unpacked_picture(picture[key], shape) for key in ("seen", "expected")] for picture in pictures]
    window = _window(np.max(drawn, axis=(0, 1)) > 0.5)
    for column, picture, both in zip(grid.T, pictures, drawn, strict=True):
        seen, expected = (side[window] for side in both)
        column[0].imshow(seen, cmap="gray", vmin=0, vmax=1)
        column[1].imshow(expected, cmap="gray", vmin=0, vmax=1)
        column[2].imshow(expected - seen, cmap="RdBu_r", vmin=NOT_SEEN, vmax=MADE_UP)
        column[0].set_title(_moment(part, picture["frame"]), fontsize=8.5, color=INK)
    for axes, says in zip(grid[:, 0], ("seen", "expected", "difference"), strict=True):
        axes.set_ylabel(says, fontsize=9, color=INK)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#cbd2d9")
    _evidence(below.subplots(), part, result["subject"])
    figure.suptitle(f"The beginning of {part['case']}", color=INK, fontsize=11)
    return png(figure)


def _window(on: Any) -> tuple[slice, slice]:
    """The square part of pictures (H, W) in which anything is ever on, and a little more."""
    rows, columns = np.flatnonzero(on.any(axis=1)), np.flatnonzero(on.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    size = int(max(np.ptp(rows), np.ptp(columns))) + 8
    return _around(rows, size, on.shape[0]), _around(columns, size, on.shape[1])


def _around(found: Any, size: int, whole: int) -> slice:
    begin = max(0, min(int(found[0] + found[-1] - size) // 2, whole - size))
    return slice(begin, begin + size)


def _moment(part: Json, frame: int) -> str:
    after = frame - part["onset"] + 1
    if frame == part["alarm"]:
        return f"alarm, frame {after}"
    return f"frame {after}" if after > 0 else f"{1 - after} before"


def _evidence(axes: Any, part: Json, subject: str) -> None:
    plain(axes)
    frames = np.arange(len(part["residual"])) + part["first"] - part["onset"] + 1
    axes.plot(frames, part["residual"], color=QUIET, linewidth=1.2)
    axes.set_ylabel("residual, nats a pixel", fontsize=9, color=QUIET)
    axes.set_xlabel("frame, 1 is the first that shows it", fontsize=9, color=INK)
    if part["statistic"]:
        other = plain(axes.twinx(), "x")
        other.spines[["right"]].set_visible(True)
        other.spines[["right"]].set_color(QUIET)
        other.plot(frames[:len(part["statistic"])], part["statistic"], color=COLOURS[0], linewidth=1.8)
        other.set_ylabel(f"evidence of {subject}", fontsize=9, color=COLOURS[0])
    axes.axvline(1, color=INK, linewidth=1)
    axes.annotate("onset ", (1, 1.0), xycoords=("data", "axes fraction"), fontsize=8.5, color=INK, va="top", ha="right")
    if part["alarm"] is not None:
        at = part["alarm"] - part["onset"] + 1
        axes.axvline(at, color=COLOURS[1], linewidth=1.4, linestyle="--")
        axes.annotate(" alarm", (at, 1.0), xycoords=("data", "axes fraction"), fontsize=8.5, color=COLOURS[1], va="top")
