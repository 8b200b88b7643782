"""Spec sheets: what is known of each chip, one TOML file a chip and one for what all chips of an architecture share.

The judge's roofline, the occupancy calculator, the documents and the answers to numeric questions all read these files,
so a number lives in one place. A number is there only if someone opened its source; what is not certain is left out.
Peak rates are dense, without sparsity.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.platform import Quantity, SpecSheet

SHEETS = Path(__file__).parent / "sheets"
"""Folder of the sheets."""
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_QUANTITY = re.compile(r"^(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?)(?: (?P<unit>\S+))?$")


class Field(Contract):
    """One property that a chip or an architecture can have."""

    name: str
    """Key in the sheets, e.g. `shared_memory_per_block`."""
    label: str
    """What the number is, for people: `shared memory per block, with the opt-in`."""
    unit: str
    """Base unit: `B`, `B/s`, `B/clk`, `FLOP/s`, `OP/s`, `FLOP/clk`, `Hz`, `W`, `bit`, `s`, or empty for a count."""
    asks: tuple[str, ...] = ()
    """Phrases by which people ask for it, lower case."""


def parse_quantity(text: str, unit: str) -> float:
    """Read `227 KiB`, `3.35 TB/s` or `64` as a number of base units.

    Raises:
        ValueError: not a number, or in another unit than `unit`.
    """
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity: write a number, a space and a unit, e.g. '227 KiB'.")
    number = float(match["number"].replace("_", ""))
    written = match["unit"] or ""
    if written == unit:
        return number
    for prefixes in (_BINARY, _DECIMAL):
        for prefix, factor in prefixes.items():
            if prefix and written == prefix + unit:
                return number * factor
    raise ValueError(f"{text!r} is not in {unit or 'plain numbers'}.")


@cache
def fields() -> dict[str, Field]:
    """All fields by name."""
    found: dict[str, Field] = {}
    for file, table in _read("fields").items():
        for name, entry in _flat(table).items():
            if name in found:
                raise ValueError(f"Field {name!r} of {file}.toml is in another file already.")
            found[name] = Field(name=name, **entry)
    return found


@cache
def spec_sheets() -> dict[str, SpecSheet]:
    """All chips by key (the name of the file), each with what its architecture gives it.

    Raises:
        ValueError: a file does not say what it must; the text names it.
    """
    architectures = architecture_sheets()
    sheets = {}
    for key, entry in _read("chips").items():
        base = architectures.get(entry.get("architecture", ""))
        shared = {} if base is None else base.facts
        sheet = _sheet(key, entry)
        family = sheet.family or ("" if base is None else base.family)
        sheets[key] = sheet.model_copy(update={"facts": {**shared, **sheet.facts}, "family": family})
    return sheets


@cache
def architecture_sheets() -> dict[str, SpecSheet]:
    """What all chips of an architecture share, by architecture (`sm_90`, `gfx942`, `mtia_2i`)."""
    return {key: _sheet(key, entry) for key, entry in _read("architectures").items()}


def spec_sheet_for(architecture: str, device_name: str | None = None) -> SpecSheet:
    """The spec sheet of a device, or of an architecture's usual chip.

    Args:
        architecture: e.g. `sm_90` or `gfx942`.
        device_name: the name the driver reports, where there is a device.

    Returns:
        The chip's sheet. A device we do not know gets a sheet without numbers: another chip's peak rates would make
        an honest kernel look faster than the hardware.
    """
    sheets = [sheet for sheet in spec_sheets().values() if sheet.architecture == architecture]
    if device_name is None:
        return next((sheet for sheet in sheets if sheet.usual), SpecSheet(chip=architecture))
    # The end of the name must match: an "RTX 4090 Laptop GPU" or "H200 NVL" is another chip with other rates.
    for sheet in sheets:
        if any(device_name.lower().endswith(name.lower()) for name in sheet.device_names):
            return sheet
    return SpecSheet(chip=device_name)


def count(architecture: str, field: str) -> int:
    """A whole number that an architecture's sheet must have.

    Raises:
        KeyError: the architecture or the field is not known.
    """
    return int(architecture_sheets()[architecture].facts[field].value)


def _read(kind: str) -> dict[str, dict[str, Any]]:
    return {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(SHEETS.glob(f"{kind}/*.toml"))
    }


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """`{"peak_flops": {"float16": {...}}}` as `{"peak_flops.float16": {...}}`: the leaves have no tables below them."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in table.items():
        if any(isinstance(inner, dict) for inner in value.values()):
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def _sheet(key: str, entry: dict[str, Any]) -> SpecSheet:
    sources: dict[str, str] = entry.pop("sources", {})
    facts = {}
    for name, fact in _flat(entry.pop("facts", {})).items():
        where = f"{key}.toml, {name}"
        field = fields().get(name)
        if field is None:
            raise ValueError(f"{where}: there is no such field. Add it to sheets/fields/ with label, unit and asks.")
        unknown = [source for source in fact["sources"] if source not in sources]
        if unknown:
            raise ValueError(f"{where}: [sources] has no {unknown[0]!r}.")
        if not isinstance(fact["checked"], date):
            raise ValueError(f"{where}: checked must be a date such as 2026-11-28.")
        try:
            value = parse_quantity(fact["value"], field.unit)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        facts[name] = Quantity(
            value=value,
            unit=field.unit,
            text=fact["value"],
            sources=tuple(sources[source] for source in fact["sources"]),
            checked=fact["checked"].isoformat(),
            note=fact.get("note", ""),
        )
    return SpecSheet(key=key, facts=facts, **entry)
