"""`kernelevolve serve`: MCP over stdio or HTTP, with what the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelevolve.server.settings import SettingError, Settings


def run_serve(flags: Mapping[str, Any]) -> None:
    """Serve until the client hangs up (stdio) or the process is told to end (HTTP).

    Args:
        flags: setting → what its flag says, None where it was not given.

    Raises:
        SettingError: a setting can't be used, or nobody could connect.
    """
    from kernelevolve.server.tokens import Scope, TokenError

    settings = Settings(flags)
    settings.check()
    settings.hand_down()
    from kernelevolve.server.logs import configure_logging
    from kernelevolve.server.sandbox_rules import execution_rules
    from kernelevolve.server.tracing import configure_tracing, end_as_told

    configure_logging(settings.value("json_logs"), settings.value("log_level"))
    traced = configure_tracing()
    most = Scope.READ if settings.value("read_only") else Scope.ADMIN
    state, address = settings.value("state"), settings.value("http")
    execution = execution_rules(
        settings.value("sandbox"), settings.value("no_exec"), settings.value("yes_unsandboxed"), ask=address is None
    )
    if address is None:
        from kernelevolve.server.mcp_server import serve_stdio

        serve_stdio(state, most, execution)
        return
    from kernelevolve.server.farewell import serve_http
    from kernelevolve.server.http import PATH, http_app
    from kernelevolve.server.limits import Limits
    from kernelevolve.server.logs import event

    host, _, port = address.rpartition(":")
    workspace = _folder(settings)
    limits = Limits(
        settings.value("rate"), settings.value("burst"), settings.value("rate_without_token"),
        settings.value("max_request_bytes"),
    )  # fmt: skip
    try:
        app = http_app(
            state, host, int(port), workspace, most, settings.value("allow_host"), settings.value("allow_origin"),
            limits, execution,
        )  # fmt: skip
    except TokenError as error:
        raise SettingError(str(error)) from error
    if traced:
        end_as_told()
    event("serving", url=f"http://{address}{PATH}", dashboard=f"http://{address}/", workspace=str(workspace))
    serve_http(app, host, int(port), settings.value("concurrency"), settings.value("trusted_proxy"))


def _folder(settings: Settings) -> Path:
    """The workspace, which must be there."""
    found = settings.resolve("workspace")
    try:
        workspace: Path = found.value.resolve(strict=True)
    except OSError as error:
        raise SettingError(f"The workspace {found.value} ({found.source}) can't be used: {error.strerror}.") from error
    if not workspace.is_dir():
        raise SettingError(f"The workspace {workspace} ({found.source}) is no folder.")
    return workspace
