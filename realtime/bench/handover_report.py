"""What `realtime bench handover` shows while it works, and the tables it ends with: each figure beside its aim."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Row = tuple[str, str, str]  # name, keys as a format string, aim
Step = Callable[[int, str], None]

PARTS = (("", "one listener\nat a time"), ("storm_", "storm, most\nworkers sick"), ("process_", "real\nprocesses"))
ROWS: tuple[Row, ...] = (
    ("faults in mid-speech", "{faults}", ""),
    ("utterances", "{utterances}", ""),
    ("characters spoken", "{characters}", ""),
    ("characters repeated / dropped / damaged", "{repeated} / {dropped} / {damaged}", "0 / 0 / 0"),
    ("utterances that ended in an error", "{failed}", "0"),
    ("clicks at changes of voice", "{clicks}", "0"),
    ("utterances with silence", "{underruns}", "0"),
    ("of these, avoidable with foresight", "{avoidable}", ""),
    ("of these, unavoidable without foresight", "{unavoidable_online}", ""),
    ("longest silence, ms", "{silence_ms_max}", "0"),
    ("last fault to next change of voice, p50 / p99, ms", "{reaction_p50_ms} / {reaction_p99_ms}", ""),
)
SPEECH_PARTS = (("", "espeak\nvoices"), ("sambert_", "espeak and\nSambert"))
SPEECH_ROWS: tuple[Row, ...] = (
    ("changes of voice", "{align_cuts}", ""),
    ("place found by ear, error p50 / p95 / p99, ms", "{align_error_p50_ms} / {align_error_p95_ms} / {align_error_p99_ms}", "30 / 80 /"),
    ("speech twice or lost, p50 / p95 / p99, ms", "{resume_error_p50_ms} / {resume_error_p95_ms} / {resume_error_p99_ms}", ""),
    ("words repeated / dropped", "{resume_words_repeated} / {resume_words_dropped}", "0 / 0"),
    ("wrong words with what the service holds", "{resume_words_wrong_by_the_rule}", "0"),
    ("wrong words with all sent but 80 ms", "{resume_words_wrong_by_the_tail} (of {resume_cuts_by_the_tail} changes)", "0"),
    (
        "wrong words where both voices had spoken a sentence",
        "{resume_words_wrong_after_a_sentence} (of {resume_cuts_after_a_sentence} changes)",
        "0",
    ),
    ("wrong words of voices never heard before", "{resume_words_wrong_at_the_first}", "0"),
    ("clicks at the joins / in untouched speech", "{speech_join_clicks} / {untouched_place_clicks}", ""),
    ("time to find the resume point, p50 / p99, ms", "{resume_ms_p50} / {resume_ms_p99}", ""),
)
ABSENT = "-"
WIDTH = 110  # of the tables in a file or a pipe


def show(report: dict[str, Any]) -> None:
    """Print what was measured, on stderr; parts that were not are left out."""
    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH)
    for title, parts, rows in (("Words and silence", PARTS, ROWS), ("Real speech, found by ear", SPEECH_PARTS, SPEECH_ROWS)):
        measured = [(prefix, name) for prefix, name in parts if _cell(rows[0][1], report, prefix) != ABSENT]
        if measured:
            console.print(_table(title, measured, rows, report))


def _table(title: str, parts: list[tuple[str, str]], rows: tuple[Row, ...], report: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for _, name in parts:
        table.add_column(name, justify="right")
    table.add_column("aim", justify="right")
    for name, keys, aim in rows:
        cells = [_cell(keys, report, prefix) for prefix, _ in parts]
        if any(cell != ABSENT for cell in cells):
            table.add_row(name, *cells, aim)
    return table


class _Prefixed:
    """The keys of one part, for `str.format_map`."""

    def __init__(self, report: dict[str, Any], prefix: str) -> None:
        self._report, self._prefix = report, prefix

    def __getitem__(self, key: str) -> str:
        value = self._report.get(self._prefix + key)
        return ABSENT if value is None else f"{value:,.10g}"


def _cell(keys: str, report: dict[str, Any], prefix: str) -> str:
    cell = keys.format_map(_Prefixed(report, prefix))
    return ABSENT if set(cell.split()) <= {ABSENT, "/"} else cell


@contextmanager
def progress(what: str, wanted: int) -> Iterator[Step]:
    """A bar on stderr; yields `step(done, found)`: so many of `wanted`, and what was found up to there."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[found]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=wanted, found="")
        yield lambda done, found: bar.update(task, completed=min(done, wanted), found=found)
