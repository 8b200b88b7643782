"""The roofline floor: least time by bytes or by operations, whichever is longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.judge.roofline import SLACK, floor_ms
from kernelevolve.evaluation.platform import Quantity, SpecSheet

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""


def quantity(value: float, unit: str = "") -> Quantity:
    return Quantity(value=value, unit=unit, sources=("a data sheet",), checked="2026-01-01")


def sheet(bandwidth: float | None = 1e12, cache: float | None = None, **peaks: float) -> SpecSheet:
    numbers = {"memory_bandwidth": bandwidth, "last_level_cache": cache}
    numbers |= {f"peak_flops.{name}": rate for name, rate in peaks.items()}
    return SpecSheet(
        chip="a chip", facts={name: quantity(value) for name, value in numbers.items() if value is not None}
    )


def test_bytes_over_bandwidth() -> None:
    assert floor_ms(sheet(bandwidth=2e12), "float32", 4e9, None) == pytest.approx(2.0)


def test_operations_over_peak_where_they_take_longer() -> None:
    chip = sheet(bandwidth=1e12, float32=1e13)

    assert floor_ms(chip, "float32", 1e9, 1e11) == pytest.approx(10.0)
    assert floor_ms(chip, "float32", 1e12, 1e11) == pytest.approx(1000.0)


def test_what_the_cache_may_hold_need_not_be_moved() -> None:
    assert floor_ms(sheet(bandwidth=1e12, cache=6e7), "float32", 1e9, None) == pytest.approx(0.94)
    assert floor_ms(sheet(bandwidth=1e12, cache=6e7), "float32", 1e6, None) == 0.0


def test_fp32_may_use_tf32_units() -> None:
    """Three TF32 products give an fp32 one, so the higher rate bounds it."""
    assert floor_ms(sheet(float32=6e13, tf32=5e14), "float32", 0.0, 5e12) == pytest.approx(10.0)
    assert floor_ms(sheet(float32=6e13, tf32=1e13), "float32", 0.0, 6e11) == pytest.approx(10.0)


def test_another_dtype_s_rate_is_not_used() -> None:
    assert floor_ms(sheet(float16=1e15, tf32=5e14), "float64", 1e9, 1e15) == pytest.approx(1.0)
    assert floor_ms(sheet(float16=1e15), "bfloat16", 1e9, 1e15) == pytest.approx(1.0)
    assert floor_ms(sheet(float16=1e15, float32=1e14), "float16", 0.0, 1e13) == pytest.approx(10.0)


def test_a_chip_without_a_bandwidth_has_no_floor() -> None:
    assert floor_ms(sheet(bandwidth=None, float32=1e13), "float32", 1e9, 1e12) is None


@pytest.mark.parametrize("flops", [None, 0.0])
def test_a_task_that_states_no_operations_is_bound_by_bytes(flops: float | None) -> None:
    assert floor_ms(sheet(float32=1.0), "float32", 1e9, flops) == pytest.approx(1.0)


@settings(PATIENT)
@given(
    moved=st.floats(0, 1e15),
    more=st.floats(0, 1e15),
    flops=st.none() | st.floats(0, 1e18),
    cache=st.none() | st.floats(0, 1e9),
)
def test_more_work_never_lowers_the_floor(moved: float, more: float, flops: float | None, cache: float | None) -> None:
    chip = sheet(bandwidth=4.8e12, cache=cache, float32=6.7e13)

    small, large = floor_ms(chip, "float32", moved, flops), floor_ms(chip, "float32", moved + more, flops)

    assert small is not None
    assert large is not None
    assert 0.0 <= small <= large


def test_slack_lets_a_kernel_be_a_little_faster_than_the_sheet() -> None:
    assert 0.5 < SLACK < 1.0
