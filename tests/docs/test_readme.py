"""The documentation against the code: commands exist, links resolve, numbers come from the recorded results."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgekin.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def shell_lines():
    """Yield each `edgekin ...` command of the README's code blocks."""
    for block in re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("edgekin "):
                yield shlex.split(line.partition("#")[0])[1:]


@pytest.mark.parametrize("args", list(shell_lines()), ids=" ".join)
def test_every_command_in_the_readme_parses(args):
    command = cli.get_command(None, args[0])
    command.make_context(args[0], args[1:], resilient_parsing=False)


def test_every_command_is_documented():
    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"edgekin {name}" in text, f"README.md never mentions edgekin {name}"


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_resolve(page):
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readmes_results_are_the_recorded_ones():
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"],
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, "run: python benchmarks/tables.py"
