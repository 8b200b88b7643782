from __future__ import annotations

import math
from datetime import date

import pytest

from kernelevolve.evaluation.platform import known_platforms
from kernelevolve.evaluation.platforms.spec_sheets import _sheets, spec_sheet_for

RATES = {"float32", "tf32", "float16", "bfloat16", "float8", "float64"}


def test_each_architecture_has_a_usual_chip():
    for name in known_platforms():
        if ":" in name:
            assert spec_sheet_for(name.partition(":")[2]).memory_bandwidth is not None


@pytest.mark.parametrize(
    ("architecture", "device", "chip", "bandwidth"),
    [
        ("sm_90", "NVIDIA H200", "NVIDIA H200 SXM", 4.8e12),
        ("sm_90", "NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5", 3.35e12),
        ("sm_80", "NVIDIA A100-SXM4-40GB", "NVIDIA A100 40GB", 1.555e12),
        ("gfx942", "AMD Instinct MI325X", "AMD Instinct MI325X", 6e12),
    ],
)
def test_a_device_is_found_by_its_name(architecture, device, chip, bandwidth):
    sheet = spec_sheet_for(architecture, device)

    assert (sheet.chip, sheet.memory_bandwidth.value) == (chip, bandwidth)


@pytest.mark.parametrize("device", ["NVIDIA H200 NVL", "NVIDIA H100 PCIe", "NVIDIA GH200 480GB"])
def test_a_device_we_do_not_know_gets_no_numbers_of_another(device):
    sheet = spec_sheet_for("sm_90", device)

    assert (sheet.chip, sheet.memory_bandwidth, sheet.peak_flops) == (device, None, {})


def test_every_number_has_its_source():
    for _, sheet in _sheets():
        for quantity in (sheet.memory_bandwidth, sheet.last_level_cache, *sheet.peak_flops.values()):
            if quantity is not None:
                assert quantity.source
                assert quantity.unit in ("B/s", "B", "FLOP/s")
                assert date.fromisoformat(quantity.checked).year >= 2026


def test_numbers_are_dense_rates_in_base_units():
    for _, sheet in _sheets():
        assert set(sheet.peak_flops) <= RATES
        rates = {name: quantity.value for name, quantity in sheet.peak_flops.items()}
        assert 5e11 < sheet.memory_bandwidth.value < 1e13
        if {"float8", "bfloat16", "tf32"} <= set(rates):
            # A sparse figure in one place would break these ratios; datasheets round, so not exactly 2.
            assert math.isclose(rates["float8"] / rates["bfloat16"], 2, rel_tol=0.03)
            assert math.isclose(rates["bfloat16"] / rates["tf32"], 2, rel_tol=0.03)
