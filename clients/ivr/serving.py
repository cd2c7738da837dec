"""`serve` and `dial` put together: who speaks, what is said, over which networks, and what is kept of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

from aiosipua.auth import SipDigestAuth
from aiosipua.headers import parse_uri
from realtime_ivr.collector import Collector
from realtime_ivr.desk import Desk, DeskOptions
from realtime_ivr.flow import Flow
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.metrics import Metrics, MetricsServer
from realtime_ivr.pacer import Pacer
from realtime_ivr.prewarm import Prewarmer
from realtime_ivr.programs import load_program
from realtime_ivr.prompts import PromptStore
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.sip.registering import Registration
from realtime_ivr.table import CallTable
from realtime_ivr.transports.audio_stream import AudioStreamTransport
from realtime_ivr.transports.audiosocket import AudioSocketTransport
from realtime_ivr.transports.chan_websocket import ChanWebSocketTransport
from realtime_ivr.transports.sip import SipTransport
from realtime_ivr.transports.twilio import TwilioTransport

from realtime.errors import BadOption

log = logging.getLogger("realtime_ivr")

DEFAULT_SIP = "127.0.0.1:5090"


class Transport(Protocol):
    """A network: started, its calls go to the desk, closed."""

    async def start(self) -> None:
        """Listen."""
        ...

    async def aclose(self) -> None:
        """Hang up and stop."""
        ...


async def serve(arguments: argparse.Namespace) -> int:
    """Take calls until told to stop."""
    async with _desk(arguments) as (desk, pacer), AsyncExitStack() as stack:
        for transport in _transports(arguments, desk, pacer):
            await transport.start()
            stack.push_async_callback(transport.aclose)
            log.info("taking calls: %r", transport)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if not arguments.no_table:
            stack.enter_context(CallTable(desk, pacer))
        await stop.wait()
        log.info("closing; %d calls are hung up", len(desk.calls))
    return 0


async def dial(arguments: argparse.Namespace) -> int:
    """Call somebody; 0 when they answered and the flow ran."""
    async with _desk(arguments) as (desk, pacer), AsyncExitStack() as stack:
        _set_variables(desk, arguments.set)
        transport = SipTransport(
            _sip_settings(arguments, default="127.0.0.1:0"),
            desk.serve,
            pacer=pacer,
            rtp_ports=_ports(arguments.rtp_ports),
            suppress_silence=arguments.suppress_silence,
        )
        await transport.start()
        stack.push_async_callback(transport.aclose)
        call = await transport.dial(arguments.uri, auth=_auth(arguments, arguments.uri), ring_s=arguments.ring_s)
        record = await desk.serve(call)
        if arguments.json:
            print(json.dumps(record, ensure_ascii=False), flush=True)
    return 0


@asynccontextmanager
async def _desk(arguments: argparse.Namespace) -> AsyncIterator[tuple[Desk, Pacer]]:
    """Who speaks and what is said, started and closed."""
    program = load_program(arguments.flow)
    if isinstance(program, Flow):
        for warning in program.warnings:
            log.warning("%s", warning)
    voices = Voices(Service(arguments.url, _secret(arguments.api_key_file)), PromptStore(), LocalVoice())
    desk = Desk(voices, program, DeskOptions(arguments.records, arguments.recordings), Metrics())
    pacer = Pacer()
    pacer.on_tick = desk.metrics.late.observe
    async with AsyncExitStack() as stack:
        if arguments.metrics:
            stack.callback(MetricsServer(desk.metrics, *address(arguments.metrics)).close)
        stack.push_async_callback(voices.local.aclose)
        stack.push_async_callback(voices.service.aclose)
        await voices.service.start()
        warming = asyncio.create_task(voices.local.warm_up())
        stack.callback(warming.cancel)
        collecting = asyncio.create_task(Collector(lambda: not desk.calls, lambda: desk.finished).run())
        stack.callback(collecting.cancel)
        if isinstance(program, Flow):
            stack.push_async_callback(Prewarmer(voices, program).aclose)
        yield desk, pacer


def _transports(arguments: argparse.Namespace, desk: Desk, pacer: Pacer) -> list[Transport]:
    found: list[Transport] = []
    if not arguments.no_sip:
        registration = None
        if arguments.register:
            registration = Registration(arguments.register, _secret(arguments.password_file) or "", username=arguments.user)
        settings = _sip_settings(arguments, default=DEFAULT_SIP)
        ports, quiet = _ports(arguments.rtp_ports), arguments.suppress_silence
        found.append(SipTransport(settings, desk.serve, pacer=pacer, rtp_ports=ports, registration=registration, suppress_silence=quiet))
    if arguments.audiosocket:
        found.append(AudioSocketTransport(*address(arguments.audiosocket), desk.serve, pacer))
    if arguments.chan_websocket:
        found.append(ChanWebSocketTransport(*address(arguments.chan_websocket), desk.serve, pacer))
    if arguments.twilio:
        token = _secret(arguments.twilio_token_file)
        found.append(TwilioTransport(*address(arguments.twilio), desk.serve, pacer, auth_token=token, public_url=arguments.twilio_url))
    if arguments.audio_stream:
        lead_s = arguments.audio_stream_lead_ms / 1000
        where = address(arguments.audio_stream)
        found.append(AudioStreamTransport(*where, desk.serve, pacer, replies_json=arguments.audio_stream_json, lead_s=lead_s))
    if not found:
        raise BadOption("no network to take calls from: leave out --no-sip, or name --audiosocket, --twilio, ...")
    return found


def _sip_settings(arguments: argparse.Namespace, default: str) -> SipSettings:
    host, port = address(arguments.sip or default)
    try:
        allowed = tuple(ip_network(text, strict=False) for text in getattr(arguments, "allow", []))
    except ValueError as error:
        raise BadOption(f"--allow: {error}") from None
    user = parse_uri(arguments.register).user if getattr(arguments, "register", None) else None
    return SipSettings(
        host=host,
        port=port,
        user=user or "ivr",
        advertised_host=arguments.advertise,
        max_calls=getattr(arguments, "max_calls", 10),
        invites_per_s=getattr(arguments, "invites_per_s", 10.0),
        allowed=allowed,
        tcp=getattr(arguments, "sip_tcp", False) or "transport=tcp" in str(getattr(arguments, "uri", "")).lower(),
    )


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises `BadOption`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadOption(f"{text!r} is no address; write HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and last.isdigit() and 1024 <= int(first) < int(last) <= 65535):
        raise BadOption(f"--rtp-ports {text!r}: write FIRST-LAST between 1024 and 65535")
    return int(first), int(last)


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadOption(f"can't read {path}: {error.strerror or error}") from None


def _auth(arguments: argparse.Namespace, uri: str) -> SipDigestAuth | None:
    password = _secret(arguments.password_file)
    return None if password is None else SipDigestAuth(arguments.user or parse_uri(uri).user or "ivr", password)


def _set_variables(desk: Desk, settings: list[str]) -> None:
    values = dict(text.partition("=")[::2] for text in settings)
    if not values:
        return
    if not isinstance(desk.program, Flow):
        raise BadOption("--set is for TOML flows; a Python flow reads what it wants itself")
    unknown = sorted(set(values) - set(desk.program.table.variables))
    if unknown:
        raise BadOption(f"--set: the flow has no variable {', '.join(unknown)}; it has {', '.join(desk.program.table.variables) or 'none'}")
    desk.program.table.variables.update(values)
