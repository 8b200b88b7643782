"""One function for each border: it takes made-up data, and lets pass only the errors that the border promises."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, TaskError
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError, ReceiveTimeoutError
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.language import EntryPoint, get_language
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.server.setting_files import SettingError, SettingsFile
from kernelevolve.server.setting_table import BY_NAME, SETTINGS
from kernelevolve.server.settings import _read

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz"))
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    | st.tuples(inner, inner),
    max_leaves=6,
)  # fmt: skip
_OPTIONS = ("CASES", "DTYPES", "TOLERANCES", "LAYOUTS", "SPECIAL_VALUES", "BACKWARD", "ALLOW_TF32", "STARTING_POINTS",
            "flops", "bytes", "reference", "make_inputs", "Model", "get_inputs")  # fmt: skip
_GOOD = {"CASES": {"a": {"rows": 2}}, "DTYPES": ["float32"], "LAYOUTS": ["contiguous", "strided"],
         "TOLERANCES": {"float32": {"rtol": 0.1}}, "BACKWARD": False}  # fmt: skip
_WORDS = st.sampled_from(
    ["def ", "kernel", "(x)", ":", "\n", "    ", "return x", "class ModelNew", "@triton.jit\n", "void kernel(",
     "TensorView", " x, ", "TensorView out)", "{", "}", "//", "/*", "*/", '"', "'", "#include <", "../",
     "// kernelevolve: flags -O3",
     "-fplugin=x", "\0", "\\", "import ", "=", "lambda", "\ud800", "\u2028", ";"]
)  # fmt: skip
SOURCES = st.text(max_size=200) | st.lists(_WORDS, max_size=30).map("".join)


def frames(data: bytes) -> None:
    """The judge's end of a worker's socket: any bytes are messages, a closed connection, or a wait that ends."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    try:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        while True:
            message = channel.receive(time.monotonic() + 5)
            assert isinstance(message.body, dict)
    except ChannelClosedError:
        pass
    except ReceiveTimeoutError as error:
        raise AssertionError("an ended connection was waited for") from error
    finally:
        channel.close()
        theirs.close()


def candidate(source: str) -> None:
    """Sources of every language: an entry point, or a refusal with a sentence in it."""
    for name in ("triton", "cpp", "cuda", "hip"):
        try:
            made = Candidate(language=name, source=source)
        except ValidationError:
            continue
        try:
            assert isinstance(get_language(name).read(made), EntryPoint)
        except CandidateError as error:
            assert error.summary  # noqa: PT017 - most inputs raise nothing


def task(options: dict[str, Any]) -> None:
    """Task files whose names hold anything: a task that can be hashed, or a refusal that names the file."""
    path = _FOLDER / "task.py"
    lines = ["inf, nan = float('inf'), float('nan')", "reference = make_inputs = lambda *a: a"]
    lines += [f"{name} = {value!r}" for name, value in {**_GOOD, **options}.items()]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    try:
        loaded = load_task(path)
        assert len(loaded.task.task_hash) == 64
    except TaskError as error:
        assert error.summary  # noqa: PT017
        assert error.advice  # noqa: PT017
    finally:
        for name in [name for name in sys.modules if name.startswith("kernelevolve_task_")]:
            del sys.modules[name]


def task_text(text: str) -> None:
    """Task files of any text that does nothing: never more than an unreadable task."""
    path = _FOLDER / "text.py"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(TaskError):
        load_task(path)


def request(body: dict[str, Any]) -> None:
    """What a client may send: a request, or pydantic's word on what is wrong with it."""
    for model in (JudgeRequest, Verdict):
        with contextlib.suppress(ValidationError):
            model.model_validate(body)


def settings_file(text: str) -> None:
    """A settings file of any text, the user's own or a project's: every value is read, or the error says why not."""
    path = _FOLDER / "kernelevolve.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for trusted in (True, False):
        try:
            file = SettingsFile(path, trusted)
            for name in file.values:
                file.read(BY_NAME[name], _read)
        except SettingError as error:
            assert str(error)  # noqa: PT017


def _toml() -> st.SearchStrategy[str]:
    names = st.sampled_from([setting.name for setting in SETTINGS]) | st.text(max_size=8)
    values = st.one_of(_PLAIN, st.lists(_PLAIN, max_size=3)).map(lambda value: re.sub("None", '""', repr(value)))
    line = st.builds(lambda name, value: f"{name} = {value}", names, values)
    return st.text(max_size=80) | st.lists(line, max_size=4).map("\n".join)


def _framed(body: bytes, length: int, descriptors: int) -> bytes:
    return (length & 0xFFFFFFFF).to_bytes(4, "big") + bytes([descriptors]) + body


FRAMES = st.binary(max_size=200) | st.lists(
    st.builds(
        lambda body, off, count: _framed(body, len(body) + off, count),
        st.sampled_from([b"{}", b"[]", b'{"a": 1}', b"nan", b'{"a": ', b"[" * 5000, b'"\\ud800"', b"\xff\xfe"])
        | st.binary(max_size=30),
        st.sampled_from([0, 0, 0, 1, -1, 1 << 31]),
        st.sampled_from([0, 0, 1, 8, 9, 255]),
    ),
    max_size=4,
).map(b"".join)
_REQUEST_NAMES = st.sampled_from([*JudgeRequest.model_fields, *Verdict.model_fields, "language", "source"])
TARGETS: dict[str, tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = {
    "worker frames": (frames, FRAMES),
    "candidates": (candidate, SOURCES),
    "task options": (task, st.dictionaries(st.sampled_from(_OPTIONS), VALUES, max_size=3)),
    "task text": (task_text, st.text(max_size=60)),
    "requests": (request, st.dictionaries(_REQUEST_NAMES, VALUES, max_size=6)),
    "settings": (settings_file, _toml()),
}
"""Border → what to call, and with what."""
