"""Settings: one resolver for what flags, environment and defaults say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelevolve.search.store import Store
    from kernelevolve.search.synthesizers import Synthesizer

ENDPOINT_PREFIX = "KERNELEVOLVE_ENDPOINT_"
"""Environment variables of the endpoint: this, and a field of `EndpointSettings` in capitals (`…_URL`, `…_MODEL`)."""


def open_store(state: Path) -> Store:
    """The searches of a state folder, or of the database that `KERNELEVOLVE_DATABASE` names.

    Args:
        state: the state folder. Large objects lie in its `objects/`, unless `KERNELEVOLVE_OBJECTS` names another place.

    Raises:
        SearchError: the database cannot be used.
    """
    from kernelevolve.search.store import Store

    state.mkdir(parents=True, exist_ok=True)
    database, objects = os.environ.get("KERNELEVOLVE_DATABASE"), os.environ.get("KERNELEVOLVE_OBJECTS")
    if database is None:
        return Store(state / "searches.sqlite", objects)
    return Store(database, objects or state / "objects")


def synthesizer_for(name: str, **given: Any) -> Synthesizer:
    """An author that works for the server.

    Args:
        name: `mutator` or `endpoint`.
        given: fields of `EndpointSettings` that flags say; what they leave out comes from the environment.

    Raises:
        SearchError: there is none of this name, or the endpoint's settings are missing or wrong.
    """
    from kernelevolve.search.errors import SearchError

    if name == "mutator":
        from kernelevolve.search.synthesizers.mutator import Mutator

        return Mutator()
    if name != "endpoint":
        raise SearchError(
            f"No synthesizer {name!r} works for the server.",
            "Use mutator or endpoint; an assistant gets its orders through the MCP server (kernelevolve serve).",
        )
    from pydantic import ValidationError

    from kernelevolve.search.synthesizers import SynthesizerError
    from kernelevolve.search.synthesizers.endpoint import Endpoint, EndpointSettings

    values: dict[str, Any] = {
        field: os.environ[ENDPOINT_PREFIX + field.upper()]
        for field in EndpointSettings.model_fields
        if field != "key_variable" and ENDPOINT_PREFIX + field.upper() in os.environ
    }
    values |= {field: value for field, value in given.items() if value is not None}
    try:
        return Endpoint(EndpointSettings.model_validate(values))
    except SynthesizerError as error:
        raise SearchError(error.summary, error.advice) from error
    except ValidationError as error:
        found = error.errors()[0]
        field = str(found["loc"][0]) if found["loc"] else "settings"
        raise SearchError(
            f"The endpoint's {field} can't be used: {found['msg']}.",
            f"Set {ENDPOINT_PREFIX}{field.upper()} or the flag; the key goes into {ENDPOINT_PREFIX}KEY.",
        ) from error


def state_folder(given: Path | None = None) -> Path:
    """The folder that holds receipts, caches and searches.

    Args:
        given: from `--state`; else `KERNELEVOLVE_STATE`, else `$XDG_STATE_HOME/kernelevolve`, else
            `~/.local/state/kernelevolve`.
    """
    if given is not None:
        return given
    if named := os.environ.get("KERNELEVOLVE_STATE"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "kernelevolve"
