"""A workspace may hold files that are called like modules: nothing of ours imports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.language_server.profiles import session_of

SHADOWS = ("json", "torch", "numpy", "dataclasses", "pydantic", "kernelevolve")


@pytest.mark.slow
def test_modules_of_the_workspace_are_not_imported(tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    with session_of("neovim@v0.11", tmp_path) as session:
        for name in SHADOWS:
            text = f"open({str(marker)!r}, 'a').write({name!r} + chr(10))\nraise ImportError('of the workspace')\n"
            (session.project / f"{name}.py").write_text(text)
        uri, text = session.open("triton.py")
        status = session.run(session.client.protocol.send_request_async("kernelevolve/status", {}))
        assert status.triton is not None
        verdict = session.execute("kernelevolve.verify", {"uri": uri, "timedCalls": 0})
        assert verdict["status"] in ("compiles", "correct"), verdict
        profile = session.execute("kernelevolve.profile", {"uri": uri})
        assert profile["summary"]
    assert not marker.exists(), marker.read_text()
