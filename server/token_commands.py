"""`kernelevolve token`: who may use the HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kernelevolve.server.command_options import JsonFlag, StateOption, print_json
from kernelevolve.server.exit_codes import ExitCode
from kernelevolve.server.rendering import stderr_console
from kernelevolve.server.settings import state_folder

token_app = typer.Typer(help="Bearer tokens for the HTTP server.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Who will hold it.")],
    scope: Annotated[
        str, typer.Option(help="read, evaluate, search or admin; each allows what is before it.")
    ] = "search",
    days: Annotated[float | None, typer.Option(help="Days until it expires. Default: never.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a bearer token for the HTTP server. It is shown this once; only its hash is kept."""
    from kernelevolve.server.tokens import Scope

    if scope not in set(Scope):
        raise typer.BadParameter(f"{scope!r} is none of {', '.join(Scope)}.", param_hint="--scope")
    with _token_errors():
        token, secret = _tokens(state).create(name, Scope(scope), days)
    if as_json:
        print_json({"name": token.name, "scope": token.scope, "expires": token.expires, "token": secret})
    else:
        print(secret)
        stderr_console().print(
            f"{token.name}, {token.scope.value}: keep it safe, it is not shown again", highlight=False
        )


@token_app.command("list")
def token_list(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """The tokens, without their secrets."""
    with _token_errors():
        entries = _tokens(state).tokens()
    if as_json:
        print_json([entry.model_dump(mode="json", exclude={"digest"}) for entry in entries])
        return
    for entry in entries:
        ended = f"revoked {entry.revoked}" if entry.revoked else f"until {entry.expires}" if entry.expires else ""
        print(f"{entry.name:24} {entry.scope.value:9} made {entry.made}  {ended}".rstrip())
    if not entries:
        print("none")


@token_app.command("revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(help="Whose token is refused from now on.")], state: StateOption = None
) -> None:
    """Refuse a token from now on."""
    with _token_errors():
        _tokens(state).revoke(name)
    print(f"revoked {name}")


def _tokens(state: Path | None) -> Any:
    from kernelevolve.server.tokens import TokenStore

    return TokenStore(state_folder(state))


@contextmanager
def _token_errors() -> Iterator[None]:
    from kernelevolve.server.tokens import TokenError

    try:
        yield
    except TokenError as error:
        stderr_console().print(str(error), markup=False, highlight=False)
        raise typer.Exit(ExitCode.USAGE) from error
