"""From positions on the sound's timeline to characters of the text, and back.

Anchors pair a sample with a character; between two anchors sound and text are taken to advance evenly.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class TextMap:
    """Piecewise linear and non-decreasing in both directions."""

    __slots__ = ("_chars", "_samples")

    def __init__(self) -> None:
        self._samples: list[int] = []
        self._chars: list[int] = []

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: int, char: int) -> None:
        """Add an anchor at or after the last one; an anchor that goes back is lifted to the last one's place."""
        if self._samples:
            sample = max(sample, self._samples[-1])
            char = max(char, self._chars[-1])
            if (sample, char) == (self._samples[-1], self._chars[-1]):
                return
        self._samples.append(sample)
        self._chars.append(char)

    def char_at(self, sample: int) -> int:
        """How many characters (counted from the text's start) had sounded by `sample`."""
        if not self._samples or sample < self._samples[0]:
            return self._chars[0] if self._chars else 0
        i = bisect_right(self._samples, sample) - 1
        if i + 1 >= len(self._samples):
            return self._chars[-1]
        s0, s1, c0, c1 = self._samples[i], self._samples[i + 1], self._chars[i], self._chars[i + 1]
        return c0 + (sample - s0) * (c1 - c0) // (s1 - s0)

    def sample_at(self, char: int) -> int | None:
        """Where a character begins to sound, as far as the anchors tell; None beyond the last one."""
        if not self._chars or char > self._chars[-1]:
            return None
        i = bisect_left(self._chars, char)
        if self._chars[i] == char or i == 0:
            return self._samples[i]
        s0, s1, c0, c1 = self._samples[i - 1], self._samples[i], self._chars[i - 1], self._chars[i]
        return s0 + (char - c0) * (s1 - s0) // (c1 - c0)

    def cut(self, sample: int, char: int) -> None:
        """Forget anchors past `sample` and end at (`sample`, `char`)."""
        keep = bisect_right(self._samples, sample)
        del self._samples[keep:], self._chars[keep:]
        while self._chars and self._chars[-1] > char:
            self._samples.pop()
            self._chars.pop()
        self.add(sample, char)
