"""What a flow file holds, as pydantic models: one model per kind of step, told apart by the field that names what it does.

A text is a string, or a table of one per language. In texts, `{name}` is a variable and `{name:digits}` is spoken digit by digit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from realtime.types import SPEEDS

KeyName = Annotated[str, Field(pattern=r"^[0-9*#A-D]$")]
StepName = Annotated[str, Field(pattern=r"^[A-Za-z][\w-]{0,63}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$")]
Text = str | dict[Language, str]
Interrupter = Literal["keys", "voice"]
VARIABLE = re.compile(r"\{([A-Za-z_]\w*)(?::(digits))?\}")
BRACE = re.compile(r"[{}]")


class Table(BaseModel):
    """A table of the file: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VoiceTable(Table):
    """How one language is spoken."""

    voice: str | None = None
    speed: float = Field(1.0, ge=SPEEDS[0], le=SPEEDS[1])


class _Step(Table):
    next: StepName | None = None
    interrupt: tuple[Interrupter, ...] | None = None


class Say(_Step):
    """Say a text; `prompt` is a sound file to play instead if the service does not answer."""

    say: Text
    prompt: Path | None = None


class _Question(_Step):
    timeout_s: float = Field(5.0, gt=0, le=120)
    retries: int = Field(2, ge=0, le=10)
    on_timeout: Text = ""
    on_invalid: Text = ""
    otherwise: StepName | None = None
    prompt: Path | None = None


class Menu(_Question):
    """Say a text, go where the key pressed leads; `otherwise` after all tries."""

    menu: Text
    keys: dict[KeyName, StepName] = Field(min_length=1)


class Collect(_Question):
    """Say a text, put the digits keyed in into a variable; `otherwise` after all tries."""

    collect: Text
    into: str = Field(pattern=r"^[A-Za-z_]\w*$")
    least: int = Field(1, ge=0, le=64)
    most: int = Field(32, ge=1, le=64)
    end_key: KeyName = "#"
    timeout_s: float = Field(8.0, gt=0, le=120)


class Ask(_Step):
    """Say what a webhook writes, as it writes it; `into` keeps the text, `otherwise` is where to go when it fails. `filler` is said first
    when the first word takes longer than `filler_after_s`."""

    ask: str
    send: dict[str, str] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(10.0, gt=0, le=300)
    filler: Text = ""
    filler_after_s: float = Field(1.5, gt=0, le=60)
    into: str | None = Field(None, pattern=r"^[A-Za-z_]\w*$")
    otherwise: StepName | None = None

    @field_validator("ask")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if not re.match(r"(https?|wss?)://|\{", value):
            raise ValueError("must begin with http://, https://, ws:// or wss://, or with a variable that does")
        return value


class Set(_Step):
    """Give variables values; `language` is one of them, and changes the voice."""

    set: dict[str, str] = Field(min_length=1)


class Choose(_Step):
    """Go on by the value of a text with variables."""

    choose: str
    cases: dict[str, StepName] = Field(min_length=1)
    otherwise: StepName | None = None


class Pause(_Step):
    """Be silent for some seconds; a key ends it."""

    pause: float = Field(gt=0, le=60)


class Goto(Table):
    """Go on elsewhere."""

    goto: StepName


class Transfer(_Step):
    """Hand the caller on; `otherwise` is where to go when that fails."""

    transfer: str = Field(min_length=1)
    say: Text = ""
    otherwise: StepName | None = None


class HangUp(Table):
    """Say a last text, if any, and hang up."""

    hang_up: Text = ""


KINDS: dict[str, type[BaseModel]] = {
    "menu": Menu,
    "collect": Collect,
    "ask": Ask,
    "set": Set,
    "choose": Choose,
    "pause": Pause,
    "goto": Goto,
    "transfer": Transfer,
    "hang_up": HangUp,
    "say": Say,
}
"""By the field that names the kind; the first one present counts (`say` comes last: other steps say something too)."""


def kind_of(step: Any) -> str:
    """Tag of a step's table; "say" for what is none, so that its error names the field."""
    if isinstance(step, dict):
        return next((name for name in KINDS if name in step), "say")
    return next((name for name, kind in KINDS.items() if isinstance(step, kind)), "say")


Step = Annotated[
    Annotated[Menu, Tag("menu")]
    | Annotated[Collect, Tag("collect")]
    | Annotated[Ask, Tag("ask")]
    | Annotated[Set, Tag("set")]
    | Annotated[Choose, Tag("choose")]
    | Annotated[Pause, Tag("pause")]
    | Annotated[Goto, Tag("goto")]
    | Annotated[Transfer, Tag("transfer")]
    | Annotated[HangUp, Tag("hang_up")]
    | Annotated[Say, Tag("say")],
    Discriminator(kind_of),
]
AnyStep = Menu | Collect | Ask | Set | Choose | Pause | Goto | Transfer | HangUp | Say


class FlowTable(Table):
    """The file. `budget_ms`: silence a caller may hear before a local prompt or voice steps in."""

    name: str = Field(min_length=1, max_length=100)
    start: StepName
    language: Language = "en"
    budget_ms: int = Field(1500, ge=100, le=20_000)
    interrupt: tuple[Interrupter, ...] = ("keys",)
    record: bool = False
    prewarm: bool = True
    max_call_s: float = Field(3600, gt=0)
    max_steps: int = Field(1000, ge=1)
    voices: dict[Language, VoiceTable] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)
    steps: dict[StepName, Step] = Field(min_length=1)


def targets(step: AnyStep) -> list[tuple[str, str]]:
    """Where a step may lead: (field, step name)."""
    found = [(name, getattr(step, name)) for name in ("next", "otherwise", "goto") if getattr(step, name, None)]
    found += [(f"keys.{key}", target) for key, target in step.keys.items()] if isinstance(step, Menu) else []
    return found + ([(f"cases.{case}", target) for case, target in step.cases.items()] if isinstance(step, Choose) else [])


def texts(step: AnyStep) -> list[tuple[str, Text]]:
    """What a step may say: (field, text)."""
    names = ("say", "menu", "collect", "on_timeout", "on_invalid", "hang_up", "filler")
    return [(name, getattr(step, name)) for name in names if getattr(step, name, None)]


def templates(step: AnyStep) -> list[tuple[str, str]]:
    """Every string of a step with variables in it: (field, template)."""
    found = [(name, getattr(step, name)) for name in ("ask", "choose", "transfer") if isinstance(getattr(step, name, None), str)]
    for name, text in texts(step):
        found += [(name, text)] if isinstance(text, str) else [(f"{name}.{language}", one) for language, one in text.items()]
    for name in ("set", "send"):
        found += [(f"{name}.{key}", value) for key, value in (getattr(step, name, None) or {}).items()]
    return found


assert set(KINDS) == {tag.__metadata__[0].tag for tag in get_args(get_args(Step)[0])}  # both lists name the same kinds
