"""A flow file read (TOML, or YAML by its ending), checked as a whole and rendered: every mistake at once, each with its line and field and
what would be right.

flow = load_flow(Path("menu.toml"))      # raises FlowError
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from realtime_ivr.errors import FlowError
from realtime_ivr.flow_lines import Lines, NotReadable, line_of, read_toml, read_yaml
from realtime_ivr.flow_schema import BRACE, KINDS, VARIABLE, AnyStep, Ask, Collect, FlowTable, Set, Text, kind_of, targets, templates, texts
from realtime_ivr.prompts import Manners
from realtime_ivr.sounds import read_prompt

from realtime.errors import BadOption

GIVEN = ("caller", "callee", "language", "heard", "unheard", "interrupted_by", "call")
"""Variables that are there without being set."""
MAX_FILE_BYTES = 1 << 20
Problem = tuple[tuple[str, ...], str]
"""Which field, and what is wrong with it."""


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
    """Read and check a file. Raises `FlowError` with one line per mistake."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FlowError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, that is no flow")
        text = path.read_text(encoding="utf-8")
        data, lines = (read_yaml if path.suffix in (".yaml", ".yml") else read_toml)(text)
    except OSError as error:
        raise FlowError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise FlowError(f"{path}: not UTF-8 text: {error}") from None
    except NotReadable as error:
        raise FlowError(f"{path}: {error}") from None
    return make_flow(data, path.parent, str(path), lines)


def make_flow(data: Mapping[str, Any], folder: Path, name: str = "flow", lines: Lines | None = None) -> Flow:
    """The same from a table. Raises `FlowError`."""
    try:
        flow = Flow(FlowTable.model_validate(data), folder)
    except ValidationError as error:
        problems = [_sentence(problem, data) for problem in error.errors()]
        problems += _also_wrong(data, folder, {tuple(map(str, problem["loc"])) for problem in error.errors()})
        raise FlowError(_told(name, lines or {}, problems)) from None
    problems = _wrong(flow, data)
    if problems:
        raise FlowError(_told(name, lines or {}, problems))
    flow.warnings = _told(name, lines or {}, [*_unreachable(flow), *_missing_languages(flow)]).splitlines()
    return flow


def render(template: str, variables: Mapping[str, str]) -> str:
    """Variables filled in; one that is not set is nothing (the check has seen that some step sets it)."""

    def value(match: Any) -> str:
        found = variables.get(match.group(1), "")
        return " ".join(found) if match.group(2) else found

    return VARIABLE.sub(value, template)


# ---- the checks ----


def _told(name: str, lines: Lines, problems: Iterable[Problem]) -> str:
    """One line per problem, in the order of the file, as compilers write them: `menu.toml:12: steps.main.next: ...`."""
    found = [(line_of(lines, path), ".".join(path), text) for path, text in dict.fromkeys(problems)]
    found.sort(key=lambda one: (one[0] is None, one[0] or 0))
    return "\n".join(f"{name}{f':{line}' if line else ''}: {at}: {text}" for line, at, text in found)


def _wrong(flow: Flow, data: Mapping[str, Any]) -> list[Problem]:
    """What single fields do not show. `data`: the whole file, of which the flow may be the part without mistakes."""
    return [*_wrong_targets(flow, list(_steps(data))), *_wrong_templates(flow, data), *_wrong_values(flow)]


def _also_wrong(data: Mapping[str, Any], folder: Path, broken: set[tuple[str, ...]]) -> list[Problem]:
    """The same for what is right in itself, so that not one kind of mistake hides the other."""
    part = {name: value for name, value in data.items() if name == "steps" or not any(path[0] == name for path in broken)}
    part["steps"] = {name: step for name, step in _steps(data).items() if not any(path[:2] == ("steps", name) for path in broken)}
    try:
        flow = Flow(FlowTable.model_validate({"name": "flow", "start": next(iter(part["steps"]), "?"), **part}), folder)
    except ValidationError:
        return []
    return _wrong(flow, data)


def _steps(data: Mapping[str, Any]) -> dict[str, Any]:
    steps = data.get("steps")
    return steps if isinstance(steps, dict) else {}


def _sentence(problem: Any, data: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors in words."""
    where = [str(part) for part in problem["loc"]]
    if len(where) > 2 and where[0] == "steps" and where[2] in KINDS:
        del where[2]  # the union's tag
    at = tuple(where)
    if problem["type"] == "extra_forbidden":
        step = _steps(data).get(where[1]) if len(where) > 1 else None
        model = KINDS[kind_of(step)] if where[0] == "steps" else FlowTable
        return at, f"there is no such field here{_meant(where[-1], list(model.model_fields))}"
    if problem["type"] == "missing" and len(where) == 3 and where[2] == "say":
        return at[:2], f"says nothing about what to do; a step has one of {', '.join(KINDS)}"
    if problem["type"] == "missing":
        return at, "is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return at, f"{message[0].lower()}{message[1:]} (found {_short(problem['input'])})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _meant(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(names))}"


def _wrong_targets(flow: Flow, names: list[str]) -> Iterator[Problem]:
    if flow.table.start not in names:
        yield ("start",), f"there is no step {flow.table.start!r}{_meant(flow.table.start, names)}"
    for name, step in flow.table.steps.items():
        for field, target in targets(step):
            if target not in names:
                yield ("steps", name, *field.split(".", 1)), f"there is no step {target!r}{_meant(target, names)}"


def _wrong_templates(flow: Flow, data: Mapping[str, Any]) -> Iterator[Problem]:
    known = {*GIVEN, *flow.table.variables, *(name for step in flow.table.steps.values() for name in _sets(step))}
    for step in _steps(data).values():  # those with mistakes of their own set variables, too
        table = step if isinstance(step, dict) else {}
        known |= {str(table.get("into"))} | set(table["set"] if isinstance(table.get("set"), dict) else ())
    for name, step in flow.table.steps.items():
        for field, template in templates(step):
            at = ("steps", name, *field.split(".", 1))
            for variable, _ in VARIABLE.findall(template):
                if variable not in known:
                    yield at, f"nothing sets the variable {variable!r}{_meant(variable, sorted(known))}"
            if BRACE.search(VARIABLE.sub("", template)):
                yield at, "a brace that belongs to no variable; write {name} or {name:digits}"


def _wrong_values(flow: Flow) -> Iterator[Problem]:
    for name, step in flow.table.steps.items():
        if isinstance(step, Collect) and step.least > step.most:
            yield ("steps", name, "least"), f"{step.least} digits at least, but {step.most} at most"
        path = flow.path(getattr(step, "prompt", None))
        if path is not None:
            try:
                read_prompt(path)
            except BadOption as error:
                yield ("steps", name, "prompt"), error.message


def _unreachable(flow: Flow) -> Iterator[Problem]:
    seen, ahead = set(), [flow.table.start]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += [target for _, target in targets(flow.table.steps[name])]
    for name in flow.table.steps:
        if name not in seen:
            yield ("steps", name), "nothing leads here"


def _missing_languages(flow: Flow) -> Iterator[Problem]:
    written = [(name, field, text) for name, step in flow.table.steps.items() for field, text in texts(step) if isinstance(text, dict)]
    languages = {language for _, _, text in written for language in text}
    for name, field, text in written:
        if missing := sorted(languages - set(text)):
            yield ("steps", name, field), f"not written in {', '.join(missing)}; callers of that language hear another one"


def _sets(step: AnyStep) -> list[str]:
    if isinstance(step, Set):
        return list(step.set)
    if isinstance(step, Collect):
        return [step.into]
    return [step.into] if isinstance(step, Ask) and step.into else []
