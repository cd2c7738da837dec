"""Logging: one structured line per event, to stderr and, where a folder is set, to rotating files.

`access.log` has requests and utterances, `error.log` warnings and worse, `debug.log` everything down to DEBUG (only there may text
appear). A full disk costs log lines, never the service: the handlers report it on stderr and go on.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
from pathlib import Path

from realtime.config import LogSettings


class LineFormatter(logging.Formatter):
    """`time level logger message {fields}`; the fields as JSON so that machines can read them too."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, without line breaks inside."""
        line = super().format(record)
        fields = getattr(record, "fields", None)
        if fields:
            line += " " + json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return line


class _Only(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.startswith(("realtime.utterance", "uvicorn.access"))


def set_up(settings: LogSettings) -> None:
    """Configure the `realtime` and `uvicorn` loggers of this process."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setLevel(settings.level)
    if settings.dir is not None:
        settings.dir.mkdir(parents=True, exist_ok=True)
        handlers += [
            _file(settings, "access.log", logging.INFO, _Only()),
            _file(settings, "error.log", logging.WARNING),
        ]
        if settings.level == "DEBUG":
            handlers.append(_file(settings, "debug.log", logging.DEBUG))
    for name in ("realtime", "uvicorn"):
        logger = logging.getLogger(name)
        logger.setLevel(settings.level)
        logger.propagate = False
        logger.handlers = handlers
    for handler in handlers:
        handler.setFormatter(LineFormatter())


def _file(settings: LogSettings, name: str, level: int, only: logging.Filter | None = None) -> logging.Handler:
    assert settings.dir is not None
    path: Path = settings.dir / name
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=settings.max_mb << 20, backupCount=settings.keep, encoding="utf-8")
    handler.setLevel(level)
    if only is not None:
        handler.addFilter(only)
    return handler
