"""`kernelevolve settings`: what is set, and who said it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from kernelevolve.server.rendering import table
from kernelevolve.server.settings import Resolved, Settings


def run_settings() -> dict[str, Any]:
    """Every setting as JSON values: `settings`, the `files` that were read, and `notes` on what looks like a mistake.

    Raises:
        SettingError: something that is said can't be used.
    """
    settings = Settings()
    return {
        "settings": [_entry(found) for found in settings.resolve_all()],
        "files": [str(path) for path in settings.files],
        "notes": [f"no setting has the variable {text}" for text in settings.unknown_variables()],
    }


def _entry(found: Resolved) -> dict[str, Any]:
    value = str(found.shown) if isinstance(found.shown, Path) else found.shown
    entry = {"name": found.setting.name, "value": value, "source": found.source, "variable": found.setting.variable}
    return {**entry, "is_set": found.value is not None} if found.setting.secret else entry


def settings_view(found: dict[str, Any]) -> Group:
    """The settings for people."""
    rows = table("setting", "value", "from")
    for entry in found["settings"]:
        if "is_set" in entry:
            value = "set, not shown" if entry["is_set"] else "–"
        else:
            value = "–" if entry["value"] in (None, ()) else str(entry["value"])
        rows.add_row(entry["name"], Text(value), Text(entry["source"]))
    files = ", ".join(found["files"]) or "none"
    return Group(rows, Text(f"files: {files}"), *(Text(note, style="yellow") for note in found["notes"]))
