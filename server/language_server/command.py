"""`kernelevolve lsp`: read its arguments, start the server on stdio or TCP."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_DEFAULT_PORT = 2087


def parser() -> argparse.ArgumentParser:
    """The arguments. `argparse`, since importing the command line's library would double the time of the start."""
    found = argparse.ArgumentParser(
        prog="kernelevolve lsp", description="Language server for Triton, C++ and CUDA kernels, on stdio or TCP."
    )
    found.add_argument("--stdio", action="store_true", help="Speak on stdin and stdout. This is the default.")
    found.add_argument("--tcp", action="store_true", help="Wait for one client on a TCP port.")
    found.add_argument("--host", default="127.0.0.1", help="Address to wait on. Default: 127.0.0.1.")
    found.add_argument("--port", type=int, default=_DEFAULT_PORT, help=f"Port to wait on. Default: {_DEFAULT_PORT}.")
    found.add_argument(
        "--state", type=Path, help="State folder. Default: KERNELEVOLVE_STATE, or ~/.local/state/kernelevolve."
    )
    found.add_argument("--verbose", action="store_true", help="Log every message to stderr.")
    # Editors append flags of their own conventions, such as --clientProcessId; they change nothing here.
    found.add_argument("--clientProcessId", type=int, help=argparse.SUPPRESS)
    return found


def run(arguments: Sequence[str]) -> int:
    """Serve until the client is done.

    Returns:
        The exit code.
    """
    given = parser().parse_args(arguments)
    if given.tcp and given.stdio:
        parser().error("--tcp and --stdio exclude each other")
    logging.basicConfig(
        level=logging.DEBUG if given.verbose else logging.CRITICAL, stream=sys.stderr, format="%(name)s: %(message)s"
    )
    from kernelevolve.server.language_server.server import build_server

    server = build_server(given.state)
    if given.tcp:
        print(f"kernelevolve lsp waits on {given.host}:{given.port}", file=sys.stderr, flush=True)
        server.start_tcp(given.host, given.port)
        return 0
    # Whatever prints to stdout from here on must not get between the messages.
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server.start_io(sys.stdin.buffer, messages)
    return 0
