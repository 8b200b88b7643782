"""The table of known hacks in docs/threat-model.md: guards and folders of each row come from the zoo.

`python -m tests.hacks.threat_table` writes them; a test holds the page to the folders.
"""

from __future__ import annotations

import re

from tests.hacks.zoo import GPU, ROOT, hacks

PAGE = ROOT.parents[1] / "docs" / "threat-model.md"
_SHOWN = 4
_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \|[^|]*\|[^|]*\|$", re.MULTILINE)


def with_rows(page: str) -> str:
    """The page with its two last columns made anew; rows and their names stay as they are written there."""
    folders: dict[int, list[str]] = {}
    guards: dict[int, list[str]] = {}
    for prefix, zoo in (("", hacks()), ("gpu/", hacks(GPU))):
        for hack in zoo:
            for row in hack.rows:
                folders.setdefault(row, []).append(prefix + hack.name)
                if not hack.open:
                    guards.setdefault(row, []).append(hack.caught_by)

    def made(match: re.Match[str]) -> str:
        row, name = int(match[1]), match[2]
        names = folders.get(row, [])
        shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        caught = ", ".join(f"`{guard}`" for guard in dict.fromkeys(guards.get(row, [])))
        return f"| {row} | {name} | {caught} | {shown}{more} |"

    return _ROW.sub(made, page)


if __name__ == "__main__":
    PAGE.write_text(with_rows(PAGE.read_text()))
