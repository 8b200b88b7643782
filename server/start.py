"""Entry point `kernelevolve`: a server starts at once, every other command through the command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def main() -> None:
    """Run what the program's arguments say."""
    command, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if command == "lsp":
        from kernelevolve.server.language_server.command import run as run_language_server

        raise SystemExit(run_language_server(words))
    # An editor waits for its server, and building the command line takes as long as a third of the server's start.
    run = _AT_ONCE.get(command)
    flags = plain_flags(command, words) if run is not None else None
    if run is None or flags is None:
        from kernelevolve.server.command_line import main as run_command_line

        run_command_line()
        return
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _run(run, flags)


def plain_flags(command: str, words: Sequence[str]) -> dict[str, Any] | None:
    """What a command's flags say, where all of it comes from the table of settings.

    Args:
        command: the command.
        words: what follows it.

    Returns:
        Setting → what its flag says; None where the command line has to look: for help, and for every mistake.
    """
    from kernelevolve.server.setting_table import SETTINGS

    known = {setting.flag: setting for setting in SETTINGS if command in setting.commands or setting.name == "state"}
    switches = {
        f"--{no}{flag.removeprefix('--')}": (setting.name, not no)
        for flag, setting in known.items()
        if flag is not None and setting.kind.is_switch
        for no in ("", "no-")
    }
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in switches:
            name, found_value = switches[word]
            found[name] = found_value
            continue
        flag, equals, value = word.partition("=")
        setting = known.get(flag)
        if setting is None or setting.kind.is_switch:
            return None
        value = value if equals else next(rest, "")
        if not value or value.startswith("-"):
            return None
        found[setting.name] = [*found.get(setting.name, ()), value] if setting.kind.repeats else value
    return found


def _serve(flags: Mapping[str, Any]) -> None:
    from kernelevolve.server.commands.serve import run_serve

    run_serve(flags)


def _run(command: Callable[[Mapping[str, Any]], None], flags: Mapping[str, Any]) -> None:
    """Run a command; what it raises is reported as the command line does it."""
    try:
        command(flags)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what nobody foresaw is raised again
        import typer

        from kernelevolve.server.command_options import reported

        try:
            with reported(as_json=False):
                raise error
        except typer.Exit as end:
            sys.exit(end.exit_code)


_AT_ONCE: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"serve": _serve}
"""Commands whose flags all come from the table of settings → what runs them."""
