"""Redis as the place of the shared cache, through redis-py's asyncio client (extra `redis`).

No more of a value is read than asked for (GETRANGE), whoever wrote it. Nothing is retried here: the circuit above decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from realtime.errors import BadOption, how_to_install
from realtime.pipeline.shared_cache import LOOK_UPS, StoreFailed, StoreRefused

try:
    from redis import exceptions as redis_errors
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as missing:
    raise BadOption(f"[cache] redis_url needs the Redis client; {how_to_install('redis')}") from missing

CONNECT_S = 1.0  # a host that drops packets is found out so soon; only probes and the first look-ups connect
SPARE_CONNECTIONS = 2  # for the writer and the probe
# What redis-py raises for a peer that is gone, slow, or no Redis at all: its parsers let ValueError and EOFError through.
FAILURES = (redis_errors.RedisError, OSError, EOFError, ValueError)


class RedisStore:
    """See the module's header."""

    def __init__(self, url: str) -> None:
        """`redis://`, `rediss://` or `unix://`. Raises `BadOption` for anything else; connects when first used."""
        self.place = _without_secrets(url)
        try:
            self._redis = Redis.from_url(
                url,
                protocol=2,
                driver_info=None,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=CONNECT_S,
                max_connections=LOOK_UPS + SPARE_CONNECTIONS,
            )
        except (ValueError, TypeError) as error:
            raise BadOption(f"[cache] redis_url {self.place!r}: {error}") from None

    async def get(self, names: Sequence[bytes], most_bytes: int) -> list[bytes]:
        """One round trip. A name that holds something else than bytes holds nothing. Raises `StoreFailed`."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.getrange(name, 0, most_bytes - 1)
                answers = await pipeline.execute(raise_on_error=False)
        except FAILURES as error:
            raise StoreFailed(_say(error)) from error
        refused = next((a for a in answers if isinstance(a, redis_errors.ResponseError) and "WRONGTYPE" not in str(a)), None)
        if refused is not None:
            raise StoreFailed(_say(refused))
        return [answer if isinstance(answer, bytes) else b"" for answer in answers]

    async def put(self, name: bytes, value: bytes, ttl_s: int) -> None:
        """SET with a time to live. Raises `StoreFailed`, `StoreRefused`."""
        try:
            await self._redis.set(name, value, ex=ttl_s)
        except redis_errors.ResponseError as error:
            raise StoreRefused(_say(error)) from error
        except FAILURES as error:
            raise StoreFailed(_say(error)) from error

    async def ping(self) -> None:
        """Raises `StoreFailed`."""
        try:
            if not await self._redis.ping():
                raise ValueError("it does not answer PING as Redis does")
        except FAILURES as error:
            raise StoreFailed(_say(error)) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
