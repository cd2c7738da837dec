"""The live table of calls in the terminal."""

from __future__ import annotations

from realtime_ivr.desk import Desk, Served
from realtime_ivr.pacer import Pacer
from rich.console import Console
from rich.live import Live
from rich.table import Table

MAX_ROWS = 30
"""More calls are counted in the last line."""


class CallTable:
    """Shown on stderr while it is a terminal; nothing otherwise."""

    def __init__(self, desk: Desk, pacer: Pacer, console: Console | None = None) -> None:
        self._desk, self._pacer = desk, pacer
        console = console or Console(stderr=True)
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> CallTable:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def render(self) -> Table:
        """The table as it is now."""
        desk = self._desk
        service = "connected" if desk.voices.service.is_there else "NOT REACHED, local prompts"
        clock = f"clock at worst {self._pacer.late_ms_max:.1f} ms late"
        title = f"{desk.name}: {len(desk.calls)} calls up, {desk.finished} over · service {service} · {clock}"
        table = Table(title=title, expand=True)
        for column in ("caller", "via", "time", "step", "saying", "TTFA", "barge-ins", "loss", "jitter"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        for served in list(desk.calls.values())[:MAX_ROWS]:
            table.add_row(*_row(served))
        if len(desk.calls) > MAX_ROWS:
            table.add_row(f"and {len(desk.calls) - MAX_ROWS} more", *[""] * 8)
        return table


def _row(served: Served) -> list[str]:
    call, record = served.session.call, served.record
    prompt = record.prompts[-1] if record.prompts else None
    ttfa = "" if prompt is None or prompt.ttfa_ms is None else f"{prompt.ttfa_ms:.0f} ms"
    return [
        call.info.caller,
        call.info.transport,
        f"{record.now_s:.0f} s",
        record.step,
        "" if prompt is None else f"{prompt.source} {call.queued / 8000:.1f} s ahead",
        ttfa,
        str(sum(bool(one.interrupted_by) for one in record.prompts)),
        str(call.quality.packets_lost),
        f"{call.quality.jitter_ms:.1f} ms",
    ]
