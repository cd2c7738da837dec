"""Figures of a bench as a table: name, value, and the aim where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def table(title: str, figures: Mapping[str, Any], aims: Mapping[str, str] | None = None) -> Table:
    """One row per figure; the column of aims only where any are given."""
    found = Table("figure", title=title)
    found.add_column("value", justify="right")
    if aims:
        found.add_column("aim", justify="right")
    for name, value in figures.items():
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value)]
        found.add_row(name, *cells, *([aims.get(name, "")] if aims else []))
    return found
