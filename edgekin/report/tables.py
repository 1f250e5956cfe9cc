"""The tables of a comparison as text, for Markdown and HTML alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekin.report.plots import ENGINE_NAMES, FLOOR_NAMES

Json = dict[str, Any]
NONE = "-"


@dataclass(frozen=True)
class Table:
    """A heading row and rows of text; the first column is text, the others are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> list[str]:
        """Return it as the lines of a Markdown table."""
        lines = ["| " + " | ".join(self.header) + " |", "|---|" + "---:|" * (len(self.header) - 1)]
        return lines + ["| " + " | ".join(row) + " |" for row in self.rows]


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _millimetres(value_m: float | None) -> str:
    return NONE if value_m is None else f"{value_m * 1000:.1f}"


def _times(found: Json | None) -> str:
    """p50 / p99 in us."""
    if found is None:
        return NONE
    digits = 1 if found["p50"] < 100 else 0
    rare = NONE if found["p99"] is None else f"{found['p99']:,.{digits}f}"
    return f"{found['p50']:,.{digits}f} / {rare}"


def models(result: Json) -> Table:
    """Return the models, best first, and the floors below them."""
    header = ("model", "PSNR dB", "IoU", "depth error mm", "parameters", "MACs", "bytes",
              *(f"{ENGINE_NAMES[e]} us" for e in ("torch", "onnxruntime", "native")), "trained s")
    rows = []
    for row in result["rows"]:
        timed = (_times(row["latency_us"][e]) for e in ("torch", "onnxruntime", "native"))
        precision = "" if row["native_precision"] is None else f" {row['native_precision'].upper()}"
        rows.append((row["model"], f"{row['psnr_db']:.2f}", f"{row['iou']:.3f}",
                     _millimetres(row["depth_mae_m"]), _whole(row["parameters"]), _whole(row["macs"]),
                     _whole(row["bytes"]) + (precision if row["bytes"] is not None else ""), *timed,
                     _whole(row["train_seconds"])))
    for name, floor in result["floors"].items():
        rows.append((f"floor: {FLOOR_NAMES.get(name, name)}", f"{floor['psnr_db']:.2f}", f"{floor['iou']:.3f}",
                     _millimetres(floor.get("depth_mae_m")), *([NONE] * (len(header) - 4))))
    return Table(header, tuple(rows))


def why_not(result: Json) -> list[str]:
    """Return a line for every dash in the table that needs a reason, and what else was left out."""
    names = {**ENGINE_NAMES, "depth": "depth"}
    lines = [f"{row['model']}, {names.get(what, what)}: {reason}" for row in result["rows"]
             for what, reason in row["why_not"].items() if what != "depth"]
    lines += [f"{row['model']} is the run {row['given']}, trained beforehand on {_whole(row['n_train'])} samples"
              for row in result["rows"] if row["given"]]
    return lines + [f"left out: {line}" for line in result["left_out"]]


def published(result: Json) -> Table:
    """Return the published figures beside ours."""
    ours = {row["registry"]: row for row in reversed(result["rows"])}  # the best of a model stands
    header = ("model", "published PSNR dB", "published frames/s", "published latency ms", "published training s",
              "here: PSNR dB", "here: native p50 us", "here: training s")
    rows = []
    for row in result["published"]["rows"]:
        mine = ours.get(row["model"])
        native = mine and mine["latency_us"]["native"]
        rows.append((row["model"], f"{row['psnr_db']:.2f}", f"{row['fps']:,g}", f"{row['latency_ms']:g}",
                     _whole(row["train_seconds"]), f"{mine['psnr_db']:.2f}" if mine else NONE,
                     f"{native['p50']:,.0f}" if native else NONE, _whole(mine["train_seconds"]) if mine else NONE))
    for name, floor in result["published"]["floors"].items():
        here = result["floors"][name]["psnr_db"]
        rows.append((f"floor: {FLOOR_NAMES[name]}", f"{floor['psnr_db']:.2f}", NONE, NONE, NONE, f"{here:.2f}", NONE,
                     NONE))
    return Table(header, tuple(rows))


def data_efficiency(result: Json) -> Table:
    """Return PSNR by model and number of samples, with the seconds of training."""
    part = result["data_efficiency"]
    header = ("PSNR dB by training samples", *(f"{n:,}" for n in part["samples"]), "seconds each")
    rows = []
    for name, points in part["models"].items():
        seconds = max(p["train_seconds"] or 0.0 for p in points)
        rows.append((name, *(f"{p['psnr_db']:.2f}" for p in points), f"{seconds:.0f}"))
    for name, values in part["floors_psnr_db"].items():
        rows.append((f"floor: {FLOOR_NAMES[name]}", *(f"{v:.2f}" for v in values), NONE))
    return Table(header, tuple(rows))


def ablation(part: Json) -> Table:
    """Return one ablation."""
    base = part["variants"][0]["psnr_db"]
    rows = [(v["label"], f"{v['psnr_db']:.2f}", "" if i == 0 else f"{v['psnr_db'] - base:+.2f}", f"{v['iou']:.3f}",
             _whole(v["parameters"]), f"{v['train_seconds']:.0f}") for i, v in enumerate(part["variants"])]
    return Table((f"{part['model']}: {part['name']}", "PSNR dB", "change", "IoU", "parameters", "trained s"),
                 tuple(rows))


def about(result: Json) -> list[str]:
    """Return what was done, in sentences."""
    protocol, robot, machine = result["protocol"], result["robot"], result["machine"]
    virtual = ", virtual" if machine["virtual"] else ""
    factor = "" if protocol["budget"] == 1.0 else f", every budget times {protocol['budget']:g}"
    return [
        f"Robot {robot['name']}: {len(robot['joints'])} joints, {robot['views']} camera(s) of {robot['width']}x"
        f"{robot['height']} px, pixel convention {robot['convention']}. Joint angles are scrambled Sobol points over "
        f"the full limits; rows are trained on {protocol['n_train']:,} and everything is scored on "
        f"{protocol['n_test']:,} of another seed. PSNR and IoU are means over images; the floors need no model.",
        f"Preset {protocol['preset']}{factor}: {protocol['about']} Trainings took "
        f"{protocol['train_seconds']:,.0f} s in all.",
        f"Latency p50 / p99: {protocol['latency']}. Bytes: of the native weight file.",
        f"Recorded on {machine['cpu']} ({', '.join(machine['isa'])}), {machine['cores']} cores{virtual}, Linux "
        f"{machine['kernel']}; revision {', '.join(result['revisions'])}, seed {result['seed']}.",
    ]
