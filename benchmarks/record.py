"""Run the main job on the reference robots and record every JSON under benchmarks/results/<machine>/.

    python benchmarks/record.py [--seed-arm PATH/seed_arm.urdf] [--only CASE ...] [--runs FOLDER]

Each case is train -> compile --int8 -> bench with a link bent half-way, by the command line a user types. README's
tables are made from these files by benchmarks/tables.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reference_arm import SEED_ARM

from edgekin.machine import cpu_generation, cpu_model, revision
from edgekin.training.run import METRICS

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """One pass through the main job."""

    name: str
    train: tuple[str, ...]
    damage: str = ""  # "" : no bench


def cases(seed_arm: Path) -> list[Case]:
    """Return the recorded cases; those of seed_arm only where its URDF is."""
    found = [Case("arm4", (), "bend:2:20@15"),
             Case("kuka", ("--robot", "kuka_iiwa/model.urdf", "--samples", "2000"), "bend:3:20@15")]
    if seed_arm.exists():
        robot = ("--robot", str(seed_arm))
        found += [
            Case("seed_arm-uniform", (*robot, "--protocol", "uniform"), "bend:2:20@15"),
            Case("seed_arm-published", (*robot, "--protocol", "published")),
            Case("seed_arm-published-size",
                 (*robot, "--protocol", "published", "--no-body-model", "--size", "published")),
        ]
    return found


def machine_folder() -> Path:
    """Return benchmarks/results/<machine>, a name made of the CPU, its generation and the number of cores."""
    name = f"{cpu_model()} {cpu_generation().replace(' ', '')}".strip().lower()
    slug = "".join(c if c.isalnum() else "-" for c in name).strip("-")
    return ROOT / "benchmarks" / "results" / f"{slug}-{os.cpu_count()}core"


@contextmanager
def runs_in(folder: Path | None) -> Iterator[str]:
    """Give a folder for runs: the one that is kept, or one for the time being."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield str(folder.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="edgekin-record-") as runs:
            yield runs


def run(case: Case, out: Path, runs: str, seed_arm: Path) -> None:
    """Run one case; its JSON files replace those in `out` only when all of it is done."""
    env = {**os.environ, "EDGEKIN_RUNS": runs}
    fresh = Path(runs) / "json"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()

    def edgekin(kind: str, *args: str) -> None:
        arguments = [kind, *args, "--json", str(fresh / f"{case.name}.{kind}.json")]
        print(f"\n$ edgekin {' '.join(arguments)}", flush=True)
        subprocess.run([sys.executable, "-m", "edgekin", *arguments], cwd=ROOT, env=env, check=True)

    trained = Path(runs) / case.name / METRICS
    if trained.exists():
        shutil.copy(trained, fresh / f"{case.name}.train.json")
    else:
        edgekin("train", *case.train, "--name", case.name)
    edgekin("compile", f"{runs}/{case.name}", "--int8", "--force")
    if case.damage:
        bundle = f"{runs}/{case.name}/bundle-int8"
        edgekin("bench", bundle, "--hz", "1000", "--seconds", "30", "--damage", case.damage)
    for path in fresh.glob(f"{case.name}.*.json"):
        # The folders of the recording machine mean nothing elsewhere.
        text = path.read_text().replace(f"{runs}/", "").replace(f"{seed_arm.parent}/", "")
        (out / path.name).write_text(text)


def main() -> None:
    """Parse the arguments and run the cases one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed-arm", type=lambda path: Path(path).resolve(), default=SEED_ARM.resolve())
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--runs", type=Path, help="keep the runs here; those that are finished are taken as they are")
    options = parser.parse_args()
    out = machine_folder()
    out.mkdir(parents=True, exist_ok=True)
    print(f"recording {revision()} into {out.relative_to(ROOT)}")
    with runs_in(options.runs) as runs:
        for case in cases(options.seed_arm):
            if not options.only or case.name in options.only:
                run(case, out, runs, options.seed_arm)


if __name__ == "__main__":
    main()
