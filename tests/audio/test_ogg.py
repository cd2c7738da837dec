"""Ogg pages: checksums, lacing, damage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.audio.ogg import OggReader, OggWriter, opus_head, page_crc
from realtime.errors import ProtocolViolation


def crc_by_the_book(data: bytes) -> int:
    """RFC 3533: generator 0x04C11DB7, one bit at a time."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register


@given(st.binary(max_size=300))
def test_checksum_is_that_of_the_rfc(data: bytes) -> None:
    assert page_crc(data) == crc_by_the_book(data)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1300), min_size=1, max_size=6), st.integers(1, 400))
def test_packets_come_back_from_bytes_cut_anywhere(sizes: list[int], cut: int) -> None:
    packets = [bytes([n]) * size for n, size in enumerate(sizes)]
    writer, reader = OggWriter(7), OggReader()
    stream = b"".join(writer.page(packet, 960 * n, is_last=n == len(packets) - 1) for n, packet in enumerate(packets))
    found = [packet for at in range(0, len(stream), cut) for packet in reader.push(stream[at : at + cut])]
    assert [packet.data for packet in found] == packets
    assert [packet.granule for packet in found] == [960 * n for n in range(len(packets))]
    assert [packet.is_last for packet in found] == [n == len(packets) - 1 for n in range(len(packets))]
    assert reader.pending == 0


def test_a_packet_over_two_pages_is_joined() -> None:
    body = bytes(range(256)) * 2
    first = _page(flags=2, sequence=0, lacing=[255], body=body[:255])
    second = _page(flags=1, sequence=1, lacing=[255, 2], body=body[255:])
    reader = OggReader()
    assert reader.push(first) == []
    (packet,) = reader.push(second)
    assert packet.data == body


def test_one_flipped_bit_is_noticed() -> None:
    page = bytearray(OggWriter(1).page(b"hello", 0))
    page[-1] ^= 1
    with pytest.raises(ProtocolViolation, match="checksum"):
        OggReader().push(bytes(page))


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="not an Ogg page"):
        OggReader().push(b"RIFF" + bytes(40))


def test_a_packet_too_long_for_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        OggWriter(1).page(bytes(255 * 255), 0)


def test_head_states_pre_skip_and_rate() -> None:
    head = opus_head(312, 24000)
    assert head[:8] == b"OpusHead"
    assert struct.unpack("<HI", head[10:16]) == (312, 24000)
    assert len(head) == 19


def _page(flags: int, sequence: int, lacing: list[int], body: bytes) -> bytes:
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 5, 1, sequence, 0, len(lacing)) + bytes(lacing) + body
    return page[:22] + struct.pack("<I", crc_by_the_book(page)) + page[26:]
