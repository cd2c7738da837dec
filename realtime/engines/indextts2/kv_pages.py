"""Pages of the language model's K/V cache: jobs hold lists of pages, so they come and go without a copy.

A page holds `PAGE` positions of all layers, [layer][k or v][head][PAGE][d]. Pages full of a voice's prefix are shared by every job that
speaks with it (counted); a page is written only by its single owner. The lowest free page is taken first, so that memory once touched
is used again before more of the mapping becomes resident.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels.native import PAGE
from realtime.engines.indextts2.kernels.operand import aligned


class NoPages(Exception):
    """Raised when the pool has fewer free pages than asked for; nothing was taken."""


class PagePool:
    """A fixed number of pages. `data` is [pages, layers, 2, heads, PAGE, d]: half floats (as uint16 bits), or float32."""

    def __init__(self, pages: int, layers: int, heads: int, d: int, half: bool) -> None:
        self.half = half
        # empty, not zeros written: the kernel maps pages of memory when they are first used
        self.data = aligned((pages, layers, 2, heads, PAGE, d), np.float16 if half else np.float32)
        self._free = list(range(pages))
        self._holders = [0] * pages

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    @property
    def page_bytes(self) -> int:
        """Bytes of one page."""
        return int(self.data[0].nbytes)

    def take(self, count: int) -> list[int]:
        """`count` pages for one holder. Raises `NoPages`."""
        if count > len(self._free):
            raise NoPages(f"{count} pages wanted, {len(self._free)} free")
        pages = [heapq.heappop(self._free) for _ in range(count)]
        for page in pages:
            self._holders[page] = 1
        return pages

    def share(self, pages: list[int]) -> None:
        """One more holder for each."""
        for page in pages:
            assert self._holders[page] > 0, "a free page can't be shared"
            self._holders[page] += 1

    def give_back(self, pages: list[int]) -> None:
        """One holder fewer for each; free when there is none."""
        for page in pages:
            self._holders[page] -= 1
            assert self._holders[page] >= 0, "a page was given back twice"
            if self._holders[page] == 0:
                heapq.heappush(self._free, page)

    def copy(self, source: int, target: int) -> None:
        """Copy a page's contents (the one that a prefix leaves half full)."""
        self.data[target] = self.data[source]

    def write(self, pages: list[int], keys: npt.NDArray[np.float32], values: npt.NDArray[np.float32]) -> None:
        """Keys and values of the first positions, each [layers, heads, n, d]. Raises `ValueError` for other sizes than the cache's."""
        _, layers, _, heads, _, d = self.data.shape
        for held in (keys, values):
            if held.shape != (layers, heads, keys.shape[2], d):
                raise ValueError(f"cached keys and values are {held.shape}, the model's ({layers}, {heads}, {keys.shape[2]}, {d})")
        for first, page in zip(range(0, keys.shape[2], PAGE), pages, strict=True):
            count = min(PAGE, keys.shape[2] - first)
            self.data[page, :, 0, :, :count] = keys[:, :, first : first + count]
            self.data[page, :, 1, :, :count] = values[:, :, first : first + count]

    def read(self, pages: list[int], layer: int, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Keys and values of the first `count` positions, each [heads, count, d] float32."""
        held = self.data[pages, layer].astype(np.float32)  # [n, 2, heads, PAGE, d]
        joined = held.transpose(1, 2, 0, 3, 4).reshape(2, held.shape[2], -1, held.shape[4])[:, :, :count]
        return joined[0], joined[1]


def pages_for(positions: int) -> int:
    """Pages that hold so many positions."""
    return -(-positions // PAGE)
