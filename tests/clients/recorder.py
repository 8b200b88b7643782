"""A recorder between an MCP client and the server: passes everything on and writes every JSON-RPC message to a file.

Over stdio it is the program that the client starts: `python recorder.py LOG COMMAND ARGUMENT...`. It needs nothing but
the standard library, so it adds little to the start. `tests/clients/proxy.py` is the same for HTTP.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO


def note(log: Path, sender: str, message: Any, **more: Any) -> None:
    """Append one message; one write, so that several processes may share a log."""
    line = json.dumps({"from": sender, "message": message, **more}) + "\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def messages(log: Path) -> list[dict[str, Any]]:
    """What was recorded, in order: `from` is `client` or `server`, `message` is JSON-RPC."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def answers(log: Path, method: str) -> list[dict[str, Any]]:
    """The results that the server gave to a method, in order."""
    recorded = messages(log)
    asked = {one["message"].get("id") for one in recorded if one["message"].get("method") == method}
    given = (one["message"] for one in recorded if one["from"] == "server")
    return [message["result"] for message in given if message.get("id") in asked and "result" in message]


def tool_names(log: Path) -> list[str]:
    """The tools of the last `tools/list`; empty if nobody asked."""
    listed = answers(log, "tools/list")
    return [tool["name"] for tool in listed[-1]["tools"]] if listed else []


def _pass_on(log: Path, sender: str, source: BinaryIO, target: BinaryIO) -> None:
    for line in iter(source.readline, b""):
        try:
            note(log, sender, json.loads(line))
        except ValueError:
            note(log, sender, {"not_json": line.decode(errors="replace")})
        try:
            target.write(line)
            target.flush()
        except BrokenPipeError:
            break
    target.close()


def main(log: str, *command: str) -> int:
    """Run the server behind the recorder until either side ends."""
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    signal.signal(signal.SIGINT, lambda *_: server.terminate())
    assert server.stdin is not None
    assert server.stdout is not None
    client = (Path(log), "client", sys.stdin.buffer, server.stdin)
    threading.Thread(target=_pass_on, args=client, daemon=True).start()
    _pass_on(Path(log), "server", server.stdout, sys.stdout.buffer)
    return server.wait()


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # The reader of stdin may still be waiting for a client that is gone.
