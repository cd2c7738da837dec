"""Values and the shapes made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from realtime.types import Budget
from realtime.wire.events import BudgetChoice, BudgetProfile
from realtime.wire.reading import quoted
from realtime.wire.rules import Rule
from realtime.wire.shapes import shape_of


def test_a_budget_choice_lies_over_its_profile() -> None:
    base = Budget(first_audio_ms=800, max_lead_ms=2000)
    assert BudgetChoice(BudgetProfile.IVR).over(base) == base
    assert BudgetChoice(max_lead_ms=500, sticky=True).over(base) == Budget(800, 100, 500, True)
    assert BudgetChoice(start_buffer_ms=0).over(base).start_buffer_ms == 0


def test_annotations_that_no_shape_stands_for_are_our_bug() -> None:
    @dataclass
    class Odd:
        what: Annotated[complex, Rule("?")]

    @dataclass
    class Ruleless:
        what: int

    with pytest.raises(TypeError, match="no shape"):
        shape_of(Odd)
    with pytest.raises(TypeError, match="no rule"):
        shape_of(Ruleless)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a", "'a'"),
        ("é", r"'\xe9'"),
        ("x" * 99, "'" + "x" * 36 + "..."),
        (b"ab", "b'ab'"),
        (10**99, "a int"),
        ({}, "a dict"),
        (None, "None"),
    ],
)
def test_quotes_of_a_peers_values_are_short_and_ascii(value: object, says: str) -> None:
    assert quoted(value) == says
