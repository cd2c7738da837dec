"""The line that `realtime say` shows while it speaks; on a terminal only."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from realtime_client.utterance import Utterance


class ProgressLine:
    """A live line on stderr about one utterance; nothing at all where stderr is not a terminal."""

    def __init__(self, utterance: Utterance, *, is_shown: bool = True) -> None:
        self._utterance = utterance
        console = Console(stderr=True)
        is_shown = is_shown and console.is_terminal
        self._live = Live(get_renderable=self._line, console=console, refresh_per_second=8, transient=True) if is_shown else None

    def __enter__(self) -> ProgressLine:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self) -> Text:
        return Text(progress_text(self._utterance), style="bold" if self._utterance.audio_s else "dim", no_wrap=True)


def progress_text(utterance: Utterance) -> str:
    """TTFA, lead, engine, underruns and length, as one line."""
    if utterance.ttfa_ms is None:
        return "waiting for text" if not utterance.text else f"waiting for sound · {len(utterance.text)} characters sent"
    engines = " → ".join(utterance.audio_s_by_engine)
    underruns = utterance.underruns
    silence = f"{underruns.count} underruns" + (f" ({underruns.total_ms:.0f} ms)" if underruns.count else "")
    return f"TTFA {utterance.ttfa_ms:.0f} ms · lead {utterance.lead_ms / 1000:.1f} s · {engines} · {silence} · {utterance.audio_s:.1f} s"
