"""What listeners tolerate, by kind of use: named profiles of `realtime.types.Budget`, each value with its reason.

| profile | first audio | start buffer | max lead | sticky | why |
|---|---|---|---|---|---|
| ivr | 800 ms | 100 ms | 3 s | yes | a caller hears dead air after about a second; a phone leg buffers five 20 ms frames; barge-in is frequent, so little is made ahead; a voice that changes twice in one prompt sounds broken |
| browser | 1,500 ms | 100 ms | 8 s | no | the player's jitter buffer starts at 100 ms; networks stall for seconds, so more is sent ahead |
| chatbot | 1,200 ms | 100 ms | 6 s | no | a turn is expected within about a second; replies are often interrupted |
| batch | 60,000 ms | 3,000 ms | 600 s | yes | nobody listens live: as far ahead as the engines like, at the best quality that the load leaves room for |

Origins: answers between people come 200 ms after the question (Stivers et al. 2009) and over about 700 ms sound like hesitation;
the segmenter and the network take their part of it. The other values are guesses, to be tuned with `realtime bench live`.
"""  # noqa: E501 - a table row can't be wrapped

from __future__ import annotations

from dataclasses import dataclass

from realtime.types import Budget, Priority


@dataclass(frozen=True, slots=True)
class Profile:
    """A named budget, and the priority class that goes with it."""

    name: str
    budget: Budget
    priority: Priority


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("ivr", Budget(first_audio_ms=800, start_buffer_ms=100, max_lead_ms=3000, sticky=True), Priority.INTERACTIVE),
        Profile("browser", Budget(first_audio_ms=1500, start_buffer_ms=100, max_lead_ms=8000), Priority.NORMAL),
        Profile("chatbot", Budget(first_audio_ms=1200, start_buffer_ms=100, max_lead_ms=6000), Priority.INTERACTIVE),
        Profile("batch", Budget(first_audio_ms=60_000, start_buffer_ms=3000, max_lead_ms=600_000, sticky=True), Priority.BATCH),
    )
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises `KeyError` that lists the names there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise KeyError(f"unknown budget profile {name!r}; there are: {', '.join(PROFILES)}") from None
