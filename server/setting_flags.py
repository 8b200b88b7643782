"""Flags of commands, made from the table of settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kernelevolve.server.setting_table import SETTINGS, Setting


def with_settings(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, whose last parameter is `**settings`, a flag for each setting that the table gives it.

    The command gets them by the settings' names, None where a flag was not given; `Settings(flags)` does the rest.
    """
    chosen = [setting for setting in SETTINGS if command in setting.commands]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        flags = [
            inspect.Parameter(
                setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(setting)
            )
            for setting in chosen
        ]

        @functools.wraps(function)
        def command_function(**given: Any) -> None:
            function(**given)

        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        command_function.__signature__ = inspect.Signature([*keywords, *flags])  # type: ignore[attr-defined]
        command_function.__annotations__ = {entry.name: entry.annotation for entry in (*keywords, *flags)}
        return command_function

    return decorate


def _annotation(setting: Setting) -> Any:
    assert setting.flag is not None, f"{setting.name} needs a flag for its commands"
    kind = setting.kind
    text = setting.does.replace("`", "")
    if kind.is_switch:
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return Annotated[bool | None, typer.Option(names, help=text)]
    default = setting.default_text.replace("`", "") or str(setting.default)
    text = f"{text} Default: {default}." + (" Repeat for more." if kind.repeats else "")
    # A text always: the table reads it, so that flag, variable and file are refused in the same words.
    wanted: Any = list[str] | None if kind.repeats else str | None
    return Annotated[wanted, typer.Option(setting.flag, help=text, metavar=kind.metavar)]
