"""What an editor can set: initialization options and the section `kernelevolve` of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SECTION = "kernelevolve"
DEFAULT_TARGETS = ("cuda:sm_90", "hip:gfx950")


@dataclass(frozen=True)
class Options:
    """The settings, each with its default."""

    targets: tuple[str, ...] = DEFAULT_TARGETS
    """Platform names that hints and hovers are about."""
    state: str | None = None
    """State folder; None for what the command line uses."""
    hints: bool = True
    """Whether inlay hints are shown (`hints.enabled`)."""
    lenses: bool = True
    """Whether code lenses are shown (`lenses.enabled`)."""
    lints: bool = True
    """Whether mistakes in the text are reported (`lints.enabled`)."""
    compile_on_save: bool = True
    """Whether kernels are compiled when a file is opened or saved (`compileOnSave`)."""
    evaluations: int = 40
    """Candidates of a search (`search.evaluations`)."""
    minutes: float = 10.0
    """Minutes of a search (`search.minutes`)."""
    author: str = "mutator"
    """Who writes a search's candidates (`search.author`)."""
    trusted: bool = True
    """Whether code of the workspace may be compiled and run."""
    complaints: tuple[str, ...] = field(default=(), compare=False)
    """What could not be used, one sentence each."""


_FIELDS: dict[str, tuple[str, type]] = {
    "hints.enabled": ("hints", bool),
    "lenses.enabled": ("lenses", bool),
    "lints.enabled": ("lints", bool),
    "compileOnSave": ("compile_on_save", bool),
    "search.evaluations": ("evaluations", int),
    "search.minutes": ("minutes", float),
    "search.author": ("author", str),
    "state": ("state", str),
    "trusted": ("trusted", bool),
}


def read_options(given: Any, before: Options | None = None) -> Options:
    """Settings from what an editor sent; what it leaves out stays as it was.

    Nested (`{"hints": {"enabled": true}}`) and dotted (`{"hints.enabled": true}`) names are the same. A value of the
    wrong type is left out and named in `complaints`: an editor with one wrong setting must still work.
    """
    options = replace(before or Options(), complaints=())
    if isinstance(given, Mapping) and isinstance(given.get(SECTION), Mapping):
        given = given[SECTION]
    if not isinstance(given, Mapping):
        return options if given is None else replace(options, complaints=("Settings must be an object.",))
    flat = dict(_flattened(given))
    values: dict[str, Any] = {}
    complaints = []
    for name, value in flat.items():
        if value is None:
            continue
        if name == "targets":
            if isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value):
                values["targets"] = tuple(dict.fromkeys(value))
            else:
                complaints.append(f"kernelevolve.targets is {value!r}, which is not a list of platform names.")
        elif name in _FIELDS:
            key, kind = _FIELDS[name]
            usable = _usable(value, kind)
            if usable is None:
                complaints.append(f"kernelevolve.{name} is {value!r}, which is not {_WORDS[kind]}.")
            else:
                values[key] = usable
    return replace(options, **values, complaints=tuple(complaints))


_WORDS = {bool: "true or false", int: "a whole number above 0", float: "a number above 0", str: "a text"}


def _usable(value: Any, kind: type) -> Any:
    if kind in (int, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        return kind(value) if fits and (kind is float or value == int(value)) else None
    if kind is str:
        return value if isinstance(value, str) and value.strip() else None
    return value if isinstance(value, kind) else None


def _flattened(given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in given.items():
        if isinstance(value, Mapping):
            found += _flattened(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
