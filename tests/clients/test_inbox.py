"""The bounded queue of audio."""

from __future__ import annotations

import asyncio

import pytest
from realtime_client.inbox import Inbox

from realtime.types import Codec
from realtime.wire.events import Audio


def audio(offset: int, samples: int, width: int = 2) -> Audio:
    return Audio("u", 0, offset, samples, "e", b"".join(bytes([offset + i] * width) for i in range(samples)))


async def test_pieces_come_in_order_then_the_end() -> None:
    inbox = Inbox(Codec.PCM_S16LE)
    await inbox.put(audio(0, 2))
    await inbox.put(audio(2, 1))
    inbox.close()
    await inbox.put(audio(3, 1))  # too late
    assert [await inbox.get() for _ in range(4)] == [audio(0, 2), audio(2, 1), None, None]


async def test_an_error_comes_after_what_was_held() -> None:
    inbox = Inbox(Codec.PCM_S16LE)
    await inbox.put(audio(0, 2))
    inbox.close(ValueError("late"))
    inbox.close()  # the first end counts
    assert await inbox.get() == audio(0, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="late"):
            await inbox.get()


async def test_a_full_inbox_makes_the_writer_wait() -> None:
    inbox = Inbox(Codec.PCM_S16LE, max_held_bytes=3)
    await inbox.put(audio(0, 1))
    await inbox.put(audio(1, 1))
    waiting = asyncio.create_task(inbox.put(audio(2, 1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await inbox.get() == audio(0, 1)
    await waiting
    assert await inbox.get() == audio(1, 1)


async def test_closing_or_clearing_frees_a_waiting_writer() -> None:
    for free in (Inbox.close, Inbox.clear):
        inbox = Inbox(Codec.PCM_S16LE, max_held_bytes=0)
        await inbox.put(audio(0, 1))
        waiting = asyncio.create_task(inbox.put(audio(1, 1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        free(inbox)
        await waiting


async def test_a_reader_waits_for_the_writer() -> None:
    inbox = Inbox(Codec.PCM_S16LE)
    reading = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not reading.done()
    await inbox.put(audio(0, 1))
    assert await reading == audio(0, 1)


@pytest.mark.parametrize(("codec", "width"), [(Codec.PCM_S16LE, 2), (Codec.PCM_F32LE, 4), (Codec.MULAW, 1), (Codec.ALAW, 1)])
async def test_cutting_between_any_two_samples(codec: Codec, width: int) -> None:
    for cut in range(7):
        inbox = Inbox(codec)
        assert inbox.can_cut
        await inbox.put(audio(0, 3, width))
        await inbox.put(audio(3, 3, width))
        inbox.cut(cut)
        inbox.close()
        held = b""
        while (piece := await inbox.get()) is not None:
            assert len(piece.payload) == piece.samples * width
            held += piece.payload
        assert held == audio(0, 6, width).payload[: cut * width]


def test_packets_can_not_be_cut() -> None:
    assert not Inbox(Codec.OPUS).can_cut
    assert not Inbox(Codec.MP3).can_cut
