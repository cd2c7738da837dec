"""SDP offers and answers (RFC 3264) for one G.711 stream with telephone-events. Pure.

PCMU and PCMA, in the other side's order of preference; its payload numbers are used for what we send, as RFC 3264, 5.1 wants. Other media
are refused by port 0. Video, SRTP and ICE are not offered and not taken: an offer of RTP/SAVP alone is answered 488.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address

from aiosipua.sdp import Codec as SdpCodec
from aiosipua.sdp import ConnectionData, MediaDescription, Origin, SdpMessage, TimingField, parse_sdp, serialize_sdp
from realtime_ivr.sip.reading import Address

from realtime.types import Codec

ENCODINGS = {"PCMU": (0, Codec.MULAW), "PCMA": (8, Codec.ALAW)}
"""Static payload types of RFC 3551, table 4."""
EVENT_TYPE = 101
"""What most phones use for telephone-event; ours when we offer."""
ANSWER_DIRECTION = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_versions = itertools.count(int(time.time()))


class NoCommonCodec(Exception):
    """Raised when an offer or answer has nothing that we speak; answered 488."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed. `events_type`: payload type of telephone-events, None without. `direction` is ours."""

    remote: Address
    encoding: Codec
    payload_type: int
    events_type: int | None
    direction: str = "sendrecv"

    @property
    def may_send(self) -> bool:
        """Whether they want to hear us: not on hold, and an address to send to."""
        return self.direction in ("sendrecv", "sendonly") and self.remote[1] != 0


def read_sdp(text: str) -> SdpMessage:
    """Parse. Raises `NoCommonCodec` for what is no session description."""
    try:
        return parse_sdp(text)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise NoCommonCodec(f"no session description: {error}") from None


def agree(theirs: SdpMessage) -> Terms:
    """What their offer or answer makes possible. Raises `NoCommonCodec`."""
    audio = _audio(theirs)
    codec = next((codec for codec in audio.codecs if _is_ours(codec)), None)
    if codec is None:
        offered = ", ".join(c.encoding_name or str(c.payload_type) for c in audio.codecs) or "nothing"
        raise NoCommonCodec(f"only {offered} offered; PCMU or PCMA wanted")
    events = next(
        (c.payload_type for c in audio.codecs if c.encoding_name.lower() == "telephone-event" and c.clock_rate in (0, 8000)), None
    )
    connection = audio.connection or theirs.connection
    host = connection.address.split("/")[0] if connection is not None else ""
    _check_host(host)
    direction = ANSWER_DIRECTION[_direction(theirs, audio)]
    if host in ("0.0.0.0", "::"):  # hold of the old kind (RFC 2543)
        direction = "inactive" if direction == "inactive" else "recvonly"
    return Terms((host, audio.port), ENCODINGS[codec.encoding_name.upper()][1], codec.payload_type, events, direction)


def _is_ours(codec: SdpCodec) -> bool:
    return codec.encoding_name.upper() in ENCODINGS and codec.clock_rate in (0, 8000) and codec.channels in (None, 0, 1)


def _audio(sdp: SdpMessage) -> MediaDescription:
    for media in sdp.media:
        if media.media == "audio" and media.proto.upper() in ("RTP/AVP", "RTP/AVPF") and media.port != 0:
            return media
    raise NoCommonCodec("no plain RTP audio offered")


def _check_host(host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        raise NoCommonCodec(f"media address {host!r} is no IP address") from None


def _direction(sdp: SdpMessage, audio: MediaDescription) -> str:
    """The media's own direction, else the session's."""
    for attributes in (audio.attributes, sdp.attributes):
        for direction in ANSWER_DIRECTION:
            if direction in attributes:
                return direction
    return "sendrecv"


def make_answer(offer: SdpMessage, terms: Terms, local: Address, session: str) -> str:
    """Our answer to their offer; media that we don't take are refused. `session`: the same number for all of one call."""
    chosen = _audio(offer)
    ours = _media(local[1], [(terms.payload_type, terms.encoding)], terms.events_type, terms.direction)
    media = [replace(ours, proto=m.proto) if m is chosen else MediaDescription(m.media, 0, m.proto, list(m.formats)) for m in offer.media]
    return serialize_sdp(_session(local[0], media, session))


def make_offer(local: Address, session: str) -> str:
    """Both laws and telephone-events."""
    return serialize_sdp(_session(local[0], [_media(local[1], list(ENCODINGS.values()), EVENT_TYPE, "sendrecv")], session))


def _media(port: int, codecs: list[tuple[int, Codec]], events_type: int | None, direction: str) -> MediaDescription:
    names = {codec: name for name, (_, codec) in ENCODINGS.items()}
    maps = [f"{number} {names[codec]}/8000" for number, codec in codecs]
    formats = [str(number) for number, _ in codecs]
    attributes: dict[str, list[str]] = {"rtpmap": maps}
    if events_type is not None:
        maps.append(f"{events_type} telephone-event/8000")
        formats.append(str(events_type))
        attributes["fmtp"] = [f"{events_type} 0-16"]
    attributes["ptime"] = ["20"]
    attributes[direction] = []
    return MediaDescription("audio", port, "RTP/AVP", formats, attributes=attributes)


def _session(host: str, media: list[MediaDescription], session: str) -> SdpMessage:
    kind = "IP6" if ":" in host else "IP4"
    origin = Origin(username="-", session_id=session, session_version=str(next(_versions)), net_type="IN", addr_type=kind, address=host)
    return SdpMessage(0, origin, "realtime", ConnectionData("IN", kind, host), [], TimingField(0, 0), {}, media)
