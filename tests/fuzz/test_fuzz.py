"""A small share of `make fuzz`, the same every time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_border_takes_it_or_says_why_not(name: str) -> None:
    call, data = TARGETS[name]
    patient = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                       suppress_health_check=list(HealthCheck))  # fmt: skip
    patient(given(data)(lambda value: call(value)))()
