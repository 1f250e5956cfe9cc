"""All checks, and whether the base job can run: a native bundle in the loop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekin import machine
from edgekin.doctor.jobs import examine_jobs
from edgekin.doctor.realtime import examine_realtime
from edgekin.doctor.system import MISSING, Finding, System

SCHEMA = "edgekin.doctor/1"


@dataclass(frozen=True)
class Examination:
    """What was found."""

    findings: tuple[Finding, ...]

    @property
    def base_job(self) -> bool:
        """Whether the loop can run a native bundle."""
        return not any(finding.base and finding.status == MISSING for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.doctor/1`; nothing in it is drawn, so there is no seed."""
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": None, "base_job": self.base_job,
                "findings": [asdict(finding) for finding in self.findings], "machine": machine.describe()}


def examine(system: System | None = None) -> Examination:
    """Look at a machine.

    Args:
        system: what to look at; None: this machine.
    """
    system = system or System()
    rows = [*examine_jobs(system), *examine_realtime(system)]
    sections = list(dict.fromkeys(row.section for row in rows))
    return Examination(tuple(sorted(rows, key=lambda row: sections.index(row.section))))
