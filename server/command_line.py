"""The command line: the same verbs as the MCP tools, with `--json` on all of them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kernelevolve.server.command_options import JsonFlag, StateOption, print_json, reported
from kernelevolve.server.commands.install import install
from kernelevolve.server.exit_codes import ExitCode, exit_code_of
from kernelevolve.server.knowledge_commands import docs, knowledge_app, pattern_app
from kernelevolve.server.sandbox_options import SandboxOption, choose_sandbox
from kernelevolve.server.setting_flags import with_settings
from kernelevolve.server.settings import Settings, state_folder
from kernelevolve.server.token_commands import token_app

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

search_app = typer.Typer(help="Look at searches, go on with them, end them.", no_args_is_help=True)
app.add_typer(search_app, name="search")
app.command()(docs)
app.add_typer(knowledge_app, name="knowledge")
app.add_typer(pattern_app, name="pattern")
app.add_typer(token_app, name="token")
app.command()(install)
bench_app = typer.Typer(help="Measure the engine and the knowledge base.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


@app.callback()
def before_every_command() -> None:
    """Judge, search and explain accelerator kernels."""
    # Layers under the server read the environment; what a file says for them is put there first.
    with reported(as_json=False):
        Settings().hand_down()


PlatformOption = Annotated[
    list[str],
    typer.Option("--platform", "-p", help="Platform to judge for, e.g. cpu, cuda:sm_90, hip:gfx950; repeat for more."),
]


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
    sandbox: SandboxOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge one candidate: is it right, how fast is it, what does it take."""
    from kernelevolve.server.commands.verify import run_verify

    with reported(as_json):
        choose_sandbox(sandbox)
        verdict = run_verify(
            task, candidate, tuple(platform), language, tuple(baseline), trials, timed_calls, limit,
            state_folder(state), quiet=as_json,
        )  # fmt: skip
    if as_json:
        print_json(verdict.model_dump(mode="json"))
    else:
        from kernelevolve.server.rendering import verdict_view

        Console().print(verdict_view(verdict))
    raise typer.Exit(exit_code_of(verdict.status))


@app.command()
def profile(
    task: Annotated[str, typer.Argument(help="Task file or folder, or aten::<operator>.")],
    candidate: Annotated[Path, typer.Argument(help="Candidate file: .py, .cpp, .cu.")],
    platform: Annotated[
        str, typer.Option("--platform", "-p", help="e.g. cuda:sm_90; its device need not be here.")
    ] = "cpu",
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="static, timeline, proton, counters, rocprof, perf or a plug-in; repeat. Default: all that fit."
        ),
    ] = None,
    imported: Annotated[
        Path | None,
        typer.Option("--import", exists=True, dir_okay=False, help="What a profiler outside measured of it: JSON."),
    ] = None,
    case: Annotated[str | None, typer.Option(help="Case to run. Default: the heaviest.")] = None,
    more: Annotated[bool, typer.Option("--more", help="Collect a second, larger set of counters.")] = False,
    language: Annotated[str | None, typer.Option(help="Language, where the suffix does not say.")] = None,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds one run of the profiled process may take.")] = 120.0,
    sandbox: SandboxOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say why a kernel takes the time it takes, on what evidence, and what to try; without its device from its code."""
    from kernelevolve.server.commands.profile import profile_view, run_profile

    with reported(as_json):
        choose_sandbox(sandbox)
        report = run_profile(
            task,
            candidate,
            platform,
            language,
            tuple(part or ()),
            imported,
            case,
            more,
            limit,
            state_folder(state),
            quiet=as_json,
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        Console().print(profile_view(report, state_folder(state)))


@app.command()
def platforms(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure bandwidth and matrix rates of the devices that are here.")
    ] = False,
    platform: Annotated[
        list[str] | None, typer.Option("--platform", "-p", help="With --calibrate: only these; repeat for more.")
    ] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What can be judged here, how well, and what is missing for more."""
    if calibrate:
        from kernelevolve.server.commands.profile import ceilings_view, run_calibrate

        with reported(as_json):
            found = run_calibrate(platform or [], state_folder(state))
        if as_json:
            print_json([entry.model_dump(mode="json") for entry in found])
        else:
            Console().print(ceilings_view(found))
        return
    from kernelevolve.server.rendering import platforms_view
    from kernelevolve.tools.list_platforms import available_platforms

    entries = available_platforms()
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
    else:
        Console().print(platforms_view(entries))


@app.command()
def doctor(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Check the installation: compilers, devices, protections, one kernel judged end to end."""
    from kernelevolve.server.commands.doctor import checks_view, run_doctor

    checks = run_doctor(state_folder(state), quiet=as_json)
    if as_json:
        print_json([check.model_dump(mode="json") for check in checks])
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

    with reported(as_json):
        task_data, result = run_check(task, platform, state_folder(state))
    if as_json:
        print_json({"task": task_data, "check": result.model_dump(mode="json"), "weak": result.weak})
    else:
        Console().print(task_check_view(task_data, result))
    raise typer.Exit(ExitCode.WEAK if result.weak else ExitCode.OK)


@app.command()
def optimize(
    task: Annotated[str, typer.Argument(help="Task file or folder, or aten::<operator>; not read with --resume.")] = "",
    start: Annotated[
        Path | None, typer.Option(help="Candidate to start from. Default: the task's own for the platform.")
    ] = None,
    platform: Annotated[str, typer.Option("--platform", "-p", help="Platform to optimise for.")] = "cpu",
    policy: Annotated[
        str, typer.Option(help="greedy, beam, mcts, evolutionary, best_of_n, random, or a plug-in.")
    ] = "greedy",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the policy, name=value; repeat for more.")
    ] = None,
    synthesizer: Annotated[str, typer.Option(help="mutator (no model) or endpoint (a model over HTTP).")] = "mutator",
    evaluations: Annotated[int, typer.Option(min=1, help="Candidates to judge, at most.")] = 30,
    minutes: Annotated[float, typer.Option(min=0.01, help="Wall-clock budget in minutes.")] = 10.0,
    stall: Annotated[int, typer.Option(min=0, help="Stop after so many candidates without a gain; 0: never.")] = 12,
    target: Annotated[float | None, typer.Option(min=0.0, help="Stop at this speed-up over the baseline.")] = None,
    usd: Annotated[float | None, typer.Option(min=0.0, help="Money a model may cost, US dollars.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens a model may use.")] = None,
    baseline: Annotated[str, typer.Option(help="Baseline of the fitness: eager or compile.")] = "eager",
    seed: Annotated[int, typer.Option(help="Seed of all choices.")] = 0,
    endpoint_url: Annotated[str | None, typer.Option(help="Base URL of the endpoint, e.g. http://host/v1.")] = None,
    model: Annotated[str | None, typer.Option(help="Model at the endpoint.")] = None,
    wire_format: Annotated[str | None, typer.Option("--format", help="openai or anthropic.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the winner, the receipt and the report.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a search by its id.")] = None,
    sandbox: SandboxOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Search for a faster kernel. The built-in mutator needs no model; an endpoint's key comes from
    KERNELEVOLVE_ENDPOINT_KEY."""
    if not task and resume is None:
        raise typer.BadParameter("Give a task, or --resume ID.", param_hint="TASK")
    if baseline not in ("eager", "compile"):
        raise typer.BadParameter(f"{baseline!r} is neither eager nor compile.", param_hint="--baseline")
    options = _options(
        baseline=baseline, evaluations=evaluations, wall_clock_s=minutes * 60, stall=stall or None,
        target_speedup=target, usd=usd, tokens=tokens, seed=seed, policy_parameters=_parameters(parameter or []),
    )  # fmt: skip
    with reported(as_json):
        choose_sandbox(sandbox)
        from kernelevolve.server.commands.optimize import OptimizeArguments, run_optimize

        arguments = OptimizeArguments(
            task=task, start=start, platform=platform, policy=policy, synthesizer=synthesizer, options=options,
            endpoint={"url": endpoint_url, "model": model, "format": wire_format}, output=output, resume=resume,
            state=state_folder(state),
        )  # fmt: skip
        result = run_optimize(arguments, quiet=as_json)
    if as_json:
        print_json(result)


def _options(**values: Any) -> Any:
    """`OptimizeOptions`, with a usage error for what is out of its range."""
    from pydantic import ValidationError

    from kernelevolve.search.options import OptimizeOptions

    try:
        return OptimizeOptions(**values)
    except ValidationError as error:
        found = error.errors()[0]
        raise typer.BadParameter(f"{found['loc'][0]} = {found['input']!r}: {found['msg'].lower()}") from error


def _parameters(given: list[str]) -> dict[str, float]:
    parameters = {}
    for text in given:
        name, _equals, value = text.partition("=")
        try:
            parameters[name.strip()] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not name=number.", param_hint="--set") from None
    return parameters


@search_app.command("list")
def search_list(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """All searches, the newest first."""
    from kernelevolve.server.commands.search import list_searches, searches_view

    with reported(as_json):
        entries = list_searches(state_folder(state))
    if as_json:
        print_json(entries)
    else:
        Console().print(searches_view(entries))


@search_app.command("show")
def search_show(
    search_id: Annotated[str, typer.Argument(help="The search.")],
    tree: Annotated[
        bool, typer.Option(help="The tree: the best nodes, the newest, and the lines they come from.")
    ] = False,
    node: Annotated[int | None, typer.Option(min=0, help="One node by its step: source and verdict.")] = None,
    events: Annotated[bool, typer.Option(help="What happened, in order.")] = False,
    as_of: Annotated[int | None, typer.Option(min=0, help="The nodes as they were right after an event.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report to this file.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How a search stands."""
    from kernelevolve.server.commands.search import show_search

    with reported(as_json):
        value, view = show_search(state_folder(state), search_id, tree, node, events, as_of, report)
    if as_json:
        print_json(value)
    else:
        Console().print(view)


@search_app.command("resume")
def search_resume(
    search_id: Annotated[str, typer.Argument(help="The search.")],
    evaluations: Annotated[int | None, typer.Option(min=1, help="A new budget of candidates.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="A new wall-clock budget.")] = None,
    stall: Annotated[int | None, typer.Option(min=0, help="Stop after so many without a gain; 0: never.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the files.")] = None,
    sandbox: SandboxOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Go on with a search that was interrupted, or that ended; what is not given stays as it was."""
    from kernelevolve.server.commands.search import resume_search

    with reported(as_json):
        choose_sandbox(sandbox)
        result = resume_search(state_folder(state), search_id, evaluations, minutes, stall, output, quiet=as_json)
    if as_json:
        print_json(result)


@search_app.command("stop")
def search_stop(
    search_id: Annotated[str, typer.Argument(help="The search.")],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """End a search: no more orders, its winner is confirmed."""
    from kernelevolve.server.commands.search import stop

    with reported(as_json):
        value, text = stop(state_folder(state), search_id)
    if as_json:
        print_json(value)
    else:
        print(text)


@search_app.command("compare")
def search_compare(
    search_ids: Annotated[list[str], typer.Argument(help="Two searches or more.")],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Searches side by side: policy, budget, best so far after a quarter, half, three quarters and all."""
    from kernelevolve.server.commands.search import compare_searches, comparison_view

    with reported(as_json):
        entries = compare_searches(state_folder(state), search_ids)
    if as_json:
        print_json(entries)
    else:
        Console().print(comparison_view(entries))


@app.command()
def export(
    search_id: Annotated[str, typer.Argument(metavar="SEARCH", help="The search.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the module, .py. Default: standard output.")
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(min=0, help="A node by its step; repeat. Default: the best of each case.")
    ] = None,
    also: Annotated[list[str] | None, typer.Option(help="A further search of the same task; repeat for more.")] = None,
    embed_reference: Annotated[bool, typer.Option(help="Carry the reference along, to fall back to.")] = True,
    allow_unexecuted: Annotated[
        bool, typer.Option("--allow-unexecuted", help="Take kernels that no device executed; the module says so.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds one answer of the module may take.")] = 120.0,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a search's best kernels as one importable module that chooses by shape and falls back to the reference."""
    with reported(as_json):
        from kernelevolve.server.commands.export import run_export
        from kernelevolve.tools.export_kernel import summary_text
        from kernelevolve.tools.export_summary import ExportRequest

        request = ExportRequest(
            search_id=search_id, steps=tuple(steps or ()), also=tuple(also or ()), embed_reference=embed_reference,
            allow_unexecuted=allow_unexecuted, limit_s=limit,
        )  # fmt: skip
        summary, text = run_export(state_folder(state), request, output, overwrite, quiet=as_json)
    if as_json:
        print_json({**summary.model_dump(mode="json"), **({} if output is not None else {"module": text})})
        return
    from kernelevolve.server.rendering import stderr_console

    stderr_console().print(summary_text(summary), markup=False, highlight=False, soft_wrap=True)
    if output is None:
        print(text, end="")


@bench_app.command("search")
def bench_search(
    task: Annotated[str | None, typer.Argument(help="Task; without one a made-up task with a known optimum.")] = None,
    platform: Annotated[str, typer.Option("--platform", "-p", help="Platform to search for.")] = "cpu",
    policy: Annotated[list[str] | None, typer.Option(help="Policy; repeat for more. Default: all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches for each policy.")] = 5,
    evaluations: Annotated[int, typer.Option(min=2, help="Candidates in each search.")] = 60,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for page, figures, searches.")] = Path(
        "kernelevolve-bench"
    ),
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare policies: the same task and budget, the built-in mutator, several seeds. What was done is not redone."""
    with reported(as_json):
        from kernelevolve.search.policies import policies
        from kernelevolve.server.commands.bench import BenchArguments, run_bench_search

        chosen = tuple(policy) if policy else tuple(policies())
        arguments = BenchArguments(task, platform, chosen, seeds, evaluations, output, state_folder(state))
        result = run_bench_search(arguments, quiet=as_json)
    if as_json:
        print_json(result)


@bench_app.command("retrieval")
def bench_retrieval(
    questions: Annotated[
        list[Path] | None, typer.Argument(help="JSONL files of your own questions. Default: the shipped ones.")
    ] = None,
    split: Annotated[str, typer.Option(help="tuning, held_out or all.")] = "held_out",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the figures.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the knowledge base questions with known answers: recall and nDCG for words, vectors and both."""
    with reported(as_json):
        from kernelevolve.server.commands.bench_retrieval import run_bench_retrieval

        result = run_bench_retrieval(state_folder(state), questions or [], split, output, quiet=as_json)
    if as_json:
        print_json(result)


@app.command()
@with_settings("serve")
def serve(state: StateOption = None, **settings: Any) -> None:
    """Serve MCP over stdio, or over HTTP, with a warm judge beside it."""
    from kernelevolve.server.commands.serve import run_serve

    with reported(as_json=False):
        run_serve({"state": state, **settings})


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    short_help="Serve editors: what a kernel costs on every target, while it is written.",
)
def lsp(context: typer.Context) -> None:
    """Language server on stdio or TCP. The entry point leads there without coming through here (`server/entry.py`)."""
    from kernelevolve.server.language_server.command import run

    raise typer.Exit(run(context.args))


@app.command("settings")
def show_settings(as_json: JsonFlag = False) -> None:
    """Every setting: its value and where that comes from."""
    from kernelevolve.server.commands.settings import run_settings, settings_view

    with reported(as_json):
        found = run_settings()
    if as_json:
        print_json(found)
    else:
        Console().print(settings_view(found))


@warm_app.command("start")
def warm_start(
    idle: Annotated[float, typer.Option(help="Seconds without a client until it ends.")] = 1800.0,
    state: StateOption = None,
) -> None:
    """Start a warm judge for this state folder, if none runs."""
    from kernelevolve.evaluation.judge.client import start_warm_host

    with reported(as_json=False):
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
