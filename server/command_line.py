"""The command line: the same verbs as the MCP tools, with `--json` on all of them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kernelevolve.evaluation.errors import KernelEvolveError, PlatformError, TaskError
from kernelevolve.server.exit_codes import ExitCode, exit_code_of
from kernelevolve.server.rendering import stderr_console
from kernelevolve.server.settings import state_folder

app = typer.Typer(
    name="kernelevolve",
    help="Judge, search and explain accelerator kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 ok, 1 candidate refused, 2 usage, 3 unsupported here, 4 task or judge at fault, "
    "5 weak task, 130 interrupted.",
)
tasks_app = typer.Typer(help="Look at tasks.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")
warm_app = typer.Typer(help="A warm judge in the background, which makes `verify` start at once.", no_args_is_help=True)
app.add_typer(warm_app, name="warm")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="State folder. Default: KERNELEVOLVE_STATE, or ~/.local/state/kernelevolve."),
]
PlatformOption = Annotated[
    list[str],
    typer.Option("--platform", "-p", help="Platform to judge for, e.g. cpu, cuda:sm_90, hip:gfx950; repeat for more."),
]


@contextmanager
def _reported(as_json: bool) -> Iterator[None]:
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


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@app.command()
def verify(
    task: Annotated[str, typer.Argument(help="Task file or folder, or aten::<operator>.")],
    candidate: Annotated[Path, typer.Argument(help="Candidate file: .py (Triton), .cpp, .cu, .hip.")],
    platform: PlatformOption = ["cpu"],  # noqa: B006 - typer reads the default, nobody changes it
    language: Annotated[str | None, typer.Option(help="Language, where the suffix does not say.")] = None,
    baseline: Annotated[list[str], typer.Option(help="eager or compile; repeat for both.")] = ["eager"],  # noqa: B006
    trials: Annotated[int, typer.Option(min=1, help="Correctness trials with plain inputs.")] = 5,
    timed_calls: Annotated[int, typer.Option(min=0, help="Timed calls on each side; 0 leaves timing out.")] = 100,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds one answer of the candidate may take.")] = 60.0,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge one candidate: is it right, how fast is it, what does it take."""
    from kernelevolve.server.commands.verify import run_verify

    with _reported(as_json):
        verdict = run_verify(
            task, candidate, tuple(platform), language, tuple(baseline), trials, timed_calls, limit,
            state_folder(state), quiet=as_json,
        )  # fmt: skip
    if as_json:
        _print(verdict.model_dump(mode="json"))
    else:
        from kernelevolve.server.rendering import verdict_view

        Console().print(verdict_view(verdict))
    raise typer.Exit(exit_code_of(verdict.status))


@app.command()
def platforms(as_json: JsonFlag = False) -> None:
    """What can be judged here, how well, and what is missing for more."""
    from kernelevolve.server.rendering import platforms_view
    from kernelevolve.tools.list_platforms import available_platforms

    entries = available_platforms()
    if as_json:
        _print([entry.model_dump(mode="json") for entry in entries])
    else:
        Console().print(platforms_view(entries))


@app.command()
def doctor(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Check the installation: compilers, devices, protections, one kernel judged end to end."""
    from kernelevolve.server.commands.doctor import checks_view, run_doctor

    checks = run_doctor(state_folder(state), quiet=as_json)
    if as_json:
        _print([check.model_dump(mode="json") for check in checks])
    else:
        Console().print(checks_view(checks))
    raise typer.Exit(ExitCode.HARNESS if any(check.verdict == "fail" for check in checks) else ExitCode.OK)


@tasks_app.command("check")
def tasks_check(
    task: Annotated[str, typer.Argument(help="Task file or folder, or aten::<operator>.")],
    platform: Annotated[str, typer.Option("--platform", "-p", help="Where to run the reference.")] = "cpu",
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Try wrong answers on a task: a task that accepts one proves nothing."""
    from kernelevolve.server.commands.tasks import run_check, task_check_view

    with _reported(as_json):
        task_data, result = run_check(task, platform, state_folder(state))
    if as_json:
        _print({"task": task_data, "check": result.model_dump(mode="json"), "weak": result.weak})
    else:
        Console().print(task_check_view(task_data, result))
    raise typer.Exit(ExitCode.WEAK if result.weak else ExitCode.OK)


@app.command()
def optimize(
    task: Annotated[str, typer.Argument(help="Task file or folder.")],
    start: Annotated[
        Path | None, typer.Option(help="Candidate to start from. Default: the task's own for the platform.")
    ] = None,
    platform: Annotated[str, typer.Option("--platform", "-p", help="Platform to optimise for.")] = "cpu",
    evaluations: Annotated[int, typer.Option(min=1, help="Candidates to judge, at most.")] = 30,
    minutes: Annotated[float, typer.Option(min=0.01, help="Wall-clock budget in minutes.")] = 10.0,
    stall: Annotated[int, typer.Option(min=1, help="Stop after this many candidates without a gain.")] = 12,
    target: Annotated[float | None, typer.Option(help="Stop at this speed-up over the baseline.")] = None,
    baseline: Annotated[str, typer.Option(help="Baseline of the fitness: eager or compile.")] = "eager",
    seed: Annotated[int, typer.Option(help="Seed of the mutator's choices.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the winner, the receipt and the report.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a search by its id.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Search for a faster kernel with the built-in mutator; no model is needed."""
    from kernelevolve.server.commands.optimize import OptimizeArguments, run_optimize

    arguments = OptimizeArguments(
        task=task, start=start, platform=platform, evaluations=evaluations, minutes=minutes, stall=stall,
        target=target, baseline=baseline, seed=seed, output=output, resume=resume, state=state_folder(state),
    )  # fmt: skip
    with _reported(as_json):
        result = run_optimize(arguments, quiet=as_json)
    if as_json:
        _print(result)


@app.command()
def serve(state: StateOption = None) -> None:
    """Serve MCP over stdio, with a warm judge beside it."""
    from kernelevolve.server.mcp_server import serve_stdio

    serve_stdio(state_folder(state))


@warm_app.command("start")
def warm_start(
    idle: Annotated[float, typer.Option(help="Seconds without a client until it ends.")] = 1800.0,
    state: StateOption = None,
) -> None:
    """Start a warm judge for this state folder, if none runs."""
    from kernelevolve.evaluation.judge.client import start_warm_host

    with _reported(as_json=False):
        note = start_warm_host(state_folder(state), idle)
    print(f"warm judge: process {note.pid}, ends after {idle:g} s without a client")


@warm_app.command("stop")
def warm_stop(state: StateOption = None) -> None:
    """End the warm judge of this state folder."""
    from kernelevolve.evaluation.judge.client import stop_warm_host

    print("stopped" if stop_warm_host(state_folder(state)) else "none was running")


@warm_app.command("status")
def warm_status(state: StateOption = None) -> None:
    """Say whether a warm judge runs for this state folder."""
    from kernelevolve.evaluation.judge.client import warm_host

    note = warm_host(state_folder(state))
    print("none is running" if note is None else f"warm judge: process {note.pid}")


def main() -> None:
    """Entry point `kernelevolve`."""
    # A closed pipe (`| head`) ends the program quietly, as it does any other filter.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    app()


if __name__ == "__main__":
    main()
