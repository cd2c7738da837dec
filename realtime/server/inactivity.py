"""Which utterances have waited too long for text, in dialects where that is an error. Pure: times are arguments.

Precedent: ElevenLabs' `inactivity_timeout`. There it counts from the last message; here also from the last sound, because the pace of
the sound is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from realtime.errors import ClientError
from realtime.pipeline.utterance import State, Utterance
from realtime.types import UtteranceId
from realtime.wire.events import Event


class InputTimeout(ClientError):
    """Raised for an utterance, or a connection without one, that was left without a message for too long."""

    code = "input_timeout_exceeded"


class Inactivity:
    """Clocks of one connection and of its utterances. `now` in seconds, as everywhere."""

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._heard_at = now
        self._since: dict[UtteranceId, float] = {}
        self._spoken_ms: dict[UtteranceId, float] = {}

    def heard(self, events: Sequence[Event], now: float) -> None:
        """A message that meant `events`. One that names no utterance keeps all of them alive."""
        self._heard_at = now
        named = {utterance for event in events if (utterance := getattr(event, "utterance", None)) is not None}
        for utterance in named or list(self._since):
            self._since[utterance] = now

    def due(self, now: float, utterances: Mapping[UtteranceId, Utterance]) -> list[InputTimeout]:
        """What has waited too long by `now`; an error without `utterance` means the connection."""
        for name in [name for name in self._since if name not in utterances]:
            del self._since[name]
            self._spoken_ms.pop(name, None)
        if not utterances:
            return [self._error(None)] if now - self._heard_at > self._timeout_s else []
        self._heard_at = now  # the connection's own wait begins when its last utterance ends
        for name, utterance in utterances.items():
            spoken_ms = sum(utterance.usage().audio_ms_by_engine.values())
            if utterance.state is not State.OPEN or spoken_ms != self._spoken_ms.get(name, 0.0):
                self._since[name], self._spoken_ms[name] = now, spoken_ms
        return [self._error(name) for name in utterances if now - self._since.setdefault(name, now) > self._timeout_s]

    def _error(self, utterance: UtteranceId | None) -> InputTimeout:
        seconds = f"{self._timeout_s:g} s"
        return InputTimeout(
            f"no message came for {seconds}; send a keepalive, or set inactivity_timeout (180 at most)", utterance=utterance
        )
