"""A flow file on a call: which step comes next, and what each does. The file knows no Python, so its steps are the session's methods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from realtime_ivr.errors import CallEnded, CallFailed
from realtime_ivr.flow import Flow, render
from realtime_ivr.flow_schema import AnyStep, Ask, Choose, Collect, Goto, HangUp, Menu, Pause, Say, Set, Text, Transfer
from realtime_ivr.session import BY_VOICE, Question, Session
from realtime_ivr.webhook import stream, with_filler

Program = Callable[[Session], Awaitable[None]]
"""What serves a call: a flow's `run`, or a coroutine function of a Python file."""


class FlowRun:
    """One flow on one call."""

    def __init__(self, flow: Flow, session: Session) -> None:
        self._flow, self._session = flow, session
        self._language = flow.table.language
        self._variables = session.variables
        self._handlers: Mapping[type[AnyStep], Callable[[Any], Awaitable[str | None]]] = {
            Say: self._say,
            Menu: self._menu,
            Collect: self._collect,
            Ask: self._ask,
            Set: self._set,
            Choose: self._choose,
            Pause: self._pause,
            Goto: self._goto,
            Transfer: self._transfer,
            HangUp: self._hang_up,
        }

    async def run(self) -> None:
        """From the first step to the hang-up. Raises `CallEnded` when the call is over."""
        self._variables |= {
            **self._flow.table.variables,
            "caller": self._session.call.info.caller,
            "callee": self._session.call.info.callee,
        }
        self._variables |= {"call": self._session.call.info.id, "heard": "", "unheard": "", "interrupted_by": ""}
        self._speak_language(self._language)
        if any(BY_VOICE in self._interrupt(step) for step in self._flow.table.steps.values()):
            self._session.listen_for_voice()
        name: str | None = self._flow.table.start
        try:
            async with asyncio.timeout(self._flow.table.max_call_s):
                for _ in range(self._flow.table.max_steps):
                    if name is None:
                        break
                    self._session.record.entered(name)
                    step = self._flow.table.steps[name]
                    name = await self._handlers[type(step)](step)
                else:
                    self._session.record.errors.append(f"the flow went through {self._flow.table.max_steps} steps without an end")
        except TimeoutError:
            self._session.record.errors.append(f"the call was longer than {self._flow.table.max_call_s:g} s")
        await self._session.hang_up("the flow is at its end")

    # ---- steps ----

    async def _say(self, step: Say) -> str | None:
        said = await self._session.say(self._text(step.say), interrupt=self._interrupt(step), prompt=self._flow.path(step.prompt))
        self._remember(said.heard, said.unheard)
        return step.next

    async def _menu(self, step: Menu) -> str | None:
        prompt = self._flow.path(step.prompt)
        key = await self._session.menu(
            self._text(step.menu), "".join(step.keys), self._question(step), interrupt=self._interrupt(step), prompt=prompt
        )
        return step.keys[key] if key is not None else step.otherwise

    async def _collect(self, step: Collect) -> str | None:
        digits = await self._session.collect(
            self._text(step.collect),
            least=step.least,
            most=step.most,
            end_key=step.end_key,
            question=self._question(step),
            prompt=self._flow.path(step.prompt),
        )
        if digits is None:
            return step.otherwise
        self._variables[step.into] = digits
        return step.next

    async def _ask(self, step: Ask) -> str | None:
        pieces = stream(self._fill(step.ask), self._webhook_question(step), headers=step.headers, timeout_s=step.timeout_s)
        filler = self._text(step.filler)
        try:
            said = await self._session.say(with_filler(pieces, filler, step.filler_after_s), interrupt=self._interrupt(step))
        except CallFailed as error:
            self._session.record.errors.append(error.message)
            return step.otherwise or step.next
        start = len(filler) + 1 if filler and said.text.startswith(filler + " ") else 0  # what we said is no word of the answer
        self._remember(said.heard[start:], said.text[max(start, said.heard_characters) :])
        if step.into:
            self._variables[step.into] = said.text[start:]
        return step.next

    async def _set(self, step: Set) -> str | None:
        for name, template in step.set.items():
            self._variables[name] = self._fill(template)
        if "language" in step.set:
            self._speak_language(self._variables["language"])
        return step.next

    async def _choose(self, step: Choose) -> str | None:
        return step.cases.get(self._fill(step.choose), step.otherwise or step.next)

    async def _pause(self, step: Pause) -> str | None:
        await self._session.pause(step.pause)
        return step.next

    async def _goto(self, step: Goto) -> str | None:
        return step.goto

    async def _transfer(self, step: Transfer) -> str | None:
        if step.say:
            await self._session.say(self._text(step.say), interrupt=())
        try:
            await self._session.transfer(self._fill(step.transfer))
        except CallFailed as error:
            self._session.record.errors.append(error.message)
            return step.otherwise or step.next
        raise CallEnded("transferred")

    async def _hang_up(self, step: HangUp) -> str | None:
        if step.hang_up:
            await self._session.say(self._text(step.hang_up), interrupt=())
            await self._session.pause(0.2)  # the last packets are on their way, and a phone drops what its buffer holds at a BYE
        await self._session.hang_up("the flow hung up")
        return None

    # ---- private ----

    def _text(self, text: Text) -> str:
        return self._fill(self._flow.text(text, self._language))

    def _fill(self, template: str) -> str:
        return render(template, self._variables)

    def _question(self, step: Menu | Collect) -> Question:
        return Question(step.timeout_s, step.retries, self._text(step.on_timeout), self._text(step.on_invalid))

    def _interrupt(self, step: AnyStep) -> tuple[str, ...]:
        own = getattr(step, "interrupt", None)
        return self._flow.table.interrupt if own is None else own

    def _speak_language(self, language: str) -> None:
        self._language = self._variables["language"] = language
        self._session.set_voice(self._flow.manners(language))

    def _remember(self, heard: str, unheard: str) -> None:
        self._variables |= {"heard": heard, "unheard": unheard, "interrupted_by": self._session.interrupted_by}

    def _webhook_question(self, step: Ask) -> dict[str, Any]:
        info, last = self._session.call.info, self._session.last_said
        return {
            "call": info.id,
            "caller": info.caller,
            "callee": info.callee,
            "language": self._language,
            "step": self._session.record.step,
            "variables": {name: value for name, value in self._variables.items() if name not in ("heard", "unheard")},
            "said": last.text if last else "",
            "heard": last.heard if last else "",
            "interrupted_by": self._session.interrupted_by,
            **{name: self._fill(value) for name, value in step.send.items()},
        }


def program_of(flow: Flow) -> Program:
    """A flow as something that serves a call."""

    async def run(session: Session) -> None:
        await FlowRun(flow, session).run()

    return run
