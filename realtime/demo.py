"""What `realtime demo` adds to the settings: somebody to hand over to.

With espeak-ng alone a broken worker is replaced and the same voice goes on, so that there is nothing to hear of a switch. The demo then
runs a second espeak-ng with other speakers behind the first one.
"""

from __future__ import annotations

from realtime.app import installed_chain
from realtime.config import EngineSettings, Settings

SECOND = "espeak2"
# Variants that none of the first engine's voices has, so that a switch is heard whoever spoke.
SPEAKERS = (
    {"id": "espeak2-zh", "language": "zh", "variant": "f4", "gender": "female"},
    {"id": "espeak2-en", "language": "en", "variant": "f4", "gender": "female"},
)


def with_second_voice(settings: Settings) -> Settings:
    """The settings, with a second engine if espeak-ng would be the only one. Raises `BadOption` when no engine is at hand."""
    if (settings.chain or installed_chain(settings)) != ("espeak",):
        return settings
    second = EngineSettings(factory="espeak", options={"name": SECOND, "voices": list(SPEAKERS)})
    return settings.model_copy(update={"chain": ("espeak", SECOND), "engines": {**settings.engines, SECOND: second}})
