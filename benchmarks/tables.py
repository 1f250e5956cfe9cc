"""Write the README's results and the pages of docs/ from the recorded JSON: `python benchmarks/tables.py [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tables_evolution
import tables_mcu
import tables_models
import tables_verify
from tables_engines import PAGE, RESULTS, ROOT, between, cpu_of, rewritten, table

BEGIN, END = "<!-- results: written by benchmarks/tables.py -->", "<!-- end of results -->"


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Return {case: {train|compile|bench: JSON}} of one machine."""
    cases: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.*.json")):
        case, kind = path.name.removesuffix(".json").rsplit(".", 1)
        cases.setdefault(case, {})[kind] = json.loads(path.read_text())
    return cases


def quality(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of PSNR and IoU beside the floors, and of what INT8 costs."""
    rows = []
    for name, case in cases.items():
        if "train" not in case or "compile" not in case:
            continue
        train, made = case["train"], case["compile"]
        floors = train["floors"]
        rows.append(
            [
                name,
                f"{train['parameters']:,}",
                f"{train['n_train']:,} frames, {train['train_seconds']:.0f} s",
                f"**{train['psnr_db']:.2f}**",
                f"{train['iou']:.3f}",
                f"{floors['mean_image']['psnr_db']:.2f}",
                f"{floors['nearest']['psnr_db']:.2f}",
                f"{made['parity']['psnr_loss_db']:.3f}",
                f"{made['bytes'] / made['bytes_fp32']:.2f}",
            ]
        )
    return table(["case", "parameters", "trained on", "PSNR dB", "IoU", "mean image dB", "1-NN dB", "INT8 loss dB",
                  "INT8 / FP32 bytes"], rows)


def realtime(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of the 1 kHz loop: execution, frame to verdict, misses, detection."""
    rows = []
    for name, case in cases.items():
        if "bench" not in case:
            continue
        bench = case["bench"]
        run, total, found = bench["exec_us"], bench["frame_to_verdict_us"], bench["detection"]
        delay = "missed"
        if found["alarm_ms"] is not None:
            delay = f"{found['delay_frames']} frames, {found['alarm_ms'] - found['onset_ms']:.1f} ms"
        rows.append(
            [
                name,
                f"`{found['damage']}`",
                f"{run['p50']:.0f} / {run['p99_9']:.0f}",
                f"{total['p50']:.0f} / {total['p99']:.0f}",
                f"{bench['deadline_misses']['own']} / {bench['ticks']:,}",
                delay,
                str(found["false_alarms"]),
            ]
        )
    return table(["case", "damage", "execution p50 / p99.9 us", "frame to verdict p50 / p99 us", "own misses / ticks",
                  "detection delay", "false alarms"], rows)


def section() -> str:
    """Return the README's results, one block a machine."""
    blocks = []
    for folder in sorted(path for path in RESULTS.glob("*") if path.is_dir()):
        cases = load(folder)
        machine = next((case["bench"]["machine"] for case in cases.values() if "bench" in case), None)
        if machine is None:
            continue
        revisions = sorted({part["revision"] for case in cases.values() for part in case.values()})
        virtual = ", virtual" if machine["virtual"] else ""
        where = f"{cpu_of(machine)}, {machine['cores']} cores{virtual}, Linux {machine['kernel']}"
        blocks += [
            f"Recorded on {where} (revision {', '.join(revisions)}; `python benchmarks/record.py`).",
            "",
            *quality(cases),
            "",
            *realtime(cases),
            "",
            *tables_models.readme(folder),
        ]
    return "\n".join(blocks).rstrip()


def main() -> int:
    """Rewrite the pages between their marks; with --check only say whether that would change them."""
    readme = ROOT / "README.md"
    check = "--check" in sys.argv
    pages = {PAGE: rewritten(draw=not check), tables_models.PAGE: tables_models.rewritten(draw=not check),
             tables_verify.PAGE: tables_verify.rewritten(draw=not check), tables_mcu.PAGE: tables_mcu.rewritten(),
             tables_evolution.PAGE: tables_evolution.rewritten(), readme: between(readme, BEGIN, END, section())}
    if check:
        return int(any(before != after for before, after in pages.values()))
    for path, (_, after) in pages.items():
        path.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
