"""Heaps with lazy deletion: the waiting segments of each engine by priority class, and the moments at which to look again.

Cost: O(log n) per entry put in or taken out; an entry that was overtaken by a newer one for the same key is dropped when it surfaces.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class LazyHeap(Generic[K]):
    """A priority queue in which each key has one place, which may be moved."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._current: dict[K, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, key: object) -> bool:
        return key in self._current

    def put(self, key: K, at: float) -> None:
        """Place `key` at `at`; an earlier place of the same key no longer counts."""
        self._count += 1
        self._current[key] = self._count
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._current):
            self._heap = [entry for entry in self._heap if self._current.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """Take `key` out, wherever it is; without effect when it is not in."""
        self._current.pop(key, None)

    def head(self) -> tuple[float, K] | None:
        """The lowest place and its key, still in; None when empty."""
        while self._heap:
            at, count, key = self._heap[0]
            if self._current.get(key) == count:
                return at, key
            heapq.heappop(self._heap)
        return None

    def count_until(self, at: float, most: int) -> int:
        """How many keys have a place not after `at`; counting ends at `most`. Costs O(answer), and what was dropped meanwhile."""
        found, stack = 0, [0]
        while stack and found < most:
            k = stack.pop()
            if k < len(self._heap) and self._heap[k][0] <= at:
                found += self._current.get(self._heap[k][2]) == self._heap[k][1]
                stack += (2 * k + 1, 2 * k + 2)
        return found

    def pop(self) -> tuple[float, K]:
        """Take the lowest out. Raises `IndexError` when empty."""
        head = self.head()
        if head is None:
            raise IndexError("pop from an empty LazyHeap")
        heapq.heappop(self._heap)
        del self._current[head[1]]
        return head

    def pop_due(self, now: float) -> list[K]:
        """Take out every key whose place is not after `now`, lowest first."""
        due: list[K] = []
        while (head := self.head()) is not None and head[0] <= now:
            due.append(self.pop()[1])
        return due
