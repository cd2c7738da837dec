"""One utterance from text to frames; no socket, no Starlette."""
