"""Every format carries random texts whole while neighbours are cancelled; `realtime bench intact` does it a thousand times."""

from __future__ import annotations

from typing import Any

from realtime.bench.intact import check


async def test_random_texts_arrive_whole_in_every_format_and_rate(serve: Any) -> None:
    async with serve() as running:
        result = await check(running.port, 60, 3, seed=7)
        assert result.wrong == []
        assert (result.texts, result.equal, len(result.by_format)) == (60, 60, 60)
