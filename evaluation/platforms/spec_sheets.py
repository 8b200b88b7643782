"""Spec sheets of the chips we know, read from `spec_sheets.json`.

A number is in that file only if someone opened its source; what is not certain is left out. The first chip listed for
an architecture is its usual one. Dense peak rates without sparsity; `float32` is the vector unit's rate.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from kernelevolve.evaluation.platform import SpecSheet


@cache
def _sheets() -> tuple[tuple[str, SpecSheet], ...]:
    entries: list[dict[str, Any]] = json.loads(
        files("kernelevolve.evaluation.platforms").joinpath("spec_sheets.json").read_text(encoding="utf-8")
    )
    return tuple((entry.pop("architecture"), SpecSheet.model_validate(entry)) for entry in entries)


def spec_sheet_for(architecture: str, device_name: str | None = None) -> SpecSheet:
    """The spec sheet of a device, or of an architecture's usual chip.

    Args:
        architecture: e.g. `sm_90` or `gfx942`.
        device_name: the name the driver reports, where there is a device.

    Returns:
        The chip's sheet. A device we do not know gets a sheet without numbers: another chip's peak rates would make
        an honest kernel look faster than the hardware.
    """
    sheets = [sheet for known, sheet in _sheets() if known == architecture]
    if device_name is None:
        return sheets[0] if sheets else SpecSheet(chip=architecture)
    # The end of the name must match: an "RTX 4090 Laptop GPU" or "H200 NVL" is another chip with other rates.
    for sheet in sheets:
        if any(device_name.lower().endswith(name.lower()) for name in sheet.device_names):
            return sheet
    return SpecSheet(chip=device_name)
