"""python -m edgekin."""

from edgekin.cli import main

main()
