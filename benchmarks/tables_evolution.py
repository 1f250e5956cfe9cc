"""Write docs/evolution.md's results from the recorded searches; for benchmarks/tables.py."""

from __future__ import annotations

import json
from itertools import groupby
from statistics import fmean
from typing import Any

from tables_engines import RESULTS, ROOT, between, cpu_of, table

PAGE = ROOT / "docs" / "evolution.md"
BEGIN, END = "<!-- evolved: written by benchmarks/tables.py -->", "<!-- end of evolved -->"
EVOLVED = "evolved"
NAMES = (EVOLVED, "scratch", "uniform", "magnitude", "random")
Json = dict[str, Any]


def recorded() -> list[tuple[str, list[Json]]]:
    """Return the searches of every machine by their names, one for each seed: prune-NAME-SEED.json."""
    found = [(path.parent.name, path.stem.removeprefix("prune-").rpartition("-")[0], json.loads(path.read_text()))
             for path in sorted(RESULTS.glob("*/prune-*-*.json"))]
    return [(name, [result for *_, result in group])
            for (_, name), group in groupby(found, key=lambda entry: entry[:2])]


def contender(result: Json, name: str) -> Json | None:
    """Return the winner of a search or one of its controls; None for one that found nothing to train."""
    entry: Json | None = result["best"] if name == EVOLVED else result["controls"].get(name)
    return entry if entry is not None and entry["psnr_db"] is not None else None


def _row(name: str, results: list[Json]) -> list[str]:
    entries = [e for e in (contender(r, name) for r in results) if e is not None]
    if not entries:
        return [name, *["-"] * 7]

    def spread(key: str, form: str) -> str:
        values = [e[key] for e in entries]
        mean = format(fmean(values), form)
        return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"

    kept = sum(e.get("kept", True) for e in entries)
    return [name, spread("psnr_db", ".2f"), spread("iou", ".3f"),
            *(spread(key, ",.0f") for key in ("flash_bytes", "ram_bytes", "instructions", "steps")),
            f"{kept} of {len(results)}"]


def section(name: str, results: list[Json]) -> str:
    """Return the part of the page about the searches of one name."""
    first = results[0]
    budgets, host = first["budgets"], first["machine"]
    seeds = ", ".join(str(r["seed"]) for r in results)
    tests = [r["best"]["test"]["psnr_db"] for r in results]

    def mean(key: str) -> float:
        return fmean(r[key] for r in results)

    about = (
        f"Budgets on {first['core']}: {budgets['flash_bytes']:,} bytes of flash, {budgets['ram_bytes']:,} of RAM, "
        f"{budgets['instructions']:,} instructions. PSNR and IoU in INT8 on validation poses; the winner's weights in "
        f"floats on the test split: {fmean(tests):.2f} dB. It took {mean('seconds'):,.0f} s, controls included: "
        f"{mean('evaluated'):,.0f} evaluated in {mean('generations'):,.0f} generations, {mean('steps'):,.0f} training "
        f"steps; seed {seeds}. All costs are counted on the emulated core. Recorded on {cpu_of(host)}, "
        f"{host['cores']} cores (revision {first['revision']}).")
    rows = [_row(who, results) for who in NAMES]
    return "\n".join([f"### {name}", "", about, "", *table(
        ["", "PSNR dB", "IoU", "flash", "RAM", "instructions", "training steps", "keeps the budgets"], rows)])


def rewritten() -> tuple[str, str]:
    """Return docs/evolution.md as it is, and with its generated part made anew."""
    body = "\n\n".join(section(name, results) for name, results in recorded()) or "None is recorded yet."
    return between(PAGE, BEGIN, END, body)
