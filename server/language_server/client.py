"""What the client can do, and what is sent to it only if it can."""

from __future__ import annotations

from typing import Any

from lsprotocol import types


class ClientAbilities:
    """The capabilities that matter here.

    Args:
        capabilities: what the client declared.
    """

    def __init__(self, capabilities: types.ClientCapabilities) -> None:
        workspace, window = capabilities.workspace, capabilities.window
        document = capabilities.text_document
        self.refreshes_hints = _yes(workspace, "inlay_hint", "refresh_support")
        """It asks for inlay hints again when told to."""
        self.refreshes_lenses = _yes(workspace, "code_lens", "refresh_support")
        """It asks for code lenses again when told to."""
        self.refreshes_diagnostics = _yes(workspace, "diagnostics", "refresh_support")
        """It asks for diagnostics again when told to."""
        self.pulls_diagnostics = document is not None and document.diagnostic is not None
        """It asks for diagnostics."""
        self.shows_hints = document is not None and document.inlay_hint is not None
        """It shows inlay hints."""
        self.shows_progress = bool(window and window.work_done_progress)
        """It shows progress that the server begins."""
        self.applies_edits = bool(workspace and workspace.apply_edit)
        """It takes edits from the server."""
        self.has_configuration = bool(workspace and workspace.configuration)
        """It can be asked for settings."""
        edits = workspace.workspace_edit if workspace else None
        self.creates_files = bool(edits and edits.document_changes and types.ResourceOperationKind.Create in (
            edits.resource_operations or ()
        ))  # fmt: skip
        """Edits may create files."""
        self.registers_configuration = _yes(workspace, "did_change_configuration", "dynamic_registration")
        """It tells of changed settings where that is asked for."""
        self.follows_searches = _experimental(capabilities.experimental)
        """It wants to know when searches move: `experimental.kernelevolve.searches`."""


def _yes(owner: Any, *names: str) -> bool:
    for name in names:
        owner = getattr(owner, name, None)
        if owner is None:
            return False
    return bool(owner)


def _experimental(value: Any) -> bool:
    value = plain(value)
    ours = value.get("kernelevolve") if isinstance(value, dict) else None
    return isinstance(ours, dict) and ours.get("searches") is True


def plain(value: Any) -> Any:
    """Dicts, lists and values, whatever objects the library made of a message whose type it does not know."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value
