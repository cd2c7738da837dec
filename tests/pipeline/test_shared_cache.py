"""The shared tier: answers in time or not at all, is left alone while it is away, and writes behind everybody's back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import numpy as np
import pytest

from realtime import metrics
from realtime.clock import MonotonicClock
from realtime.errors import BadOption, how_to_install
from realtime.pipeline.cache import CacheKey, SpokenSegment
from realtime.pipeline.cache_values import name_of
from realtime.pipeline.shared_cache import LOOK_UPS, Found, SharedCache, SharedCacheSettings, StoreFailed, StoreRefused
from tests.fakes import FakeClock, settle

KEY = CacheKey("e", "1", "v", "zh", "您好", 1.0, None, 0)
LEVELS = ("best", "fast")
BOUNDS = SharedCacheSettings(wait_s=0.01, answer_s=0.25, ttl_s=60, entry_bytes=100_000, unwritten_bytes=50_000)


def key(text: str) -> CacheKey:
    return replace(KEY, text=text)


def segment(samples: int = 1000) -> SpokenSegment:
    return SpokenSegment(np.arange(samples, dtype=np.int16), 24000, ())


def count(answer: str) -> float:
    return metrics.shared_cache_look_ups.labels(answer)._value.get()


def written(end: str) -> float:
    return metrics.shared_cache_writes.labels(end)._value.get()


@dataclass
class FakeStore:
    """Answers after `delay_s` of the fake clock, or not at all."""

    clock: FakeClock
    values: dict[bytes, bytes] = field(default_factory=dict)
    delay_s: float = 0.0
    error: Exception | None = None
    put_error: Exception | None = None
    calls: list[str] = field(default_factory=list)
    place: str = "fake://"

    async def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.delay_s:
            await self.clock.sleep_until(self.clock.now() + self.delay_s)
        if self.error is not None:
            raise self.error

    async def get(self, names: Sequence[bytes], most_bytes: int) -> list[bytes]:
        await self._answer("get")
        return [self.values.get(name, b"")[:most_bytes] for name in names]

    async def put(self, name: bytes, value: bytes, ttl_s: int) -> None:
        await self._answer("put")
        if self.put_error is not None:
            raise self.put_error
        self.values[name] = value

    async def ping(self) -> None:
        await self._answer("ping")

    async def aclose(self) -> None:
        self.calls.append("close")


@dataclass
class Rig:
    clock: FakeClock
    store: FakeStore
    cache: SharedCache
    kept: list[tuple[CacheKey, str, SpokenSegment]]
    answers: list[Found | None]

    def look_up(self, wanted: CacheKey = KEY) -> bool:
        return self.cache.look_up(wanted, LEVELS, self.answers.append)


@asynccontextmanager
async def rig(settings: SharedCacheSettings = BOUNDS, **store: Any) -> AsyncIterator[Rig]:
    clock, kept, answers = FakeClock(), [], []
    fake = FakeStore(clock, **store)
    async with SharedCache(fake, clock, lambda *what: kept.append(what), settings) as cache:
        await settle()
        yield Rig(clock, fake, cache, kept, answers)
    assert fake.calls[-1] == "close"


async def test_what_one_gateway_spoke_another_finds_at_its_best_level() -> None:
    async with rig() as r:
        r.cache.put(KEY, "fast", segment(10))
        r.cache.put(KEY, "best", segment(20))
        await settle()
        assert r.look_up()
        await settle()
        ((level, found),) = [answer for answer in r.answers if answer is not None]
        assert (level, len(found.samples)) == ("best", 20) and r.kept[0][:2] == (KEY, "best")


async def test_nothing_kept_is_answered_with_nothing_before_the_wait_is_over() -> None:
    async with rig() as r:
        assert r.look_up()
        await settle()
        assert r.answers == [None] and r.kept == []


async def test_a_late_answer_delays_nobody_and_is_kept_for_the_next_time() -> None:
    async with rig() as r:
        r.cache.put(KEY, "best", segment())
        await settle()
        r.store.delay_s, late = 0.1, count("late")
        assert r.look_up()
        await r.clock.advance(0.009)
        assert r.answers == []
        await r.clock.advance(0.002)
        assert r.answers == [None] and r.kept == []
        await r.clock.advance(0.1)
        assert r.answers == [None] and len(r.kept) == 1 and count("late") == late + 1


async def test_one_text_is_asked_for_once_however_many_want_it() -> None:
    async with rig() as r:
        r.cache.put(KEY, "best", segment())
        await settle()
        assert all(r.look_up() for _ in range(5))
        await settle()
        assert len(r.answers) == 5 and None not in r.answers and r.store.calls.count("get") == 1


async def test_more_look_ups_than_the_bound_are_not_asked() -> None:
    async with rig(delay_s=0.0) as r:
        r.store.delay_s = 0.1
        assert [r.look_up(key(str(k))) for k in range(LOOK_UPS + 2)] == [True] * LOOK_UPS + [False] * 2
        await r.clock.advance(0.05)
        assert r.answers == [None] * LOOK_UPS and not r.look_up(), "nobody waits for them any more, but they still run"
        await r.clock.advance(0.3)
        assert r.look_up()


async def test_a_store_that_is_down_at_the_start_is_never_asked_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "realtime.shared_cache"):
        async with rig(error=StoreFailed("refused")) as r:
            assert not r.look_up() and not r.cache.is_up
            await r.clock.advance(100.0)
            assert r.store.calls.count("get") == 0 and 6 <= r.store.calls.count("ping") <= 12, "with back-off"
            assert [record.levelname for record in caplog.records] == ["WARNING"] and "refused" in caplog.text
            r.store.error = None
            await r.clock.advance(31.0)
            assert r.cache.is_up and r.look_up() and [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_store_that_dies_is_left_alone_after_three_failures() -> None:
    async with rig() as r:
        r.store.error = StoreFailed("gone")
        for k in range(3):
            assert r.look_up(key(str(k)))
            await settle()
        assert r.answers == [None] * 3
        assert not r.look_up(), "nobody waits for it from now on"
        assert metrics.shared_cache_up.labels("fake://")._value.get() == 0


async def test_a_store_that_hangs_costs_three_waits_and_no_more() -> None:
    async with rig(replace(BOUNDS, answer_s=0.05)) as r:
        r.store.delay_s = 1e9
        for k in range(3):
            assert r.look_up(key(str(k)))
            await r.clock.advance(0.011)
            assert len(r.answers) == k + 1
        await until(lambda: not r.cache.is_up)


async def test_writes_wait_for_the_store_to_return_and_the_queue_is_bounded() -> None:
    async with rig(error=StoreFailed("down")) as r:
        dropped = written("dropped")
        size = segment().size
        for k in range(BOUNDS.unwritten_bytes // size + 3):
            r.cache.put(key(str(k)), "best", segment())
        assert written("dropped") == dropped + 3 and r.store.values == {}
        r.store.error = None
        await r.clock.advance(31.0)
        assert len(r.store.values) == BOUNDS.unwritten_bytes // size


async def test_values_beyond_the_bound_are_neither_written_nor_read() -> None:
    async with rig() as r:
        too_large = written("too_large")
        r.cache.put(KEY, "best", segment(60_000))
        assert written("too_large") == too_large + 1
        r.store.values[name_of(KEY, "best")] = b"RTS1" + bytes(10_000_000)
        unreadable = count("unreadable")
        assert r.look_up()
        await settle()
        assert r.answers == [None] and count("unreadable") == unreadable + 1


async def test_a_full_store_is_told_of_and_still_read(caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as r:
        r.store.put_error = StoreRefused("OOM command not allowed")
        for k in range(5):
            r.cache.put(key(str(k)), "best", segment(10))
            await settle()
        assert r.cache.is_up and r.look_up()
        assert caplog.text.count("OOM") == 1


async def test_leaving_with_a_look_up_under_way_is_clean() -> None:
    async with rig() as r:
        r.store.delay_s = 1e9
        r.look_up()
        r.cache.put(KEY, "best", segment())
        await settle()
    assert not r.cache.is_up and not r.look_up()


# ---- over the wire, against Redis itself and against peers that are none


@asynccontextmanager
async def real(url: str, settings: SharedCacheSettings = BOUNDS) -> AsyncIterator[SharedCache]:
    from realtime.pipeline.redis_store import RedisStore

    async with SharedCache(RedisStore(url), MonotonicClock(), lambda *what: None, replace(settings, wait_s=1.0, answer_s=1.0)) as cache:
        yield cache


async def ask(cache: SharedCache, wanted: CacheKey = KEY) -> Found | None:
    answers: list[Found | None] = []
    told = anyio.Event()
    assert cache.look_up(wanted, LEVELS, lambda found: (answers.append(found), told.set())[1])
    with anyio.fail_after(5):
        await told.wait()
    return answers[0]


async def until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)


async def test_two_gateways_share_a_redis(redis_server: Any) -> None:
    from redis import Redis

    async with real(redis_server.url) as one, real(redis_server.url) as two:
        await until(lambda: one.is_up and two.is_up)
        assert await ask(two) is None
        one.put(KEY, "best", segment())
        with Redis.from_url(redis_server.url) as plain:
            await until(lambda: plain.dbsize() == 1)
            assert 0 < plain.ttl(name_of(KEY, "best")) <= BOUNDS.ttl_s
            found = await ask(two)
            assert found is not None and np.array_equal(found[1].samples, segment().samples)
            plain.lpush(name_of(key("list"), "best"), "not bytes")
            plain.set(name_of(key("other"), "best"), "somebody else's")
        assert await ask(two, key("list")) is None and await ask(two, key("other")) is None
        assert two.is_up


async def test_a_redis_that_dies_and_returns(redis_server: Any) -> None:
    async with real(redis_server.url) as cache:
        await until(lambda: cache.is_up)
        redis_server.stop()
        for k in range(3):
            assert await ask(cache, key(str(k))) is None
        assert not cache.is_up
        redis_server.start()
        await until(lambda: cache.is_up)
        assert await ask(cache) is None


async def test_a_redis_that_hangs_is_left_and_its_late_answers_mix_nothing_up(redis_server: Any) -> None:
    async with real(redis_server.url, BOUNDS) as cache:
        cache._settings = replace(BOUNDS, wait_s=0.01, answer_s=0.05)
        await until(lambda: cache.is_up)
        cache.put(KEY, "best", segment(77))
        await anyio.sleep(0.1)
        with redis_server.frozen():
            for k in range(3):
                assert await ask(cache, key(str(k))) is None
            await until(lambda: not cache.is_up)
        await until(lambda: cache.is_up)
        cache._settings = replace(BOUNDS, wait_s=1.0, answer_s=1.0)
        found = await ask(cache)
        assert found is not None and len(found[1].samples) == 77


NO_REDIS = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"$x\r\n", b"*99999999\r\n", b"\xff\xfe\x00", b":1\r\n" * 50, b""]


@pytest.mark.parametrize("said", NO_REDIS)
async def test_a_peer_that_is_no_redis_is_left_alone(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("redis", reason=f"the Redis client is not installed; {how_to_install('redis')}")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with real(f"redis://user:secret@127.0.0.1:{port}/0") as cache:
            await until(lambda: caplog.records)
            assert not cache.is_up and "secret" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port", ""])
def test_a_wrong_url_is_refused_with_the_setting_s_name(url: str) -> None:
    pytest.importorskip("redis", reason=f"the Redis client is not installed; {how_to_install('redis')}")
    from realtime.pipeline.redis_store import RedisStore

    with pytest.raises(BadOption, match="redis_url"):
        RedisStore(url)
