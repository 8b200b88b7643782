"""The table of all settings. A new setting is a new row here; resolver, flags, `settings` and the reference follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from kernelevolve.server.setting_kinds import (
    ADDRESS,
    HOST_PORT,
    PATH,
    PLACE,
    SECRET,
    SEVERAL,
    SWITCH,
    TEXT,
    Kind,
    choice,
    number,
    whole,
)

PREFIX = "KERNELEVOLVE_"


class Files(Enum):
    """Which files may set something. A project's file comes with code of others, so it is not trusted."""

    ALL = "any file"
    STRICTER = "your own file; a project's file only to turn it on"
    OWN = "your own file"
    NONE = "no file"


@dataclass(frozen=True)
class Setting:
    """One row."""

    name: str
    """Key in a file. The variable is this in capitals after `KERNELEVOLVE_`."""
    kind: Kind
    """What values it takes."""
    does: str
    """What it is for."""
    group: str
    """Heading in the reference."""
    default: Any = None
    """Its value where nothing sets it, or a function that gives it."""
    default_text: str = ""
    """How the reference says a default that is not a plain value."""
    files: Files = Files.OWN
    """Which files may set it."""
    risk: str = ""
    """What a project's file could do with it: the reason why it may not set it."""
    flag: str | None = None
    """Flag of the commands that take it; None where there is none."""
    commands: tuple[str, ...] = ()
    """Commands that get the flag from this table (`server/setting_flags.py`)."""
    secret: bool = False
    """Never shown."""
    below: bool = False
    """Read from the environment by layers under the server: what a file says is put there."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    def default_value(self) -> Any:
        """Its value where nothing sets it."""
        return self.default() if callable(self.default) else self.default


def _state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "kernelevolve"


_PLACES, _KNOWLEDGE, _ENDPOINT = "Where things are kept", "Knowledge base", "Model behind `--synthesizer endpoint`"
_SERVER, _OTHER = "Server", "Other"
_SENDS = "it could send what you work on to another server"
_OPENS = "it could open the server to others"
_LIMITS = "it could lift a limit that protects the server"
_SPENDS = "it could spend your money"
_A_DAY_S = 86_400.0

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "state", PATH, "Folder of receipts, searches and caches.", _PLACES, _state,
        "`$XDG_STATE_HOME/kernelevolve`, else `~/.local/state/kernelevolve`",
        risk="it could choose tokens and receipts of its own", flag="--state",
    ),
    Setting(
        "database", ADDRESS, "Searches in PostgreSQL, for several machines: `postgresql+psycopg://…`.", _PLACES,
        default_text="`searches.sqlite` in the state folder", risk=_SENDS,
    ),
    Setting(
        "objects", PLACE, "Large sources and verdicts, e.g. `s3://bucket/path`.", _PLACES,
        default_text="`objects` in the state folder", risk=_SENDS,
    ),
    Setting(
        "cache_dir", PATH, "Libraries and headers built from C++ and CUDA.", _PLACES,
        default_text="`native` in the state folder", risk="it could bring libraries that are then loaded", below=True,
    ),
    Setting(
        "knowledge", PLACE, "Index of the knowledge base: a folder, or e.g. `s3://bucket/knowledge`.", _KNOWLEDGE,
        default_text="`knowledge/index` in the state folder", risk="it could choose what is held to be true",
        below=True,
    ),
    Setting(
        "embedder", TEXT, "`minilm`, `none` for full text alone, `endpoint` for a model of your own, or a plug-in.",
        _KNOWLEDGE, default_text="`minilm` where installed", risk=_SENDS, below=True,
    ),
    Setting(
        "embedder_url", ADDRESS, "Base URL of the `endpoint` embedder.", _KNOWLEDGE, risk=_SENDS, below=True
    ),
    Setting("embedder_model", TEXT, "Its model.", _KNOWLEDGE, risk=_SPENDS, below=True),
    Setting(
        "embedder_dimension", whole(1, 8192), "Length of its vectors.", _KNOWLEDGE, risk=_SPENDS, below=True
    ),
    Setting(
        "embedder_key", SECRET, "Its key.", _KNOWLEDGE, files=Files.NONE, secret=True,
    ),
    Setting(
        "endpoint_url", ADDRESS, "Base URL, up to where `/chat/completions` or `/messages` follows.", _ENDPOINT,
        risk=_SENDS, flag="--endpoint-url",
    ),
    Setting("endpoint_model", TEXT, "The server's name for the model.", _ENDPOINT, risk=_SPENDS, flag="--model"),
    Setting(
        "endpoint_format", choice("openai", "anthropic"), "What the server speaks.", _ENDPOINT,
        default_text="`openai`", risk=_SENDS, flag="--format",
    ),
    Setting("endpoint_key", SECRET, "Its key.", _ENDPOINT, files=Files.NONE, secret=True),
    Setting(
        "endpoint_max_output_tokens", whole(1, 10_000_000), "Limit of one answer, thoughts included.", _ENDPOINT,
        default_text="16000", risk=_SPENDS,
    ),
    Setting(
        "endpoint_output_limit_name", choice("max_tokens", "max_completion_tokens"),
        "How an OpenAI-compatible server calls that limit.", _ENDPOINT, default_text="`max_tokens`", risk=_SENDS,
    ),
    Setting(
        "endpoint_temperature", number(0, 100), "Sampling temperature.", _ENDPOINT,
        default_text="the server's", risk=_SPENDS,
    ),
    Setting(
        "endpoint_timeout_s", number(0.001, _A_DAY_S), "Seconds to connect in, and longest silence in an answer.",
        _ENDPOINT, default_text="120", risk=_SPENDS,
    ),
    Setting(
        "endpoint_total_timeout_s", number(0.001, _A_DAY_S), "Seconds for a whole answer.", _ENDPOINT,
        default_text="600", risk=_SPENDS,
    ),
    Setting(
        "endpoint_retries", whole(0, 100), "How often a request is sent again.", _ENDPOINT, default_text="5",
        risk=_SPENDS,
    ),
    Setting(
        "endpoint_usd_per_million_input", number(0, 1e9), "Price of a million tokens sent, US dollars.", _ENDPOINT,
        default_text="0", risk=_SPENDS,
    ),
    Setting(
        "endpoint_usd_per_million_output", number(0, 1e9), "Price of a million tokens received, US dollars.", _ENDPOINT,
        default_text="0", risk=_SPENDS,
    ),
    Setting(
        "endpoint_budget_tokens", whole(0, 10**15), "Tokens after which nothing more is asked.", _ENDPOINT,
        default_text="no limit", risk=_SPENDS,
    ),
    Setting(
        "endpoint_budget_usd", number(0, 1e12), "US dollars after which nothing more is asked.", _ENDPOINT,
        default_text="no limit", risk=_SPENDS,
    ),
    Setting(
        "http", HOST_PORT, "Serve over HTTP there; callers need a token.", _SERVER, default_text="stdio", risk=_OPENS,
        flag="--http", commands=("serve",),
    ),
    Setting(
        "workspace", PATH, "HTTP: the only folder whose tasks are taken.", _SERVER, Path(), "where it was started",
        risk=_OPENS, flag="--workspace", commands=("serve",),
    ),
    Setting(
        "read_only", SWITCH, "Answer questions; judge and search nothing.", _SERVER, False, files=Files.STRICTER,
        risk=_OPENS, flag="--read-only", commands=("serve",),
    ),
    Setting(
        "allow_host", SEVERAL, "HTTP: a further Host header that is right.", _SERVER, (), "none", risk=_OPENS,
        flag="--allow-host", commands=("serve",),
    ),
    Setting(
        "allow_origin", SEVERAL, "HTTP: an Origin that may call, e.g. https://ide.example.", _SERVER, (), "none",
        risk=_OPENS, flag="--allow-origin", commands=("serve",),
    ),
    Setting(
        "trusted_proxy", SEVERAL, "HTTP: address of a proxy whose X-Forwarded-For is believed.", _SERVER, (), "none",
        risk=_LIMITS, flag="--trusted-proxy", commands=("serve",),
    ),
    Setting(
        "rate", number(0.01, 1e6), "HTTP: requests a minute for each token.", _SERVER, 600.0, risk=_LIMITS,
        flag="--rate", commands=("serve",),
    ),
    Setting(
        "burst", whole(1, 1_000_000), "HTTP: requests of one token that may come at once.", _SERVER, 120,
        risk=_LIMITS, flag="--burst", commands=("serve",),
    ),
    Setting(
        "rate_without_token", number(0.01, 1e6),
        "HTTP: requests a minute for each address that shows no right token.", _SERVER, 60.0, risk=_LIMITS,
        flag="--rate-without-token", commands=("serve",),
    ),
    Setting(
        "max_request_bytes", whole(1024, 1 << 30), "HTTP: a larger request is refused.", _SERVER, 4 << 20,
        risk=_LIMITS, flag="--max-request-bytes", commands=("serve",),
    ),
    Setting(
        "concurrency", whole(1, 100_000), "HTTP: connections at a time; more are told to come back.", _SERVER, 256,
        risk=_LIMITS, flag="--concurrency", commands=("serve",),
    ),
    Setting(
        "sandbox", choice("auto", "bwrap", "landlock", "none"),
        "Walls around candidates: all there are, named ones, or none. What is named and missing is an error.", _SERVER,
        default_text="`auto`", risk="it could take the walls away", flag="--sandbox", commands=("serve",), below=True,
    ),
    Setting(
        "no_exec", SWITCH, "Run no code of tasks or candidates; answer from what is stored.", _SERVER, False,
        files=Files.STRICTER, risk="it could have code run", flag="--no-exec", commands=("serve",),
    ),
    Setting(
        "yes_unsandboxed", SWITCH, "Run candidates without walls where there are none, unasked.", _SERVER, False,
        risk="it could agree in your place", flag="--yes-unsandboxed", commands=("serve",),
    ),
    Setting(
        "json_logs", SWITCH, "Logs as one JSON object for each line.", _SERVER, False, files=Files.ALL,
        flag="--json-logs", commands=("serve",),
    ),
    Setting(
        "log_level", choice("debug", "info", "warning", "error"), "The least that is logged.", _SERVER, "info",
        risk="it could hide what happens", flag="--log-level", commands=("serve",),
    ),
    Setting(
        "profile_import", PATH, "What a profiler outside measured, for `profile --part import`: JSON.", _OTHER,
        default_text="none", risk="it could have any file read", below=True,
    ),
    Setting(
        "project_file", choice("auto", "none"), "`none`: no `kernelevolve.toml` is looked for.", _OTHER, "auto",
        files=Files.NONE,
    ),
)  # fmt: skip

BY_NAME = {setting.name: setting for setting in SETTINGS}
