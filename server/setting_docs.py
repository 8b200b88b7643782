"""The reference in `docs/settings.md`, made from the table: `python -m kernelevolve.server.setting_docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from kernelevolve.server.setting_table import SETTINGS, Setting

BEGIN, END = "<!-- settings: made from the table of settings -->", "<!-- end of settings -->"


def reference() -> str:
    """One table in Markdown for each group of settings."""
    parts = []
    for group in dict.fromkeys(setting.group for setting in SETTINGS):
        rows = [_row(setting) for setting in SETTINGS if setting.group == group]
        head = "| setting | variable, flag | takes | default | files | does |\n| --- | --- | --- | --- | --- | --- |"
        parts.append("\n".join([f"### {group}\n", head, *rows]))
    return "\n\n".join(parts)


def with_reference(page: str) -> str:
    """A page whose part between the marks is the reference.

    Raises:
        ValueError: the page has no marks.
    """
    before, mark, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the page needs {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _row(setting: Setting) -> str:
    names = f"`{setting.variable}`" + (f", `{setting.flag}`" if setting.flag else "")
    default = setting.default_text or ("–" if setting.default is None else f"`{_plain(setting.default)}`")
    cells = (f"`{setting.name}`", names, setting.kind.allowed, default, setting.files.value, setting.does)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/settings.md")
    path.write_text(with_reference(path.read_text(encoding="utf-8")), encoding="utf-8")
