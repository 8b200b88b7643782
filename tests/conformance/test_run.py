"""What the runner of the conformance suite makes of its results, and the packages that it installs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run import judge

ROOT = Path(__file__).parents[1]


def check(key: str, status: str = "SUCCESS") -> dict[str, Any]:
    return {"id": key, "status": status, "errorMessage": "because"}


@pytest.mark.parametrize(
    ("found", "excused", "wrong"),
    [
        ({"ping": [check("a"), check("b")]}, {}, []),
        ({"ping": [check("a"), check("b", "FAILURE")]}, {}, ["ping: b: because"]),
        ({"ping": [check("a"), check("b", "WARNING")]}, {}, ["ping: b: because"]),
        ({"ping": [check("a"), check("b", "FAILURE")]}, {"ping": ("b",)}, []),
        ({"ping": [check("a"), check("b")]}, {"ping": ("b",)}, ["ping: b passes, so it is no exception"]),
        ({"ping": [check("a", "SKIPPED")]}, {}, ["ping: no check passed"]),
        ({"ping": []}, {}, ["ping: no check passed"]),
        ({}, {}, ["ping: did not run"]),
    ],
)
def test_nothing_passes_by_not_running(
    found: dict[str, list[dict[str, Any]]], excused: dict[str, tuple[str, ...]], wrong: list[str]
) -> None:
    assert judge(found, {"ping"}, excused) == wrong


@pytest.mark.parametrize("folder", ["conformance", "inspector"])
def test_packages_are_pinned_by_content_and_name_no_registry(folder: str) -> None:
    wanted = json.loads((ROOT / folder / "package.json").read_text())
    text = (ROOT / folder / "package-lock.json").read_text()
    packages = {path: entry for path, entry in json.loads(text)["packages"].items() if path}
    assert all(entry["integrity"].startswith("sha") for entry in packages.values())
    assert not [path for path, entry in packages.items() if "resolved" in entry]
    for group in ("dependencies", "optionalDependencies"):
        for name, version in wanted[group].items():
            assert packages[f"node_modules/{name}"]["version"] == version
