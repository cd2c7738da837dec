"""A flow file read, checked as a whole and rendered: every mistake at once, each with where it is and what would be right.

flow = load_flow(Path("menu.toml"))      # raises FlowError
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from realtime_ivr.errors import FlowError
from realtime_ivr.flow_schema import BRACE, KINDS, VARIABLE, AnyStep, Ask, Collect, FlowTable, Set, Text, kind_of, targets, templates, texts
from realtime_ivr.prompts import Manners
from realtime_ivr.sounds import read_prompt

from realtime.errors import BadOption

GIVEN = ("caller", "callee", "language", "heard", "unheard", "interrupted_by", "call")
"""Variables that are there without being set."""
MAX_FILE_BYTES = 1 << 20


class Flow:
    """A checked flow. `warnings`: what works but is hardly meant."""

    def __init__(self, table: FlowTable, folder: Path) -> None:
        self.table, self.folder = table, folder
        self.warnings: list[str] = []

    def __repr__(self) -> str:
        return f"<Flow {self.table.name}, {len(self.table.steps)} steps>"

    def manners(self, language: str) -> Manners:
        """Voice of a language."""
        voice = self.table.voices.get(language)
        return Manners(voice.voice if voice else None, language, voice.speed if voice else 1.0)

    def text(self, text: Text, language: str) -> str:
        """A text in a language; in the flow's own, or the first there is, where it lacks it."""
        if isinstance(text, str):
            return text
        return text.get(language) or text.get(self.table.language) or next(iter(text.values()), "")

    def path(self, path: Path | None) -> Path | None:
        """A file named in the flow, relative to it."""
        return None if path is None else self.folder / path

    def constant_prompts(self) -> list[tuple[str, Manners]]:
        """Everything said whose words are known now, in every language it is written in: what can be prepared."""
        changing = {name for step in self.table.steps.values() for name in _sets(step)} | set(GIVEN)
        known = {name: value for name, value in self.table.variables.items() if name not in changing}
        found: dict[tuple[str, Manners], None] = {}
        for step in self.table.steps.values():
            for _, text in texts(step):
                for language, one in text.items() if isinstance(text, dict) else [(self.table.language, text)]:
                    if {name for name, _ in VARIABLE.findall(one)} <= set(known) and one.strip():
                        found[render(one, known), self.manners(language)] = None
        return list(found)


def load_flow(path: Path) -> Flow:
    """Read and check a TOML file. Raises `FlowError` with one line per mistake."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FlowError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, that is no flow")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FlowError(f"{path}: can't be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FlowError(f"{path}: not TOML: {error}") from None
    return make_flow(data, path.parent, str(path))


def make_flow(data: Mapping[str, Any], folder: Path, name: str = "flow") -> Flow:
    """The same from a table. Raises `FlowError`."""
    try:
        flow = Flow(FlowTable.model_validate(data), folder)
    except ValidationError as error:
        raise FlowError("\n".join(f"{name}: {_sentence(problem, data)}" for problem in error.errors())) from None
    problems = [*_wrong_targets(flow), *_wrong_templates(flow), *_wrong_values(flow)]
    if problems:
        raise FlowError("\n".join(f"{name}: {problem}" for problem in problems))
    flow.warnings = [f"{name}: {warning}" for warning in [*_unreachable(flow), *_missing_languages(flow)]]
    return flow


def render(template: str, variables: Mapping[str, str]) -> str:
    """Variables filled in; one that is not set is nothing (the check has seen that some step sets it)."""

    def value(match: Any) -> str:
        found = variables.get(match.group(1), "")
        return " ".join(found) if match.group(2) else found

    return VARIABLE.sub(value, template)


# ---- the checks ----


def _sentence(problem: Any, data: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words."""
    where = [str(part) for part in problem["loc"]]
    if len(where) > 2 and where[0] == "steps" and where[2] in KINDS:
        del where[2]  # the union's tag
    at = ".".join(where)
    if problem["type"] == "extra_forbidden":
        step = data.get("steps", {}).get(where[1]) if len(where) > 1 else None
        model = KINDS[kind_of(step)] if where[0] == "steps" else FlowTable
        return f"{at}: there is no such field here{_meant(where[-1], list(model.model_fields))}"
    if problem["type"] == "missing" and len(where) == 3 and where[2] == "say":
        return f"steps.{where[1]}: says nothing about what to do; a step has one of {', '.join(KINDS)}"
    if problem["type"] == "missing":
        return f"{at}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{at}: {message[0].lower()}{message[1:]} (found {_short(problem['input'])})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _meant(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(names))}"


def _wrong_targets(flow: Flow) -> Iterator[str]:
    names = list(flow.table.steps)
    if flow.table.start not in names:
        yield f"start: there is no step {flow.table.start!r}{_meant(flow.table.start, names)}"
    for name, step in flow.table.steps.items():
        for field, target in targets(step):
            if target not in names:
                yield f"steps.{name}.{field}: there is no step {target!r}{_meant(target, names)}"


def _wrong_templates(flow: Flow) -> Iterator[str]:
    known = {*GIVEN, *flow.table.variables, *(name for step in flow.table.steps.values() for name in _sets(step))}
    for name, step in flow.table.steps.items():
        for field, template in templates(step):
            for variable, _ in VARIABLE.findall(template):
                if variable not in known:
                    yield f"steps.{name}.{field}: nothing sets the variable {variable!r}{_meant(variable, sorted(known))}"
            if BRACE.search(VARIABLE.sub("", template)):
                yield f"steps.{name}.{field}: a brace that belongs to no variable; write {{name}} or {{name:digits}}"


def _wrong_values(flow: Flow) -> Iterator[str]:
    for name, step in flow.table.steps.items():
        if isinstance(step, Collect) and step.least > step.most:
            yield f"steps.{name}.least: {step.least} digits at least, but {step.most} at most"
        path = flow.path(getattr(step, "prompt", None))
        if path is not None:
            try:
                read_prompt(path)
            except BadOption as error:
                yield f"steps.{name}.prompt: {error.message}"


def _unreachable(flow: Flow) -> Iterator[str]:
    seen, ahead = set(), [flow.table.start]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += [target for _, target in targets(flow.table.steps[name])]
    for name in flow.table.steps:
        if name not in seen:
            yield f"steps.{name}: nothing leads here"


def _missing_languages(flow: Flow) -> Iterator[str]:
    written = [(name, field, text) for name, step in flow.table.steps.items() for field, text in texts(step) if isinstance(text, dict)]
    languages = {language for _, _, text in written for language in text}
    for name, field, text in written:
        if missing := sorted(languages - set(text)):
            yield f"steps.{name}.{field}: not written in {', '.join(missing)}; callers of that language hear another one"


def _sets(step: AnyStep) -> list[str]:
    if isinstance(step, Set):
        return list(step.set)
    if isinstance(step, Collect):
        return [step.into]
    return [step.into] if isinstance(step, Ask) and step.into else []
