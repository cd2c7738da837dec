"""The cache's second tier, which several gateways share: what one has spoken, another need not.

Speech never waits for it longer than `wait_s`, and not at all while it is known to be away: a look-up that takes longer is answered
with nothing (what comes later is kept in memory for the next time), three in a row that fail open the circuit, and only a probe in
the background closes it. Writes go through a bounded queue behind everybody's back. Every other gateway that has not heard a text
yet speaks it itself: there is no single flight between gateways, which would make one wait for another's engines.

Redis keeps what fits its `maxmemory`; set its policy to `allkeys-lru` (ops/RUNBOOK.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from realtime import metrics
from realtime.clock import Clock
from realtime.pipeline.cache import CacheKey, SpokenSegment
from realtime.pipeline.cache_values import decode, encode, name_of
from realtime.pipeline.circuit import Circuit

log = logging.getLogger("realtime.shared_cache")

LOOK_UPS = 32  # at once; one more is not asked at all (guess: a burst of callers is mostly asking for the same texts)
PROBE_S = 2.0  # how long a probe or a write may take: nobody waits for those


@dataclass(frozen=True, slots=True)
class SharedCacheSettings:
    """Bounds of the tier. An answer later than `wait_s` is too late to be heard, one later than `answer_s` is a failure; values of more
    than `entry_bytes` are neither written nor read; a write beyond `unwritten_bytes` waiting ones is dropped."""

    wait_s: float = 0.01
    answer_s: float = 0.25
    ttl_s: int = 7 * 24 * 3600
    entry_bytes: int = 4 << 20
    unwritten_bytes: int = 16 << 20


class Store(Protocol):
    """Bytes by name, elsewhere. Every call may raise `StoreFailed`."""

    @property
    def place(self) -> str:
        """Where it is, for the log: no password in it."""
        ...

    async def get(self, names: Sequence[bytes], most_bytes: int) -> list[bytes]:
        """The first `most_bytes` of each value; empty where there is none."""
        ...

    async def put(self, name: bytes, value: bytes, ttl_s: int) -> None:
        """Keep a value for so long. Raises `StoreRefused` if the store is well but takes none."""
        ...

    async def ping(self) -> None:
        """Return if it answers."""
        ...

    async def aclose(self) -> None:
        """Let go of its connections."""
        ...


class StoreFailed(Exception):
    """Raised when the store can't be reached, or answers what is no answer."""


class StoreRefused(StoreFailed):
    """Raised when the store answers, but takes no value: it is full, or a copy that is only read."""


Found = tuple[str, SpokenSegment]  # quality level, sound
Keep = Callable[[CacheKey, str, SpokenSegment], None]
Then = Callable[[Found | None], None]


class SharedCache(AbstractAsyncContextManager["SharedCache"]):
    """See the module's header. `async with` it before use; outside it answers nothing and keeps nothing."""

    def __init__(self, store: Store, clock: Clock, keep: Keep, settings: SharedCacheSettings) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._settings = settings
        self._circuit = Circuit(clock.now())
        self._waiting: dict[CacheKey, list[Then]] = {}
        self._running = 0  # look-ups, also those that nobody waits for any more
        self._unwritten: deque[tuple[CacheKey, str, SpokenSegment]] = deque()
        self._unwritten_bytes = 0
        self._turn = anyio.Event()  # something to write, or the circuit has opened or closed
        self._tasks: TaskGroup | None = None
        self._is_told = False

    def __repr__(self) -> str:
        return f"<SharedCache {self._store.place}, {self._circuit!r}, {len(self._unwritten)} to write>"

    async def __aenter__(self) -> SharedCache:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._serve)
        return self

    async def __aexit__(self, *error: Any) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)
        with anyio.CancelScope(shield=True), anyio.move_on_after(PROBE_S):
            await self._store.aclose()

    # ---- use ----

    @property
    def is_up(self) -> bool:
        """Look-ups are answered."""
        return self._tasks is not None and self._circuit.is_closed

    def look_up(self, key: CacheKey, levels: Sequence[str], then: Then) -> bool:
        """Ask for a text; `then` is called once, with the best level there is or nothing, within `wait_s`. False: it was not asked."""
        if not self.is_up or self._tasks is None:
            return False
        if key in self._waiting:
            self._waiting[key].append(then)
            return True
        if self._running >= LOOK_UPS:
            metrics.shared_cache_look_ups.labels("busy").inc()
            return False
        self._waiting[key] = [then]
        self._running += 1
        self._tasks.start_soon(self._look_up, key, levels)
        return True

    def put(self, key: CacheKey, level: str, entry: SpokenSegment) -> None:
        """Have a rendering kept, soon; dropped (and counted) when too much waits already or it is too large."""
        if entry.size > self._settings.entry_bytes:
            metrics.shared_cache_writes.labels("too_large").inc()
        elif self._tasks is None or self._unwritten_bytes + entry.size > self._settings.unwritten_bytes:
            metrics.shared_cache_writes.labels("dropped").inc()
        else:
            self._unwritten.append((key, level, entry))
            self._unwritten_bytes += entry.size
            self._turn.set()

    # ---- look-ups ----

    async def _look_up(self, key: CacheKey, levels: Sequence[str]) -> None:
        began = self._clock.now()
        found: Found | None = None
        async with anyio.create_task_group() as race:
            race.start_soon(self._lose_patience, key, began + self._settings.wait_s)
            try:
                found = await self._ask(key, levels)
            finally:
                self._running -= 1
                race.cancel_scope.cancel()
        took_s = self._clock.now() - began
        metrics.shared_cache_seconds.observe(took_s)
        if found is not None:
            self._keep(key, *found)
        is_late = key not in self._waiting
        metrics.shared_cache_look_ups.labels("late" if is_late else "miss" if found is None else "hit").inc()
        self._answer(key, found)

    async def _lose_patience(self, key: CacheKey, at: float) -> None:
        await self._clock.sleep_until(at)
        self._answer(key, None)

    def _answer(self, key: CacheKey, found: Found | None) -> None:
        for then in self._waiting.pop(key, ()):
            asyncio.get_running_loop().call_soon(then, found)  # its errors are the loop's to report, not this tier's to die of

    async def _ask(self, key: CacheKey, levels: Sequence[str]) -> Found | None:
        names, limit = [name_of(key, level) for level in levels], self._settings.entry_bytes
        try:
            with anyio.fail_after(self._settings.answer_s):
                values = await self._store.get(names, limit + 1)
        except (StoreFailed, TimeoutError) as error:
            self._failed(str(error) or f"no answer within {self._settings.answer_s:g} s")
            return None
        self._worked()
        for level, name, value in zip(levels, names, values, strict=True):
            if value and (entry := decode(name, value)) is not None:
                return level, entry
            if value:
                metrics.shared_cache_look_ups.labels("unreadable").inc()
        return None

    # ---- the background: probes while it is away, writes while it is there ----

    async def _serve(self) -> None:
        while True:
            if not self._circuit.is_closed:
                await self._clock.sleep_until(self._circuit.probe_at)
                await self._probe()
            elif self._unwritten:
                await self._write()
            else:
                self._turn = anyio.Event()
                await self._turn.wait()

    async def _probe(self) -> None:
        try:
            with anyio.fail_after(PROBE_S):
                await self._store.ping()
        except (StoreFailed, TimeoutError) as error:
            self._circuit.probe_failed(self._clock.now())
            self._mark_away(str(error) or f"no answer within {PROBE_S:g} s")
        else:
            self._worked()

    async def _write(self) -> None:
        key, level, entry = self._unwritten[0]
        name = name_of(key, level)
        try:
            with anyio.fail_after(PROBE_S):
                await self._store.put(name, encode(name, entry), self._settings.ttl_s)
        except StoreRefused as error:
            metrics.shared_cache_writes.labels("refused").inc()
            self._worked()
            self._tell_once(f"it takes no values: {error}")
        except (StoreFailed, TimeoutError) as error:
            metrics.shared_cache_writes.labels("failed").inc()
            self._failed(str(error) or f"no answer to a write within {PROBE_S:g} s")
        else:
            metrics.shared_cache_writes.labels("written").inc()
            self._worked()
        self._unwritten.popleft()
        self._unwritten_bytes -= entry.size

    # ---- private ----

    def _worked(self) -> None:
        if self._circuit.good():
            self._is_told = False
            metrics.shared_cache_up.labels(self._store.place).set(1)
            log.info("the shared cache at %s answers", self._store.place)

    def _failed(self, why: str) -> None:
        if self._circuit.bad(self._clock.now()):
            self._mark_away(why)
            self._turn.set()

    def _mark_away(self, why: str) -> None:
        metrics.shared_cache_up.labels(self._store.place).set(0)
        self._tell_once(why)

    def _tell_once(self, why: str) -> None:
        """Once per outage: what is wrong, and that speech goes on without it."""
        if not self._is_told:
            self._is_told = True
            log.warning("the shared cache at %s is not used for now, each text is spoken here instead: %s", self._store.place, why)
