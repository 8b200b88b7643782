"""Discovery of plug-ins through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any


def load_plug_ins(group: str, built_in: dict[str, str]) -> dict[str, Any]:
    """Load every plug-in of an entry point group.

    Args:
        group: entry point group, e.g. `kernelevolve.platforms`.
        built_in: name → `module:attribute` of those that ship with the project; they are found even where the
            project runs from a source tree without being installed.

    Returns:
        Name → loaded object, sorted by name. A plug-in that fails to import raises: a platform that vanished
        silently would be worse.
    """
    found = {name: EntryPoint(name=name, value=value, group=group) for name, value in built_in.items()}
    found.update({point.name: point for point in entry_points(group=group)})
    return {name: found[name].load() for name in sorted(found)}
