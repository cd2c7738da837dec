"""Reading a checkpoint's configuration: every value by name and type, and an error that says where the first wrong one stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.errors import ModelMissing


class Section:
    """One table of a `config.yaml` or `config.json`, with the path that leads to it.

    All readers raise `ModelMissing` naming file, path, what was expected and what was found.
    """

    def __init__(self, table: object, path: str) -> None:
        if not isinstance(table, Mapping):
            raise ModelMissing(f"{path}: expected a table, found {type(table).__name__}")
        self.table: Mapping[str, Any] = table
        self.path = path

    def section(self, name: str) -> Section:
        """The table `name` inside this one."""
        return Section(self._value(name), f"{self.path}.{name}")

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number above or equal to zero."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(name, "a whole number >= 0", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
            raise self._wrong(name, "a finite number", value)
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self._value(name)
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            raise self._wrong(name, "a list of whole numbers", value)
        return tuple(value)

    def integer_lists(self, name: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers."""
        value = self._value(name)
        if not isinstance(value, list | tuple):
            raise self._wrong(name, "a list of lists", value)
        return tuple(Section({"row": row}, f"{self.path}.{name}[{i}]").integers("row") for i, row in enumerate(value))

    def sections(self, name: str) -> tuple[Section, ...]:
        """A list of tables; none if it is absent."""
        value = self.table.get(name) or ()
        if not isinstance(value, list | tuple):
            raise self._wrong(name, "a list of tables", value)
        return tuple(Section(row, f"{self.path}.{name}[{i}]") for i, row in enumerate(value))

    def only(self, name: str, supported: object, default: object = None) -> None:
        """Refuse a setting whose other values these modules do not implement."""
        value = self._value(name, supported if default is None else default)
        if value != supported:
            raise ModelMissing(f"{self.path}.{name}: only {supported!r} is supported, found {value!r}")

    def _value(self, name: str, default: object = None) -> Any:
        value = self.table.get(name, default)
        if value is None:
            raise ModelMissing(f"{self.path}.{name}: missing")
        return value

    def _wrong(self, name: str, expected: str, found: object) -> ModelMissing:
        return ModelMissing(f"{self.path}.{name}: expected {expected}, found {found!r}")
