"""Write docs/models.md and its plots from the recorded comparisons of models; for benchmarks/tables.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tables_engines import RESULTS, ROOT, between

from edgekin.report import page, tables

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- models: written by benchmarks/tables.py -->", "<!-- end of models -->"
#: The README shows comparisons of this preset alone: the other's scores are those of seconds of training.
README_PRESET = "full"


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the comparisons of one machine, by the name that they were recorded under."""
    return {path.stem.removeprefix("compare-"): json.loads(path.read_text())
            for path in sorted(folder.glob("compare-*.json"))}


def section(name: str, result: dict[str, Any], machine: str, draw: bool) -> str:
    """Return the part of the page about one comparison; with draw also write its plots beside the page."""
    pattern = f"models-{name}-{machine}-{{}}.png"
    names = [plot for plot in page.PLOTS if page.has(result, plot)]
    if draw:
        for plot, content in page.draw(result).items():
            (PAGE.parent / pattern.format(plot)).write_bytes(content)
    return page.markdown(result, names, pattern, level=2, title=name)


def body(draw: bool) -> str:
    """Return the generated part of docs/models.md."""
    parts = [section(name, result, folder.name, draw)
             for folder in sorted(path for path in RESULTS.glob("*") if path.is_dir())
             for name, result in recorded(folder).items()]
    return "\n".join(parts).rstrip() or "No comparison is recorded yet."


def rewritten(draw: bool) -> tuple[str, str]:
    """Return docs/models.md as it is, and with its generated part made anew."""
    return between(PAGE, BEGIN, END, body(draw))


def readme(folder: Path) -> list[str]:
    """Return the README's tables of models, of one machine."""
    lines: list[str] = []
    for name, result in recorded(folder).items():
        if result["protocol"]["preset"] == README_PRESET:
            about = f"Models on {name} ([docs/models.md](docs/models.md)):"
            lines += [about, "", *tables.models(result).markdown(), ""]
    return lines
