"""Templates filled in: pages that need no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from edgekin.errors import MissingExtra


def rendered(template: str, **content: Any) -> str:
    """Return a page of `templates/`.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("jinja2", "report") from error
    environment = Environment(loader=PackageLoader("edgekin.report"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    page: str = environment.get_template(template).render(**content)
    return page


def figures_of(plots: Mapping[str, tuple[str, str]], pictures: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Return the plots as templates show them.

    Args:
        plots: by name, a heading and what it shows.
        pictures: by name, PNG.
    """
    return [{"name": name, "heading": plots[name][0], "text": plots[name][1], "png": base64.b64encode(png).decode()}
            for name, png in pictures.items()]
