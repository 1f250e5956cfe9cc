"""The plots of a comparison, each from its part of an edgekin.compare/1 result."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekin.report.figures import INK, QUIET, colours, new_figure, plain, png
from edgekin.report.pictures import unpacked_picture

Json = dict[str, Any]

#: A model slower than this share of the axis has its name to the left below its points: to the right is the legend.
RIGHT = 0.6
#: Samples whose labels stand side by side are so many times apart.
APART = 1.5
MARKERS = {"native": "o", "onnxruntime": "s", "torch": "^"}
ENGINE_NAMES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "native": "native"}
FLOOR_STYLES = {"nearest": "--", "mean_image": ":", "all_black": "-."}
FLOOR_NAMES = {"nearest": "nearest training pose", "mean_image": "mean image", "all_black": "all black"}


def fastest(row: Json) -> tuple[str, float] | None:
    """Return the engine with the least p50 of a row, and that p50 in us; None where nothing was timed."""
    timed = {engine: found["p50"] for engine, found in row["latency_us"].items() if found is not None}
    engine = min(timed, key=lambda name: timed[name], default=None)
    return None if engine is None else (engine, timed[engine])


def front(rows: list[Json]) -> list[tuple[float, float]]:
    """Return the (us, dB) points that no other is both faster and better than, from the fastest on."""
    points = [(found[1], row["psnr_db"]) for row in rows if (found := fastest(row)) is not None]
    kept: list[tuple[float, float]] = []
    for us, db in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or db > kept[-1][1]:
            kept.append((us, db))
    return kept


def pareto(result: Json) -> bytes:
    """Return the PNG of quality over the time of one frame: every model in every engine, and the front."""
    figure = new_figure(8.2, 4.8)
    axes, rows = plain(figure.subplots()), result["rows"]
    colour = colours([row["model"] for row in rows])
    times = np.log([found["p50"] for row in rows for found in row["latency_us"].values() if found is not None] or [1.0])
    slow = float(np.exp(times.min() + RIGHT * np.ptp(times)))
    for row in rows:
        _model_points(axes, row, colour[row["model"]], slow)
    best = front(rows)
    if best:
        axes.step([us for us, _ in best], [db for _, db in best], where="post", color=INK, linewidth=1.2, alpha=0.5,
                  zorder=1)
    for engine, marker in MARKERS.items():
        axes.plot([], [], marker, color=QUIET, label=ENGINE_NAMES[engine])
    axes.plot([], [], color=INK, linewidth=1.2, alpha=0.5, label="Pareto front")
    _floor_lines(axes, result["floors"])
    axes.set_xscale("log")
    axes.margins(x=0.14, y=0.12)
    axes.set_xlabel("one frame at batch 1, one core, p50, microseconds", color=INK)
    axes.set_ylabel("PSNR, dB", color=INK)
    axes.set_title(f"Speed and quality, {result['robot']['name']}, {result['machine']['cpu']}", color=INK, fontsize=11)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(figure)


def _model_points(axes: Any, row: Json, colour: str, slow: float) -> None:
    timed = [(engine, found["p50"]) for engine, found in row["latency_us"].items() if found is not None]
    if not timed:
        return
    axes.plot([us for _, us in timed], [row["psnr_db"]] * len(timed), color=colour, linewidth=1, alpha=0.4, zorder=2)
    for engine, us in timed:
        axes.plot(us, row["psnr_db"], MARKERS[engine], color=colour, markersize=8 if engine == "native" else 6,
                  markeredgecolor="white", zorder=3)
    left, right = (pick(us for _, us in timed) for pick in (min, max))
    side, at, up = ("right", right, -16) if left > slow else ("left", left, 8)
    axes.annotate(f"{row['model']}  {row['psnr_db']:.1f} dB, {row['parameters']:,} parameters", (at, row["psnr_db"]),
                  xytext=(0, up), textcoords="offset points", fontsize=9, color=colour, fontweight="bold", ha=side)


def _floor_lines(axes: Any, floors: Json) -> None:
    for name, floor in floors.items():
        axes.axhline(floor["psnr_db"], linestyle=FLOOR_STYLES.get(name, "-"), color=QUIET, linewidth=1, zorder=0,
                     label=FLOOR_NAMES.get(name, name))


def data_efficiency(result: Json) -> bytes:
    """Return the PNG of quality over the number of training samples."""
    figure, part = new_figure(8.2, 4.6), result["data_efficiency"]
    axes, colour = plain(figure.subplots()), colours([row["model"] for row in result["rows"]])
    for name, points in part["models"].items():
        axes.plot([p["samples"] for p in points], [p["psnr_db"] for p in points], "o-", color=colour[name],
                  markeredgecolor="white", markersize=7, linewidth=2, label=name)
    for row in result["rows"]:
        axes.plot(row["n_train"], row["psnr_db"], "*", color=colour[row["model"]], markersize=14,
                  markeredgecolor="white", zorder=4)
    axes.plot([], [], "*", color=QUIET, markersize=11, label="the row's own training")
    for floor, values in part["floors_psnr_db"].items():
        axes.plot(part["samples"], values, FLOOR_STYLES[floor], color=QUIET, linewidth=1.2, label=FLOOR_NAMES[floor])
    axes.set_xscale("log")
    ticks = list(part["samples"])
    for n in sorted(row["n_train"] for row in result["rows"]):  # a label of its own where there is room
        if all(n > APART * tick or tick > APART * n for tick in ticks):
            ticks.append(n)
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training samples", color=INK)
    axes.set_ylabel(f"PSNR on {result['protocol']['n_test']:,} others, dB", color=INK)
    axes.set_title(f"What samples buy, {result['robot']['name']}", color=INK, fontsize=11)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(figure)


def ablations(result: Json) -> bytes:
    """Return the PNG of every ablation beside the model as it is."""
    parts = result["ablations"]
    columns = min(2, len(parts))
    rows = -(-len(parts) // columns)
    most = max(len(part["variants"]) for part in parts)
    figure = new_figure(4.9 * columns, (0.34 * most + 0.95) * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, part in zip(grid.flat, parts, strict=False):
        _dots(axes, part, colours([row["model"] for row in result["rows"]])[part["model"]])
    for axes in list(grid.flat)[len(parts):]:
        axes.set_axis_off()
    figure.suptitle(f"One thing changed at a time: PSNR in dB, {result['robot']['name']}", color=INK, fontsize=11)
    return png(figure)


def _dots(axes: Any, part: Json, colour: str) -> None:
    plain(axes, "x")
    axes.spines["left"].set_visible(False)
    variants = part["variants"][::-1]
    scores = [v["psnr_db"] for v in variants]
    base = part["variants"][0]["psnr_db"]
    places = np.arange(len(variants))
    axes.axvline(base, color=QUIET, linewidth=1)
    for place, v in zip(places, variants, strict=True):
        first = v is part["variants"][0]
        axes.plot([base, v["psnr_db"]], [place, place], color=colour, linewidth=3, alpha=0.5, solid_capstyle="butt")
        axes.plot(v["psnr_db"], place, "o", color=colour, markersize=9, markeredgecolor="white")
        text = f"{v['psnr_db']:.2f}" if first else f"{v['psnr_db']:.2f}  ({v['psnr_db'] - base:+.2f})"
        axes.annotate(text, (max(v["psnr_db"], base), place), xytext=(8, 0), textcoords="offset points", va="center",
                      fontsize=8, color=INK, fontweight="bold" if first else "normal")
    span = max(max(scores) - min(scores), 1.0)
    axes.set_xlim(min(scores) - 0.12 * span, max(scores) + 0.5 * span)
    axes.set_ylim(-0.6, len(variants) - 0.4)
    axes.set_yticks(places, [v["label"] for v in variants])
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{part['model']}: {part['name']}, {part['samples']:,} samples", fontsize=9.5, color=INK, loc="left")


def panels(result: Json) -> bytes:
    """Return the PNG of a few test poses: truth; for every model prediction and error, blue missed, red made up."""
    part = result["panels"]
    names = [row["model"] for row in result["rows"] if row["model"] in part["models"]]
    shape, poses = tuple(part["shape"]), len(part["truth"])
    columns = 1 + 2 * len(names)
    height = 1.35 * shape[0] / shape[1]
    figure = new_figure(1.35 * columns, height * poses + 0.5)
    grid = figure.subplots(poses, columns, squeeze=False)
    for number, line in enumerate(grid):
        truth = unpacked_picture(part["truth"][number], shape)
        line[0].imshow(truth, cmap="gray", vmin=0, vmax=1)
        for model, name in enumerate(names):
            entry = part["models"][name]
            seen = unpacked_picture(entry["pictures"][number], shape)
            line[1 + 2 * model].imshow(seen, cmap="gray", vmin=0, vmax=1)
            line[2 + 2 * model].imshow(seen - truth, cmap="RdBu_r", vmin=-1, vmax=1)
            line[2 + 2 * model].set_xlabel(f"{entry['psnr_db'][number]:.1f} dB", fontsize=8, color=INK, labelpad=2)
    heads = ["truth", *(head for name in names for head in (name, "error"))]
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9, color=INK, fontweight="normal" if head in ("truth", "error") else "bold")
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#cbd2d9")
    return png(figure)
