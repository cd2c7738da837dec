"""What the service has to offer, for `ready`, `/v1/voices` and `/v1/capabilities`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from realtime.config import LimitSettings
from realtime.errors import BadOption
from realtime.server.gateway import Gateway
from realtime.types import AudioFormat, Codec
from realtime.wire import events as wire

VERSION = version("realtime-voice")


def limits_of(settings: LimitSettings) -> wire.Limits:
    """The bounds that a connection is told and held to."""
    return wire.Limits(
        max_message_bytes=settings.message_bytes,
        max_text_chars=settings.text_chars,
        max_utterance_chars=settings.text_chars,
        max_open_utterances=settings.open_utterances,
    )


def check_format(gateway: Gateway, wanted: AudioFormat) -> None:
    """Raises `BadOption` that names the rates there are, for a codec or rate that is not on offer."""
    rates = gateway.back.formats.get(wanted.codec.value, ())
    if wanted.sample_rate not in rates:
        raise BadOption(f"{wanted.codec.value} is offered at {', '.join(map(str, rates))} Hz, not at {wanted.sample_rate}")


def ready_event(gateway: Gateway) -> wire.Ready:
    """The greeting of a native connection."""
    voices = tuple(
        wire.Voice(voice.id, info.name, voice.languages, voice.description, voice.gender, voice.emotions)
        for info, voice in gateway.voices.voices()
    )
    formats = tuple(wire.FormatOffer(Codec(codec), tuple(rates)) for codec, rates in gateway.back.formats.items())
    engines = tuple(wire.EngineOffer(info.name, info.languages, info.sample_rate) for info in gateway.voices.engines)
    return wire.Ready(VERSION, limits_of(gateway.settings.limits), voices, formats, engines)


def voice_list(gateway: Gateway) -> list[dict[str, Any]]:
    """`/v1/voices`."""
    return [
        {
            "id": voice.id,
            "engine": info.name,
            "languages": list(voice.languages),
            "description": voice.description,
            "gender": voice.gender,
            "emotions": list(voice.emotions),
            "speaks_after_handover": [part.voice for part in gateway.voices.cast(voice.id, None)[1:]],
        }
        for info, voice in gateway.voices.voices()
    ]


def capabilities(gateway: Gateway) -> dict[str, Any]:
    """`/v1/capabilities`."""
    breakers = gateway.back.breakers()
    first_chunk_p99_s, shortfalls = gateway.back.fitness()
    return {
        "version": VERSION,
        "protocols": ["realtime.v1.msgpack", "realtime.v1.json"],
        "formats": {codec: list(rates) for codec, rates in gateway.back.formats.items()},
        "budgets": {
            name: {field: getattr(budget, field) for field in ("first_audio_ms", "start_buffer_ms", "max_lead_ms", "sticky")}
            for name, budget in gateway.back.profiles.items()
        },
        "engines": [
            {
                "name": info.name,
                "sample_rate": info.sample_rate,
                "languages": list(info.languages),
                "levels": [{"name": level.name, "rtf": level.rtf, "first_chunk_s": level.first_chunk_s} for level in info.levels],
                "capacity": info.capacity,
                "revision": info.revision,
                "breaker": breakers.get(info.name, "closed"),
                **({"first_chunk_p99_ms": round(first_chunk_p99_s[info.name] * 1000)} if info.name in first_chunk_p99_s else {}),
                "too_slow_for": [
                    {"profile": s.profile, "first_audio_ms": s.first_audio_ms, "hint": str(s)} for s in shortfalls if s.engine == info.name
                ],
            }
            for info in gateway.voices.engines
        ],
        "allows_faults": gateway.settings.server.allow_faults,
    }
