"""Write the results of docs/verify.md and their plots from the recorded verifications; for benchmarks/tables.py."""

from __future__ import annotations

import json
from typing import Any

from tables_engines import RESULTS, ROOT, between, cpu_of

from edgekin.report import verify_page
from edgekin.report import verify_tables as t

PAGE = ROOT / "docs" / "verify.md"
BEGIN, END = "<!-- verified: written by benchmarks/tables.py -->", "<!-- end of verified -->"
#: The others are in the page that edgekin verify writes.
SHOWN = ("delays", "operating")


def section(name: str, machine: str, result: dict[str, Any], draw: bool) -> str:
    """Return the part of the page about one verification; with draw also write its plots beside the page."""
    pattern = f"verify-{name}-{machine}-{{}}.png"
    if draw:
        for plot, content in verify_page.draw(result).items():
            if plot in SHOWN:
                (PAGE.parent / pattern.format(plot)).write_bytes(content)
    host = result["machine"]
    said = [t.healthy(result), t.ratio(result), t.exec_us(result),
            f"the camera gives {result['settings']['camera_hz']:,.0f} frames a second"]
    head = " ".join(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in said)
    tables = [t.by_size(result), *([t.nuisances(result)] if result["nuisances"] else []), t.versus(result)]
    return "\n".join([
        f"### {name}", "",
        f"{head} Recorded on {cpu_of(host)}, {host['cores']} cores (revision {result['revision']}).", "",
        *(line for table in tables for line in [*table.markdown(), ""]),
        *(f"![{plot}]({pattern.format(plot)})" for plot in SHOWN)])


def rewritten(draw: bool) -> tuple[str, str]:
    """Return docs/verify.md as it is, and with its generated part made anew."""
    parts = [section(path.stem.removeprefix("verify-"), path.parent.name, json.loads(path.read_text()), draw)
             for path in sorted(RESULTS.glob("*/verify-*.json"))]
    body = "\n\n".join(parts) or "None is recorded yet."
    return between(PAGE, BEGIN, END, body)
