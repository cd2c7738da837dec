"""Flow files as tables, and on which line each of their fields stands, for error messages: TOML by a scan of its lines, YAML by its parser.

A field within an inline table has the line of the field that holds it. Paths are tuples of keys, as in `("steps", "main", "keys")`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml

Path = tuple[str, ...]
Lines = Mapping[Path, int]

_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"^\s*\[{{1,2}}\s*({_DOTTED})\s*\]")
_FIELD = re.compile(rf"^\s*({_DOTTED})\s*=")
_LONG = re.compile(r'"""|' + "'''")


class NotReadable(Exception):
    """Raised for a text that is not what its file's name says."""


def read_toml(text: str) -> tuple[dict[str, Any], Lines]:
    """The table and its lines. Raises `NotReadable`."""
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise NotReadable(f"not TOML: {error}") from None


def read_yaml(text: str) -> tuple[dict[str, Any], Lines]:
    """The same for YAML; keys are made strings, so `1: balance` is the key 1. Raises `NotReadable`."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise NotReadable(f"not YAML: {getattr(error, 'problem', None) or error}{where}") from None
    lines: dict[Path, int] = {}
    _walk(node, (), lines, 0)
    if not isinstance(data, dict):
        raise NotReadable("not a table of fields; a flow begins with `name: ...`")
    return _named(data, {}), lines


def line_of(lines: Lines, path: Path) -> int | None:
    """The line of a field, or of the closest one around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _toml_lines(text: str) -> Lines:
    found: dict[Path, int] = {}
    table: Path = ()
    inside = ""  # the quotes of a string that goes over several lines
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if (header := _HEADER.match(line)) is not None:
            table = _split(header.group(1))
            found.setdefault(table, number)
        elif (field := _FIELD.match(line)) is not None:
            found.setdefault(table + _split(field.group(1)), number)
            quotes = _LONG.search(line)
            if quotes is not None and line.count(quotes.group()) % 2:
                inside = quotes.group()
    return found


def _split(dotted: str) -> Path:
    """The keys of `a."b.c".d`."""
    return tuple(key.strip("\"'") for key in re.findall(_KEY, dotted))


def _walk(node: yaml.Node | None, path: Path, lines: dict[Path, int], depth: int) -> None:
    if not isinstance(node, yaml.MappingNode) or depth > 8:  # a flow's fields lie four deep; an alias may lead round
        return
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            at = (*path, str(key.value))
            lines.setdefault(at, key.start_mark.line + 1)
            _walk(value, at, lines, depth + 1)


def _named(value: Any, seen: dict[int, Any]) -> Any:
    """Keys as strings, all the way down; what an alias repeats is done once."""
    if isinstance(value, list):
        return [_named(one, seen) for one in value]
    if not isinstance(value, dict):
        return value
    if id(value) not in seen:
        seen[id(value)] = made = {}
        made.update({str(key): _named(one, seen) for key, one in value.items()})
    return seen[id(value)]
