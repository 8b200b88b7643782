"""The base of every contract type: frozen, closed, documented, printable as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


def _without_titles(schema: dict[str, Any]) -> None:
    """Leave out what pydantic makes of a field's name: clients read these schemas, and the name is there already."""
    for entry in schema.get("properties", {}).values():
        entry.pop("title", None)


class Contract(BaseModel):
    """An immutable value that crosses a module border and validates itself."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="strings",
        json_schema_extra=_without_titles,
    )
