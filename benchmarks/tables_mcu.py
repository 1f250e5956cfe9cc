"""Write docs/mcu.md's tables from the recorded counts; for benchmarks/tables.py."""

from __future__ import annotations

import json
from typing import Any

from tables_engines import RESULTS, ROOT, between, table

from edgekin.compile.mcu.cores import CORES

PAGE = ROOT / "docs" / "mcu.md"
BEGIN, END = "<!-- mcu: written by benchmarks/tables.py -->", "<!-- end of mcu -->"
FOLDER = RESULTS / "mcu"
MODELS = {"k3dgs": "k3dgs (60 ellipsoids)", "neurokin": "neurokin, size m"}


def models() -> list[str]:
    """Return the table of whole models on every core."""
    rows = []
    for model, title in MODELS.items():
        for core in CORES:
            r = json.loads((FOLDER / f"{model}-{core}.json").read_text())
            mhz = r["clock_estimate"]["mhz"]
            rows.append([title, core, f"{r['instructions']:,}", f"{r['instructions_predict']:,}",
                         f"{r['instructions_score']:,}", f"{r['flash_bytes']:,}", f"{r['ram_bytes']:,}",
                         f"{r['stack_bytes']:,}", f"{r['mismatches']} of {r['outputs_checked']:,}",
                         f"{mhz['100_hz']:,.0f}", f"{mhz['1000_hz']:,.0f}", str(r["poses"]),
                         f"{r['psnr_db']:.2f}", f"{r['iou']:.3f}"])
    return table(["model", "core", "instructions a tick", "predict", "score", "flash", "RAM", "stack", "mismatches",
                  "MHz for 100 Hz (estimate)", "for 1 kHz (estimate)", "poses", "PSNR dB", "IoU"], rows)


def layers() -> list[str]:
    """Return the table of single layers, ours beside CMSIS-NN's."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in json.loads((FOLDER / "layers.json").read_text())["rows"]:
        found.setdefault(row["layer"], {})[row["core"]] = row
    rows = []
    for name, cores in found.items():
        cells = []
        for core in CORES:
            row = cores[core]
            peer = row["cmsis_nn"]
            beside = f" : {peer:,} = {row['instructions'] / peer:.2f}" if peer else ""
            cells.append(f"{row['instructions']:,}{beside}")
        rows.append([name, *cells])
    return table(["layer", *CORES], rows)


def body() -> str:
    """Return the generated part of docs/mcu.md."""
    compilers = json.loads((FOLDER / "layers.json").read_text())["compilers"]
    return "\n".join([f"Counted with {compilers['m4']} and {compilers['rv32']}, on seed_arm (4 joints, one view of "
                      "100 x 100 px).", "", *models(), "",
                      "Single layers, int8; ours : CMSIS-NN's where it was counted:", "", *layers()])


def rewritten() -> tuple[str, str]:
    """Return docs/mcu.md as it is, and with its generated part made anew."""
    return between(PAGE, BEGIN, END, body())
