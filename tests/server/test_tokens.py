"""The token file: read once for each change of it, and every change counts at the next question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.server.tokens import Scope, TokenError, TokenStore


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the token files whose content was read."""
    found: list[str] = []
    load = json.load

    def counted(file: Any) -> Any:
        found.append(Path(file.name).name)
        return load(file)

    monkeypatch.setattr("kernelevolve.server.tokens.json.load", counted)
    return found


def test_the_file_is_read_once_however_often_somebody_asks(tmp_path: Path, readings: list[str]) -> None:
    _token, secret = TokenStore(tmp_path).create("one", Scope.READ)
    server = TokenStore(tmp_path)
    readings.clear()

    for _ in range(5):
        assert server.find(secret) is not None
        assert server.find("kev_wrong") is None
        assert len(server.tokens()) == 1

    assert readings == ["tokens.json"]


def test_what_another_process_changes_counts_at_the_next_question(tmp_path: Path, readings: list[str]) -> None:
    other, server = TokenStore(tmp_path), TokenStore(tmp_path)
    assert server.tokens() == []
    _token, secret = other.create("one", Scope.READ)
    assert server.find(secret) is not None

    for number in range(20):
        other.revoke("one")
        assert server.find(secret) is None, number
        _token, secret = other.create("one", Scope.READ)
        assert server.find(secret) is not None, number


def test_a_file_that_is_edited_in_its_place_is_read_again(tmp_path: Path) -> None:
    _token, secret = TokenStore(tmp_path).create("one", Scope.READ)
    server, path = TokenStore(tmp_path), tmp_path / "tokens.json"
    assert server.find(secret) is not None
    before = path.stat()

    path.write_text(path.read_text().replace('"read"', '"none"'))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)
    with pytest.raises(TokenError, match="mend or remove it"):
        server.find(secret)
    with pytest.raises(TokenError, match="mend or remove it"):
        server.find(secret)


def test_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    _token, secret = TokenStore(tmp_path).create("one", Scope.READ)
    server = TokenStore(tmp_path)
    assert server.find(secret) is not None

    (tmp_path / "tokens.json").unlink()

    assert server.find(secret) is None
    assert server.tokens() == []


def test_nobody_can_change_what_is_remembered(tmp_path: Path) -> None:
    TokenStore(tmp_path).create("one", Scope.READ)
    server = TokenStore(tmp_path)
    server.tokens().clear()
    assert len(server.tokens()) == 1
