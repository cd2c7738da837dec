"""The outbox: in order, bounded, discardable, and it tells when its reader has stopped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import pytest

from realtime.clock import MonotonicClock
from realtime.server.outbox import WRITE_BYTES, Outbox


class Gate:
    """A socket that takes messages only while it is open."""

    def __init__(self) -> None:
        self.written: list[str | bytes] = []
        self.writes = 0
        self.is_open = anyio.Event()

    async def write(self, messages: Sequence[str | bytes]) -> None:
        await self.is_open.wait()
        self.written += messages
        self.writes += 1


async def settle() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def outbox(gate: Gate) -> Outbox:
    return Outbox(gate.write, 100, MonotonicClock())


async def test_messages_leave_in_order_whoever_writes_them(gate: Gate, outbox: Outbox) -> None:
    gate.is_open.set()
    async with anyio.create_task_group() as tasks:
        for i in range(50):
            tasks.start_soon(outbox.put, bytes([i]))
    assert gate.written == [bytes([i]) for i in range(50)]


async def test_a_full_outbox_holds_its_writers_up(gate: Gate, outbox: Outbox) -> None:
    done: list[int] = []

    async def put(i: int) -> None:
        await outbox.put(bytes(60))
        done.append(i)

    async with anyio.create_task_group() as tasks:
        for i in range(6):
            tasks.start_soon(put, i)
        await settle()
        assert outbox.held_bytes <= 160
        assert len(done) < 6
        assert outbox.stalled_since is not None
        gate.is_open.set()
    assert len(gate.written) == 6
    assert outbox.stalled_since is None
    assert outbox.held_bytes == 0


async def test_discard_forgets_one_utterance_only(gate: Gate, outbox: Outbox) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(outbox.put, b"first", utterance="a"))
        await settle()
        await outbox.put(b"a2", utterance="a")
        await outbox.put(b"b", utterance="b")
        await outbox.put(b"notice")
        assert outbox.discard("a") == 1
        gate.is_open.set()
    assert gate.written == [b"first", b"b", b"notice"]


async def test_discard_lets_waiting_writers_in(gate: Gate, outbox: Outbox) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(outbox.put, bytes(10), utterance="a"))
        await settle()
        await outbox.put(bytes(100), utterance="a")
        tasks.start_soon(partial(outbox.put, b"next", utterance="b"))
        await settle()
        assert outbox.held_bytes == 100
        outbox.discard("a")
        await settle()
        assert outbox.held_bytes == len(b"next")
        gate.is_open.set()
    assert gate.written[-1] == b"next"


async def test_a_cancelled_writer_leaves_the_outbox_usable(gate: Gate, outbox: Outbox) -> None:
    with anyio.move_on_after(0.01):
        await outbox.put(b"lost")
    gate.is_open.set()
    await outbox.put(b"after")
    assert gate.written == [b"after"]


async def test_what_is_put_together_is_written_together_but_never_too_much_at_once(gate: Gate, outbox: Outbox) -> None:
    gate.is_open.set()
    await outbox.put(b"a", "b", b"c")
    assert (gate.written, gate.writes) == ([b"a", "b", b"c"], 1)
    large = bytes(WRITE_BYTES // 2 + 1)
    await outbox.put(large, large, large)
    assert gate.writes == 3
    assert gate.written[3:] == [large] * 3
