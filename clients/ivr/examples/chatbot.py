"""The same conversation in Python, without a webhook: `realtime-ivr serve --flow clients/ivr/examples/chatbot.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from realtime_ivr import Manners, Question, Session

TOPICS = {
    "1": "The moon goes around the earth in twenty-seven days. It always shows us the same face.",
    "2": "Tea has been drunk for thousands of years. Green tea is not fermented, black tea is.",
}


async def tokens(text: str) -> AsyncIterator[str]:
    """Stands for a language model: a word at a time."""
    for word in text.split(" "):
        yield word + " "
        await asyncio.sleep(0.1)


async def run(session: Session) -> None:
    """Serve one call."""
    session.set_voice(Manners(language="en"))
    session.listen_for_voice()
    await session.say("Hello. I can tell you about two things.")
    while True:
        key = await session.menu("For the moon, press one. For tea, press two.", "12", Question(timeout_s=6, retries=1))
        if key is None:
            await session.say("Goodbye.", interrupt=())
            await session.hang_up()
            return
        said = await session.say(tokens(TOPICS[key]), interrupt=("keys", "voice"))
        if said.unheard.strip():
            await session.say("I see, you have heard enough.")
