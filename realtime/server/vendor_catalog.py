"""What there is to choose from, for other services' clients: ElevenLabs' lists of voices and models, OpenAI's list of models.

Models of theirs are not ours: whatever a client names, the engines speak in their order. The lists show the engines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from realtime.errors import BadOption, RealtimeError, UnknownVoice
from realtime.server import offers
from realtime.server.auth import Gatekeeper
from realtime.server.gateway import Gateway
from realtime.server.vendor_speech import vendor_error
from realtime.wire.dialects import elevenlabs_http

# ElevenLabs' documentation of GET /v2/voices.
PAGE_SIZE, MAX_PAGE_SIZE = 10, 100


def catalog_routes(gateway: Gateway, keeper: Gatekeeper) -> list[BaseRoute]:
    """GET routes beside the service's own `/v1/voices`."""

    def behind_gate(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def handler(request: Request) -> Response:
            try:
                keeper.identify(request.headers, request.query_params)
                return JSONResponse(answer(request))
            except RealtimeError as error:
                return vendor_error(elevenlabs_http.error_response, error)

        return handler

    return [
        Route("/v1/voices/{voice_id}", behind_gate(lambda request: _voice(gateway, request.path_params["voice_id"]))),
        Route("/v2/voices", behind_gate(lambda request: _page(gateway, request))),
        Route("/v1/models", behind_gate(lambda request: _models(gateway, request))),
    ]


def voices(gateway: Gateway) -> list[dict[str, Any]]:
    """Our own voice list with ElevenLabs' fields beside ours, so that one answer serves both kinds of client."""
    return [{**row, **_as_theirs(row)} for row in offers.voice_list(gateway)]


def _as_theirs(row: dict[str, Any]) -> dict[str, Any]:
    labels = {"language": row["languages"][0] if row["languages"] else "", "gender": row["gender"] or "", "engine": row["engine"]}
    return {
        "voice_id": row["id"],
        "name": row["id"],
        "category": "premade",
        "labels": {key: value for key, value in labels.items() if value},
        "preview_url": None,
        "available_for_tiers": [],
        "high_quality_base_model_ids": [row["engine"]],
    }


def _voice(gateway: Gateway, voice_id: str) -> dict[str, Any]:
    for row in voices(gateway):
        if row["id"] == voice_id:
            return row
    raise UnknownVoice(f"no voice {voice_id!r}; GET /v1/voices lists those there are")


def _page(gateway: Gateway, request: Request) -> dict[str, Any]:
    query = request.query_params
    search = query.get("search", "").lower()
    found = [row for row in voices(gateway) if search in f"{row['id']} {row['description']} {row['languages']}".lower()]
    size = min(MAX_PAGE_SIZE, max(1, _number(query.get("page_size"), PAGE_SIZE)))
    begin = _number(query.get("next_page_token"), 0)
    has_more = begin + size < len(found)
    page = found[begin : begin + size]
    token = str(begin + size) if has_more else None
    return {"voices": page, "has_more": has_more, "total_count": len(found), "next_page_token": token}


def _number(given: str | None, default: int) -> int:
    if not given:
        return default
    if not given.isdecimal() or len(given) > 9:
        raise BadOption(f"page_size and next_page_token are whole numbers, not {given[:20]!r}")
    return int(given)


def _models(gateway: Gateway, request: Request) -> Any:
    """Two services have this address: who comes with ElevenLabs' key, or none, gets their list; who comes with a bearer, OpenAI's."""
    engines = gateway.voices.engines
    if "xi-api-key" not in request.headers and "authorization" in request.headers:
        return {"object": "list", "data": [{"id": info.name, "object": "model", "created": 0, "owned_by": "realtime"} for info in engines]}
    return [
        {
            "model_id": info.name,
            "name": info.name,
            "description": "",
            "can_do_text_to_speech": True,
            "can_do_voice_conversion": False,
            "can_be_finetuned": False,
            "can_use_style": False,
            "can_use_speaker_boost": False,
            "serves_pro_voices": False,
            "token_cost_factor": 1.0,
            "maximum_text_length_per_request": gateway.settings.limits.rest_chars,
            "languages": [{"language_id": language, "name": language} for language in info.languages],
        }
        for info in engines
    ]
