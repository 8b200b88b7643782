"""Settings: one resolver for what flags, environment, files and defaults say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelevolve.server.setting_files import SettingError, SettingsFile, nearest_name, project_file, user_file
from kernelevolve.server.setting_table import BY_NAME, PREFIX, SETTINGS, Setting

if TYPE_CHECKING:
    from kernelevolve.search.store import Store
    from kernelevolve.search.synthesizers import Synthesizer

__all__ = ["Resolved", "SettingError", "Settings", "open_store", "state_folder", "synthesizer_for"]


@dataclass(frozen=True)
class Resolved:
    """A setting's value, and who said it."""

    setting: Setting
    value: Any
    source: str
    """The flag, the variable, the path of the file, or `default`."""

    @property
    def shown(self) -> Any:
        """What may be shown of the value; None for a secret."""
        return None if self.setting.secret else self.setting.kind.shown(self.value)


class Settings:
    """What is set, for one command: flag before environment before project's file before user's file before default.

    Args:
        flags: setting → what its flag says; None where it was not given.
        environment: the environment; that of this process by default.
        start: folder from which a project's file is looked for, upwards; the working directory by default.

    Raises:
        SettingError: a file can't be read, or holds a key that is unknown or not allowed there.
    """

    def __init__(
        self,
        flags: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        start: Path | None = None,
    ) -> None:
        self._flags = {name: value for name, value in (flags or {}).items() if value is not None}
        self._environment = os.environ if environment is None else environment
        self._files: list[SettingsFile] = []
        if self.value("project_file") == "auto":
            self._add(project_file(start or self._start()), trusted=False)
        self._add(user_file(self._environment), trusted=True)

    def _start(self) -> Path:
        # No file was read yet, so a workspace that the user's file names is not asked for a project's file.
        return Path(self.value("workspace"))

    def _add(self, path: Path | None, trusted: bool) -> None:
        if path is not None:
            self._files.append(SettingsFile(path, trusted))

    @property
    def files(self) -> list[Path]:
        """The files that were read, the more important first."""
        return [file.path for file in self._files]

    def value(self, name: str) -> Any:
        """The value of a setting.

        Raises:
            SettingError: what is said about it can't be used.
        """
        return self.resolve(name).value

    def resolve(self, name: str) -> Resolved:
        """The value of a setting and where it comes from.

        Raises:
            SettingError: what is said about it can't be used.
        """
        setting = BY_NAME[name]
        if name in self._flags:
            return Resolved(setting, _read(setting, self._flags[name], setting.flag or name), setting.flag or name)
        # A variable that is empty says nothing, as everywhere.
        said = self._environment.get(setting.variable, "").strip()
        if said and (setting.variable, said) not in _handed_down:
            return Resolved(setting, _read(setting, said, setting.variable), setting.variable)
        for file in self._files:
            if name in file.values:
                return Resolved(setting, file.read(setting, _read), str(file.path))
        return Resolved(setting, setting.default_value(), "default")

    def resolve_all(self) -> list[Resolved]:
        """Every setting.

        Raises:
            SettingError: something that is said can't be used.
        """
        return [self.resolve(setting.name) for setting in SETTINGS]

    def check(self) -> None:
        """Look at everything that is said, so that a mistake shows at the start.

        Raises:
            SettingError: something can't be used.
        """
        self.resolve_all()

    def unknown_variables(self) -> list[str]:
        """Variables that look like settings and are none, each with the nearest one."""
        known = {setting.variable for setting in SETTINGS} | INTERNAL_VARIABLES
        return [
            f"{name}{nearest_name(name, known)}"
            for name in sorted(self._environment)
            if name.startswith(PREFIX) and name not in known
        ]

    def hand_down(self) -> None:
        """Put what files say for the layers under the server where those read it: into this process's environment."""
        for setting in (setting for setting in SETTINGS if setting.below):
            found = self.resolve(setting.name)
            if found.source not in (setting.variable, "default"):
                os.environ[setting.variable] = str(found.value)
                _handed_down.add((setting.variable, str(found.value)))


KEY_FIELD = "key_variable"
"""The one field of `EndpointSettings` that is no setting: keys have one variable, so that a setting can't move them."""
_handed_down: set[tuple[str, str]] = set()
"""What this process put into its environment itself: a file still said it, not the variable."""
INTERNAL_VARIABLES = frozenset({"KERNELEVOLVE_PERF_CONTROL", "KERNELEVOLVE_EXPORT_CACHE", "KERNELEVOLVE_TOKEN"})
"""Variables that are no settings of this program: processes of it talk to each other by one, exported modules read one,
and clients of the HTTP server keep their token in one."""


def _read(setting: Setting, raw: Any, source: str) -> Any:
    try:
        return setting.kind.read(raw)
    except (ValueError, TypeError, OverflowError):
        quoted = f" is {raw!r}, which" if setting.kind.quotable else " holds something that"
        raise SettingError(f"{source}{quoted} is not {setting.kind.allowed}.") from None


def open_store(state: Path) -> Store:
    """The searches of a state folder, or of the database that the settings name.

    Args:
        state: the state folder. Large objects lie in its `objects/`, unless the setting `objects` names another place.

    Raises:
        SearchError: the database cannot be used.
        SettingError: a setting can't be used.
    """
    from kernelevolve.search.store import Store

    state.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    database, objects = settings.value("database"), settings.value("objects")
    if database is None:
        return Store(state / "searches.sqlite", objects)
    return Store(database, objects or state / "objects")


def synthesizer_for(name: str, **given: Any) -> Synthesizer:
    """An author that works for the server.

    Args:
        name: `mutator` or `endpoint`.
        given: fields of `EndpointSettings` that flags say; what they leave out comes from the settings.

    Raises:
        SearchError: there is none of this name, or the endpoint's settings are missing or wrong.
        SettingError: a setting can't be used.
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

    settings = Settings({f"endpoint_{field}": value for field, value in given.items()})
    fields = [field for field in EndpointSettings.model_fields if field != KEY_FIELD]
    found = {field: settings.value(f"endpoint_{field}") for field in fields}
    values = {field: value for field, value in found.items() if value is not None}
    try:
        return Endpoint(EndpointSettings.model_validate(values))
    except SynthesizerError as error:
        raise SearchError(error.summary, error.advice) from error
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][0]) if wrong["loc"] else "settings"
        raise SearchError(
            f"The endpoint's {field} can't be used: {wrong['msg']}.",
            f"Set {PREFIX}ENDPOINT_{field.upper()} or the flag; the key goes into {PREFIX}ENDPOINT_KEY.",
        ) from error


def state_folder(given: Path | None = None) -> Path:
    """The folder that holds receipts, caches and searches.

    Args:
        given: from `--state`; what else may say it, see the table of settings.

    Raises:
        SettingError: a setting can't be used.
    """
    folder: Path = Settings({"state": given}).value("state")
    return folder
