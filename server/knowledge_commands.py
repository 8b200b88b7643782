"""`kernelevolve docs`, `knowledge …` and `pattern …`: ask the knowledge base, add to it, see what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kernelevolve.server.command_options import JsonFlag, StateOption, print_json, reported
from kernelevolve.server.settings import state_folder

knowledge_app = typer.Typer(help="The hardware knowledge base: add manuals, search, see what is in it.")
pattern_app = typer.Typer(help="Techniques learned from searches, with their evidence.", no_args_is_help=True)

PlatformFilter = Annotated[
    list[str] | None,
    typer.Option("--platform", "-p", help="e.g. H100, cuda:sm_90, hopper, amd, cpu; repeat for more."),
]
KindFilter = Annotated[
    list[str] | None,
    typer.Option("--kind", "-k", help="constraint, guidance, hardware, sample or pattern; repeat for more."),
]
LanguageFilter = Annotated[list[str] | None, typer.Option("--language", "-l", help="triton, cuda, hip, cpp; repeat.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="Passages.")]


def docs(
    query: Annotated[str, typer.Argument(help="A question, words, an identifier, or a document's id.")],
    platform: PlatformFilter = None,
    kind: KindFilter = None,
    language: LanguageFilter = None,
    limit: Limit = 5,
    neighbours: Annotated[int, typer.Option(min=0, max=5, help="Passages to add around each hit.")] = 0,
    version: Annotated[
        list[str] | None, typer.Option(help="Answer for a version, e.g. triton=3.6; repeat. Default: installed.")
    ] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the knowledge base: `kernelevolve docs "shared memory per block on H100"`."""
    from kernelevolve.server.commands.knowledge import answer_view, ask, read_view

    with reported(as_json):
        answer = ask(
            state_folder(state),
            query,
            platform or [],
            kind or [],
            language or [],
            _versions(version),
            limit,
            neighbours,
        )
    if isinstance(answer, str):
        if as_json:
            print_json({"document": query, "text": answer})
        else:
            Console().print(read_view(answer))
    elif as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        Console().print(answer_view(answer))


@knowledge_app.command("search")
def knowledge_search(
    query: Annotated[str, typer.Argument(help="A question, words, or an identifier.")],
    platform: PlatformFilter = None,
    kind: KindFilter = None,
    language: LanguageFilter = None,
    limit: Limit = 5,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """The same as `docs`."""
    docs(query, platform, kind, language, limit, 0, None, state, as_json)


@knowledge_app.command("add")
def knowledge_add(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: .md, .html, .pdf, .txt, .rst.")],
    platform: Annotated[
        list[str],
        typer.Option("--platform", "-p", help="What they hold for: a known platform, a new name, or '*'; repeat."),
    ],
    source: Annotated[str, typer.Option(help="Title of the manual, for citations. Default: the file's name.")] = "",
    kind: Annotated[str, typer.Option("--kind", "-k", help="constraint, guidance, hardware or sample.")] = "hardware",
    prune: Annotated[bool, typer.Option(help="Remove documents whose file is gone from these folders.")] = False,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Read your own manuals. Doing it again changes only what changed."""
    from kernelevolve.server.commands.knowledge import add, report_view

    with reported(as_json):
        report = add(state_folder(state), paths, platform, source, kind, prune, quiet=as_json)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        Console().print(report_view(report))


@knowledge_app.command("remove")
def knowledge_remove(
    documents: Annotated[list[str], typer.Argument(help="Ids, as `knowledge list` shows them.")],
    state: StateOption = None,
) -> None:
    """Remove documents that were added here."""
    from kernelevolve.server.commands.knowledge import remove

    with reported(as_json=False):
        remove(state_folder(state), documents)
    print(f"removed {len(documents)}")


@knowledge_app.command("list")
def knowledge_list(
    platform: PlatformFilter = None,
    kind: KindFilter = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """All documents: id, title, platforms."""
    from kernelevolve.server.commands.knowledge import documents_view, list_documents

    with reported(as_json):
        entries = list_documents(state_folder(state), platform or [], kind or [])
    if as_json:
        print_json(entries)
    else:
        Console().print(documents_view(entries))


@knowledge_app.command("stats")
def knowledge_stats(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """What is in the base, and how large it is."""
    from kernelevolve.server.commands.knowledge import stats, stats_view

    with reported(as_json):
        counts = stats(state_folder(state))
    if as_json:
        print_json(counts)
    else:
        Console().print(stats_view(counts))


@pattern_app.command("list")
def pattern_list(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """All patterns, confirmed ones first."""
    from kernelevolve.server.commands.patterns import list_patterns, patterns_view

    with reported(as_json):
        patterns = list_patterns(state_folder(state))
    if as_json:
        print_json([pattern.model_dump(mode="json") for pattern in patterns])
    else:
        Console().print(patterns_view(patterns))


@pattern_app.command("show")
def pattern_show(
    pattern_id: Annotated[str, typer.Argument(help="The id, or its beginning.")],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """A pattern with its evidence."""
    from kernelevolve.server.commands.patterns import pattern_view, show_pattern

    with reported(as_json):
        pattern, evidence = show_pattern(state_folder(state), pattern_id)
    if as_json:
        print_json(
            {**pattern.model_dump(mode="json"), "evidence": [entry.model_dump(mode="json") for entry in evidence]}
        )
    else:
        Console().print(pattern_view(pattern, evidence))


@pattern_app.command("add")
def pattern_add(
    file: Annotated[Path, typer.Argument(help="JSON with name, mechanism, method, conditions, operator, platform …")],
    node: Annotated[list[str], typer.Option("--node", help="<search id>.<step> that shows it; repeat for more.")],
    duplicate_of: Annotated[str | None, typer.Option(help="A pattern that this one is in other words.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Store a pattern; without nodes whose receipts hold it is refused."""
    from kernelevolve.server.commands.patterns import add_pattern

    with reported(as_json):
        stored, text = add_pattern(state_folder(state), file, node, duplicate_of)
    if as_json:
        print_json(stored.model_dump(mode="json"))
    else:
        print(text)


@pattern_app.command("remove")
def pattern_remove(
    pattern_id: Annotated[str, typer.Argument(help="The id, or its beginning.")], state: StateOption = None
) -> None:
    """Forget a pattern and its evidence."""
    from kernelevolve.server.commands.patterns import remove_pattern

    with reported(as_json=False):
        print(f"forgot {remove_pattern(state_folder(state), pattern_id).text.name}")


def _versions(given: list[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    versions = {}
    for text in given:
        name, equals, version = text.partition("=")
        if not equals or not name.strip() or not version.strip():
            raise typer.BadParameter(f"{text!r} is not name=version.", param_hint="--version")
        versions[name.strip().lower()] = version.strip().lstrip("=")
    return versions
