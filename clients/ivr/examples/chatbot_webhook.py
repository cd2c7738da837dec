"""A webhook for chatbot.toml: writes an answer in small pieces, as a language model does. `python
clients/ivr/examples/chatbot_webhook.py`"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

ANSWERS = {
    "1": "The moon goes around the earth in twenty-seven days. It always shows us the same face.",
    "2": "Tea has been drunk for thousands of years. Green tea is not fermented, black tea is.",
}


async def words(text: str) -> AsyncIterator[bytes]:
    """One JSON line per word, ten a second."""
    for word in text.split(" "):
        yield json.dumps({"text": word + " "}).encode() + b"\n"
        await asyncio.sleep(0.1)


async def answer(request: Request) -> StreamingResponse:
    """Say something about the number keyed in; take up what was cut off last time."""
    question = await request.json()
    text = ANSWERS.get(str(question["topic"]), f"I know nothing about number {question['topic']}, but I like it.")
    if question.get("cut_off"):
        text = "You interrupted me. Very well. " + text
    return StreamingResponse(words(text), media_type="application/x-ndjson")


app = Starlette(routes=[Route("/answer", answer, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=8088)
