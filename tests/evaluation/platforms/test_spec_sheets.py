from __future__ import annotations

import math
from datetime import date

import pytest

from kernelevolve.evaluation.platform import SpecSheet, known_platforms
from kernelevolve.evaluation.platforms.spec_sheets import (
    architecture_sheets,
    fields,
    parse_quantity,
    spec_sheet_for,
    spec_sheets,
)

RATES = {"float64", "float32", "tf32", "float16", "bfloat16", "float8", "float4", "int8"}
GPU_BANDWIDTH = (5e11, 1e13)
NARROW_BUS = {"l4": 3e11}
"""GPUs below that range, each with its one right value."""
CHIPS = sorted(spec_sheets().items())
ALL = CHIPS + sorted(architecture_sheets().items())


def is_for_the_roofline(field: str) -> bool:
    return field in ("memory_bandwidth", "last_level_cache") or field.startswith("peak_flops.")


@pytest.mark.parametrize("name", [name for name in known_platforms() if ":" in name])
def test_each_architecture_has_a_usual_chip(name: str) -> None:
    assert spec_sheet_for(name.partition(":")[2]).memory_bandwidth is not None


@pytest.mark.parametrize(
    ("architecture", "device", "chip", "bandwidth"),
    [
        ("sm_90", "NVIDIA H200", "NVIDIA H200 SXM", 4.8e12),
        ("sm_90", "NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5", 3.35e12),
        ("sm_90", "NVIDIA H100 PCIe", "NVIDIA H100 PCIe", 2.0e12),
        ("sm_80", "NVIDIA A100-SXM4-40GB", "NVIDIA A100 40GB", 1.555e12),
        ("gfx942", "AMD Instinct MI325X", "AMD Instinct MI325X", 6e12),
    ],
)
def test_a_device_is_found_by_its_name(architecture: str, device: str, chip: str, bandwidth: float) -> None:
    sheet = spec_sheet_for(architecture, device)

    assert sheet.memory_bandwidth is not None
    assert (sheet.chip, sheet.memory_bandwidth.value) == (chip, bandwidth)


@pytest.mark.parametrize("device", ["NVIDIA H200 NVL", "NVIDIA GH200 480GB", "NVIDIA H100 of tomorrow"])
def test_a_device_we_do_not_know_gets_no_numbers_of_another(device: str) -> None:
    sheet = spec_sheet_for("sm_90", device)

    assert (sheet.chip, sheet.memory_bandwidth, sheet.peak_flops) == (device, None, {})
    assert sheet.facts == {}


@pytest.mark.parametrize(("key", "sheet"), ALL)
def test_every_number_has_its_source_and_its_day(key: str, sheet: SpecSheet) -> None:
    for name, fact in sheet.facts.items():
        assert fact.sources, name
        assert all(source.strip() for source in fact.sources), name
        assert date.fromisoformat(fact.checked).year >= 2026, name
        assert fact.value > 0, name


@pytest.mark.parametrize(("key", "sheet"), CHIPS)
def test_what_the_judge_calls_impossible_rests_on_two_sources(key: str, sheet: SpecSheet) -> None:
    single = [name for name, fact in sheet.facts.items() if is_for_the_roofline(name) and len(set(fact.sources)) < 2]
    assert single == []


@pytest.mark.parametrize(("key", "sheet"), CHIPS)
def test_rates_are_dense_and_in_their_usual_proportions(key: str, sheet: SpecSheet) -> None:
    rates = {name: quantity.value for name, quantity in sheet.peak_flops.items()}
    assert set(rates) <= RATES
    for name, quantity in sheet.facts.items():
        if is_for_the_roofline(name):
            assert quantity.unit in ("B/s", "B", "OP/s" if name.endswith(".int8") else "FLOP/s")
    if sheet.architecture.startswith(("sm_", "gfx")) and sheet.memory_bandwidth is not None:
        low, high = GPU_BANDWIDTH
        if key in NARROW_BUS:
            assert sheet.memory_bandwidth.value == NARROW_BUS[key]
        else:
            assert low < sheet.memory_bandwidth.value < high
    if {"float8", "bfloat16", "tf32"} <= set(rates):
        assert math.isclose(rates["bfloat16"] / rates["tf32"], 2, rel_tol=0.03)
    for wide, narrow in (("bfloat16", "float8"), ("float8", "float4")):
        if {wide, narrow} <= set(rates):
            # A sparse figure in one place would make it 4; datasheets round, so not exactly 2.
            assert math.isclose(rates[narrow] / rates[wide], 2, rel_tol=0.03), (wide, narrow)
    if {"float16", "bfloat16"} <= set(rates):
        assert rates["float16"] == rates["bfloat16"]


@pytest.mark.parametrize(("key", "sheet"), CHIPS)
def test_a_chips_names_are_its_own(key: str, sheet: SpecSheet) -> None:
    others = [other for other_key, other in CHIPS if other_key != key]
    assert sheet.family
    for name in (sheet.chip, *sheet.aliases):
        assert name.lower() not in {alias.lower() for other in others for alias in (other.chip, *other.aliases)}


def test_an_architecture_has_at_most_one_usual_chip() -> None:
    usual = [sheet.architecture for _, sheet in CHIPS if sheet.usual]
    assert len(usual) == len(set(usual))


@pytest.mark.parametrize(
    ("key", "field", "right", "wrong"),
    [
        # Claims found in public knowledge bases, and what the primary sources say.
        ("sm_100", "warps_per_sm", 64, 48),
        ("sm_100", "threads_per_sm", 2048, 1536),
        ("sm_100", "blocks_per_sm", 32, 24),
        ("sm_100", "tensor_memory_columns", 512, 128),
        ("sm_100", "tensor_memory_lanes", 128, 512),
        ("sm_90", "shared_memory_per_sm", 228 * 1024, 192 * 1024),
        ("sm_90", "shared_memory_per_block", 227 * 1024, 228 * 1024),
        ("sm_90", "warps_per_sm", 64, 48),
        ("sm_90", "threads_per_sm", 2048, 1536),
        ("h100_sxm5", "peak_flops.bfloat16", 989.4e12, 1979e12),
        ("mi300x", "peak_flops.bfloat16", 1307.4e12, 326e12),
        ("mi300x", "peak_flops.float8", 2614.9e12, 653e12),
        ("mi355x", "last_level_cache", 256 * 2**20, 64 * 2**20),
    ],
)
def test_well_known_errors_are_not_repeated(key: str, field: str, right: float, wrong: float) -> None:
    value = {**architecture_sheets(), **spec_sheets()}[key].facts[field].value

    assert value == pytest.approx(right, rel=2e-3)
    assert value != wrong


def test_blackwell_for_gaming_has_no_tensor_memory() -> None:
    assert "tensor_memory_per_sm" not in architecture_sheets()["sm_120"].facts


def test_every_field_says_what_it_is_and_how_people_ask() -> None:
    for field in fields().values():
        assert field.label
        assert field.unit in ("", "B", "B/s", "B/clk", "FLOP/s", "OP/s", "FLOP/clk", "Hz", "W", "bit", "s")
        assert field.asks
        assert all(ask == ask.lower() for ask in field.asks)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("227 KiB", "B", 227 * 1024), ("3.35 TB/s", "B/s", 3.35e12), ("64", "", 64), ("65_536", "", 65536),
     ("1.98 GHz", "Hz", 1.98e9), ("128 B/clk", "B/clk", 128)],
)  # fmt: skip
def test_quantities_are_read_in_base_units(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit"), [("227", "B"), ("227 KiB", "B/s"), ("3,35 TB/s", "B/s"), ("", ""), ("x", "")]
)
def test_a_number_in_another_unit_is_refused(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|not in"):
        parse_quantity(text, unit)
