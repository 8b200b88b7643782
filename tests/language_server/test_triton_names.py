"""The names of `triton.language`, read without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from kernelevolve.server.language_server.lints import triton_names

pytest.importorskip("triton", reason="Triton is not installed")


def test_they_are_those_that_the_import_would_show() -> None:
    code = "import json, triton.language as tl; print(json.dumps([dir(tl), dir(tl.math)]))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    language, math = ({name for name in names if not name.startswith("_")} for names in json.loads(child.stdout))

    known = triton_names.known_names()

    assert language <= known["tl"]
    # A module that nobody imported yet is no attribute.
    assert known["tl"] - language <= {"semantic"}
    assert math <= known["tl.math"]


def test_the_shipped_names_are_those_of_the_version_that_they_name() -> None:
    path = Path(triton_names.__file__).with_name("triton_names.json")
    shipped = json.loads(path.read_text(encoding="utf-8"))
    if shipped["version"] != metadata.version("triton"):
        pytest.skip(f"another Triton is installed than {shipped['version']}, of which the names are shipped")
    folder = triton_names.language_folder()
    assert folder is not None

    assert triton_names.table(folder) == path.read_text(encoding="utf-8")


def test_without_triton_the_shipped_names_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_names, "language_folder", lambda: None)
    triton_names.words.cache_clear()
    try:
        assert triton_names.words()["dot"].signature.startswith("(input, other, acc=None")
        assert triton_names.words()["dot"].text == ""
    finally:
        triton_names.words.cache_clear()


def test_a_word_says_its_arguments_and_its_docstring() -> None:
    load = triton_names.words()["load"]

    assert load.signature.startswith("(pointer, mask=None, other=None")
    assert "_semantic" not in load.signature
    assert "`pointer`" in load.text
