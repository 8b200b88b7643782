"""What all commands share: options, errors as messages and exit codes, JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kernelevolve.evaluation.errors import KernelEvolveError, PlatformError, TaskError
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.search.errors import SearchError
from kernelevolve.server.exit_codes import ExitCode, exit_code_of
from kernelevolve.server.rendering import stderr_console
from kernelevolve.server.setting_files import SettingError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="State folder. Default: KERNELEVOLVE_STATE, or ~/.local/state/kernelevolve."),
]


@contextmanager
def reported(as_json: bool) -> Iterator[None]:
    """Turn foreseen failures into a message and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        stderr_console().print("interrupted: everything that was started has been ended")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except KernelEvolveError as error:
        if as_json:
            body = {"status": error.status, "finding": error.finding, "summary": error.summary, "advice": error.advice}
            print(json.dumps({**body, "log": error.log}, indent=2))
        else:
            console = stderr_console()
            console.print(f"[red]{error.finding.value}[/red]: ", end="")
            console.print(str(error), markup=False, highlight=False)
            if error.log:
                console.print(error.log.rstrip(), style="dim", markup=False, highlight=False)
        fault = isinstance(error, TaskError | PlatformError)
        raise typer.Exit(ExitCode.HARNESS if fault else exit_code_of(error.status)) from error
    except SearchError as error:
        _say("search", str(error), {"summary": error.summary, "advice": error.advice}, as_json)
        raise typer.Exit(ExitCode.HARNESS) from error
    except SettingError as error:
        _say("settings", str(error), {"summary": str(error)}, as_json)
        raise typer.Exit(ExitCode.USAGE) from error
    except KnowledgeError as error:
        _say("knowledge", str(error), {"summary": str(error)}, as_json)
        raise typer.Exit(ExitCode.USAGE) from error


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _say(what: str, text: str, body: dict[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"status": f"{what}_error", **body}, indent=2))
        return
    console = stderr_console()
    console.print(f"[red]{what}[/red]: ", end="")
    console.print(text, markup=False, highlight=False)
