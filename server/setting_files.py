"""Files of settings: where they are, and which of their keys count. A project's file is not trusted."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kernelevolve.server.setting_table import BY_NAME, Files, Setting

PROJECT_FILE = "kernelevolve.toml"
_MOST_BYTES = 1 << 20

Read = Callable[[Setting, Any, str], Any]
"""Makes a setting's value of what a source says."""


class SettingError(Exception):
    """A setting can't be used; the text says which source is wrong and what is allowed."""


def project_file(start: Path) -> Path | None:
    """The nearest `kernelevolve.toml`, from a folder upwards; none where the folder is gone or can't be entered."""
    try:
        folder = start.resolve(strict=True)
        paths = [each / PROJECT_FILE for each in (folder, *folder.parents)]
        return next((path for path in paths if path.is_file()), None)
    except OSError:
        return None


def user_file(environment: Mapping[str, str]) -> Path | None:
    """The user's own file, if there is one."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".config")
    path = Path(base) / "kernelevolve" / "config.toml"
    try:
        return path if path.is_file() else None
    except OSError as error:
        raise SettingError(f"{path} can't be read: {error.strerror}.") from error


class SettingsFile:
    """One file, read and checked.

    Args:
        path: the file.
        trusted: whether it is the user's own.

    Raises:
        SettingError: it can't be read, others may write to what should be the user's own, or a key is unknown or not
            allowed there.
    """

    def __init__(self, path: Path, trusted: bool) -> None:
        self.path = path
        if trusted:
            _must_be_own(path)
        self.values = _load(path)
        """Key → value, as the file says it."""
        for key, value in self.values.items():
            if key not in BY_NAME:
                raise SettingError(f"{path}: there is no setting {key!r}{nearest_name(key, BY_NAME)}.")
            self._allow(BY_NAME[key], value, trusted)

    def read(self, setting: Setting, read: Read) -> Any:
        """The value of a setting that the file has; a relative path is one beside the file."""
        value = read(setting, self.values[setting.name], f"{self.path}: {setting.name}")
        if not setting.kind.is_path or "://" in str(value):
            return value
        beside = self.path.parent / value
        return beside if isinstance(value, Path) else str(beside)

    def _allow(self, setting: Setting, value: Any, trusted: bool) -> None:
        if setting.files is Files.NONE:
            what = "A key" if setting.secret else "This"
            raise SettingError(
                f"{self.path}: {setting.name} can't be set by a file. {what} comes from {setting.variable} alone."
            )
        if isinstance(value, str) and not setting.kind.quotable and _has_password(value):
            raise SettingError(
                f"{self.path}: {setting.name} holds a password. Put the whole address into {setting.variable}, or the "
                "password where the database's own client looks for it, such as ~/.pgpass."
            )
        if trusted or setting.files is Files.ALL or (setting.files is Files.STRICTER and value is True):
            return
        only = " to anything but true" if setting.files is Files.STRICTER else ""
        raise SettingError(
            f"{self.path}: a project's file may not set {setting.name}{only}: {setting.risk}. Use "
            f"{f'{setting.flag}, ' if setting.flag else ''}{setting.variable} or your own config.toml."
        )


def nearest_name(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'rate'?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _load(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SettingError(f"{path} is larger than {_MOST_BYTES} bytes: that is no file of settings.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingError(f"{path} can't be read: {error}.") from error


def _must_be_own(path: Path) -> None:
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
        raise SettingError(f"{path} could be changed by other users: chown it to yourself and chmod o-w.")


def _has_password(address: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        return bool(parts.password) or "password=" in parts.query.lower()
    except ValueError:
        # What can't be taken apart may hold one.
        return True
