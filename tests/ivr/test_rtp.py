"""Packets, keys, and whose packets count."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from realtime_ivr.call import Quality
from realtime_ivr.sip.dtmf import PAUSE_TICKS, TICKS, KeyReceiver, KeySender
from realtime_ivr.sip.media import Media
from realtime_ivr.sip.offer import Terms
from realtime_ivr.sip.rtp import TAKEOVER_S, Gate, Packet, Stream, Verdict, parse

from realtime.types import Codec

PHONE, STRANGER = ("192.0.2.5", 4000), ("203.0.113.1", 4000)


def packet(sequence: int = 1, ssrc: int = 7) -> Packet:
    return Packet(0, False, sequence, sequence * 160, ssrc, b"\xff" * 160)


def test_numbers_go_on_by_one_and_160_and_only_the_first_has_a_marker() -> None:
    stream = Stream()
    packets = []
    for _ in range(3):
        found = parse(stream.frame(0, b"x" * 160))
        assert found is not None
        packets.append(found)
        stream.advance()
    assert [p.marker for p in packets] == [True, False, False]
    assert [(p.sequence - packets[0].sequence) % 65536 for p in packets] == [0, 1, 2]
    assert [(p.timestamp - packets[0].timestamp) % 2**32 for p in packets] == [0, 160, 320]


def test_a_pause_shows_in_the_timestamp_and_not_in_the_sequence() -> None:
    stream = Stream()
    first = parse(stream.frame(0, b""))
    stream.advance(50)
    stream.paused()
    second = parse(stream.frame(0, b""))
    assert first is not None and second is not None
    assert (second.sequence - first.sequence) % 65536 == 1 and (second.timestamp - first.timestamp) % 2**32 == 8000 and second.marker


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    found = parse(data)
    assert found is None or len(found.payload) <= len(data) - 12


def test_extension_csrc_and_padding_are_left_out() -> None:
    header = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 8, 1, 2, 3)
    data = header + bytes(8) + b"\xbe\xde\x00\x01" + bytes(4) + b"sound" + b"\0\0\x03"
    found = parse(data)
    assert found is not None and found.payload == b"sound" and found.payload_type == 8
    assert parse(header + bytes(8) + b"\xbe\xde\xff\xff") is None
    assert parse(data[:-1] + b"\xff") is None and parse(data[:-1] + b"\0") is None


def test_a_stranger_is_never_heard_and_never_answered() -> None:
    gate = Gate(PHONE, frozenset({PHONE[0]}))
    assert gate.admit(packet(), STRANGER, 0.0) is Verdict.REFUSED and gate.remote == PHONE
    assert gate.admit(packet(), PHONE, 0.1) is Verdict.NEW_SOURCE
    assert gate.admit(packet(2), STRANGER, 100.0) is Verdict.REFUSED and gate.remote == PHONE


def test_a_phone_behind_nat_is_followed_to_the_port_it_sends_from() -> None:
    gate = Gate(("10.0.0.9", 4000), frozenset({"10.0.0.9", "198.51.100.2"}))
    assert gate.admit(packet(), ("198.51.100.2", 61234), 0.0) is Verdict.NEW_SOURCE
    assert gate.remote == ("198.51.100.2", 61234)


def test_another_port_of_the_same_host_takes_over_only_after_a_silence() -> None:
    gate = Gate(PHONE, frozenset({PHONE[0]}))
    other = (PHONE[0], 5555)
    gate.admit(packet(), PHONE, 0.0)
    assert gate.admit(packet(9, ssrc=8), other, TAKEOVER_S / 2) is Verdict.REFUSED
    assert gate.admit(packet(10, ssrc=8), other, TAKEOVER_S * 1.5) is Verdict.NEW_SOURCE and gate.remote == other


def test_a_wrong_ssrc_counts_only_when_it_goes_on() -> None:
    gate = Gate(PHONE, frozenset({PHONE[0]}))
    gate.admit(packet(1), PHONE, 0.0)
    assert gate.admit(packet(500, ssrc=99), PHONE, 0.02) is Verdict.REFUSED  # a single one is noise
    assert gate.admit(packet(2), PHONE, 0.04) is Verdict.TAKEN
    assert gate.admit(packet(501, ssrc=99), PHONE, 0.06) is Verdict.REFUSED
    assert gate.admit(packet(502, ssrc=99), PHONE, 0.08) is Verdict.NEW_SOURCE


def test_a_key_is_sent_as_rfc_4733_wants_it() -> None:
    sender = KeySender()
    sender.push("5")
    ticks = [sender.tick() for _ in range(TICKS)]
    assert [len(found) for found in ticks] == [1] * (TICKS - 1) + [3]
    payloads = [struct.unpack("!BBH", one.payload) for found in ticks for one in found]
    assert [event for event, _, _ in payloads] == [5] * (TICKS + 2)
    assert [duration for _, _, duration in payloads] == [160 * (n + 1) for n in range(TICKS)] + [160 * TICKS] * 2
    assert [bool(flags & 0x80) for _, flags, _ in payloads] == [False] * (TICKS - 1) + [True] * 3
    assert [one.is_first for found in ticks for one in found] == [True] + [False] * (TICKS + 1)
    assert [one.age_samples for found in ticks for one in found][:3] == [0, 160, 320]
    assert all(sender.tick() == [] for _ in range(PAUSE_TICKS)) and sender.is_busy
    sender.tick()
    assert not sender.is_busy


def test_keys_come_back_as_they_were_sent_even_when_packets_are_lost() -> None:
    sender, receiver, clock, heard = KeySender(), KeyReceiver(), 0, ""
    sender.push("11#*D0")
    for tick in range(200):
        for one in sender.tick():
            if tick % 3:  # every third packet is lost
                heard += receiver.push(one.payload, clock - one.age_samples) or ""
        clock += 160
    assert heard == "11#*D0"
    assert receiver.push(b"\x05", 1) is None and receiver.malformed == 1
    assert receiver.push(bytes([16, 0, 0, 1]), 77) is None  # flash is no key


class Wire:
    """Where a call's media goes."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        packet = parse(data)
        assert packet is not None and to == ("127.0.0.1", 4000)
        self.packets.append(packet)


@pytest.mark.parametrize(("suppresses", "silent_packets"), [(False, 100), (True, 2)])
def test_silence_is_sent_unless_it_is_suppressed_and_sound_behind_it_begins_with_a_marker(suppresses: bool, silent_packets: int) -> None:
    media, rtp, marks = Media(Quality(), lambda key: None, lambda pcm: None), Wire(), list[str]()
    media.opened(5000, rtp, None)  # type: ignore[arg-type]
    media.suppresses_silence, media.on_marks = suppresses, marks.extend
    media.apply(Terms(("127.0.0.1", 4000), Codec.MULAW, 0, 101), "127.0.0.1")
    for _ in range(100):
        media.tick(0)
    media.playout.mark("quiet")
    media.tick(0)
    assert marks == ["quiet"]  # though nothing is heard
    begin = media.stream.timestamp
    assert len(rtp.packets) == silent_packets + (not suppresses)
    media.playout.push(b"\x01" * 1600)
    for _ in range(10):
        media.tick(0)
    sound = rtp.packets[-10:]
    assert sound[0].marker is suppresses and [p.timestamp - begin & 0xFFFFFFFF for p in sound] == [at * 160 for at in range(10)]
    assert [p.sequence - sound[0].sequence & 0xFFFF for p in sound] == list(range(10))
