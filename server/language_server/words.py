"""What the word under the cursor means, and which could come next: from Triton's texts and the knowledge base.

Nothing is imported from Triton, and nothing is searched: the first answer reads some files, the others take
milliseconds. `warm_up` does the reading beforehand.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from kernelevolve.evaluation.platforms.spec_sheets import fields, spec_sheet_for
from kernelevolve.server.language_server.lints.triton_names import Word, triton_version, words
from kernelevolve.server.language_server.notes import Note, notes, page

_TABLE = Path(__file__).with_name("words.toml")
_WORD = re.compile(r"[A-Za-z_][\w]*(?:(?:\.|::)[A-Za-z_0-9][\w]*)*")
_IMPORT = re.compile(
    r"^\s*(?:import\s+triton\.language\s+as\s+(\w+)|from\s+triton\s+import\s+language\s+as\s+(\w+))", re.M
)
_LAUNCH = ("num_warps", "num_stages", "num_ctas", "maxnreg", "waves_per_eu", "matrix_instr_nonkdim", "kpack")
_SEVERAL_FIELDS = 6
_MOST_COMPLETIONS = 300
_REDUCTIONS = {
    "sum": "Sum of a block along an axis.",
    "max": "Maximum of a block along an axis, on request with its index.",
    "min": "Minimum of a block along an axis, on request with its index.",
    "argmax": "Index of the maximum along an axis.",
    "argmin": "Index of the minimum along an axis.",
    "xor_sum": "Exclusive or of a block's integers along an axis.",
    "reduce_or": "Inclusive or of a block's integers along an axis.",
    "cumsum": "Running sum along an axis.",
    "cumprod": "Running product along an axis.",
}
"""What Triton's own docstrings make from a template, which cannot be read without running it."""

CompletionKind = Literal["function", "class", "constant", "module", "property", "text"]


@dataclass(frozen=True)
class Explanation:
    """A hover: Markdown, and the range it is of (from 0, code points, end exclusive)."""

    markdown: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Completion:
    """A word that could come next."""

    label: str
    kind: CompletionKind
    detail: str
    """One line, e.g. the signature."""
    documentation: str
    """Markdown."""
    insert_text: str


@dataclass(frozen=True)
class Term:
    """An entry of `words.toml`."""

    name: str
    text: str
    documents: tuple[str, ...]
    fields: tuple[str, ...]


def explain(text: str, line: int, column: int, targets: Sequence[str]) -> Explanation | None:
    """What the word at a place means.

    Args:
        text: Python, C++ or CUDA.
        line: from 0.
        column: from 0, in code points.
        targets: platforms whose numbers and rules are shown, e.g. `cuda:sm_90`.

    Returns:
        Markdown; None where the word is none of ours.
    """
    lines = text.splitlines()
    if not 0 <= line < len(lines):
        return None
    for match in _WORD.finditer(lines[line]):
        if match.start() <= column <= match.end():
            written, start = match[0], match.start()
            # The part up to the one under the cursor: `tl` of `tl.dot` is another word.
            end = next((p for p in _ends(written) if start + p >= column), len(written))
            for candidate in (written,) if _is_instruction(written) else (written[:end], written):
                markdown = _markdown(text, lines[line], candidate, targets)
                if markdown is not None:
                    return Explanation(markdown, line, start, line, start + len(candidate))
            return None
    return None


def complete(text: str, line: int, column: int, targets: Sequence[str]) -> list[Completion]:
    """Words that could stand at a place: names of `tl.` after its alias, launch options inside a call's brackets."""
    lines = text.split("\n")
    if not 0 <= line < len(lines):
        return []
    before = lines[line][:column]
    attribute = re.search(r"([A-Za-z_][\w.]*)\.(\w*)$", before)
    if attribute is not None:
        return _attributes(text, attribute[1], attribute[2], targets)
    keyword = re.search(r"(?:[(,]|^)\s*(\w*)$", before)
    if keyword is None or not _takes_options(lines, line, column):
        return []
    return [
        Completion(f"{name}=", "property", "launch option", _term_markdown(term, targets), f"{name}=")
        for name, term in _terms("option").items()
        if name in _LAUNCH and name.startswith(keyword[1])
    ]


def warm_up() -> None:
    """Read the files that `explain` and `complete` need; takes a few tenths of a second."""
    words()
    notes("tl.load", ())
    _terms("term")
    spec_sheet_for("sm_90")


def _ends(written: str) -> list[int]:
    """Ends of the parts of a dotted word."""
    return [match.start() for match in re.finditer(r"\.|::", written)] + [len(written)]


def _markdown(text: str, row: str, written: str, targets: Sequence[str]) -> str | None:
    """The hover of a word, or of a word that it is another spelling of."""
    name = _canonical(text, written)
    if name.startswith("tl.") and (word := words().get(name[3:])) is not None:
        return _word_markdown(word, targets)
    if (option := _terms("option").get(written)) is not None:
        return _term_markdown(option, targets)
    if (term := _term(written)) is not None and _is_prose(row, written):
        return _term_markdown(term, targets)
    return _notes_markdown(written, targets) if _is_instruction(written) else None


def _canonical(text: str, written: str) -> str:
    """`tl.dot` for whatever the text calls triton.language."""
    head, _, rest = written.partition(".")
    if written.startswith("triton.language."):
        return "tl." + written.removeprefix("triton.language.")
    aliases = {name for match in _IMPORT.findall(text) for name in match if name} | {"tl"}
    return f"tl.{rest}" if head in aliases and rest else written


def _word_markdown(word: Word, targets: Sequence[str]) -> str:
    code = f"```python\ntl.{word.name}{word.signature}\n```"
    about = word.text or _REDUCTIONS.get(word.name, "")
    version = ".".join(map(str, triton_version()))
    parts = [code, about, *_note_lines(notes(f"tl.{word.name}", targets)), f"*Triton {version}*"]
    return "\n\n".join(part for part in parts if part)


def _term_markdown(term: Term, targets: Sequence[str]) -> str:
    links = [f"[{head.title}]({head.uri})" for each in term.documents if (head := page(each)) is not None]
    parts = [f"**{term.name.replace('_', ' ') if term.name not in _LAUNCH else term.name}**: {term.text}"]
    parts += [_numbers(term, targets), " · ".join(links)]
    return "\n\n".join(part for part in parts if part)


def _numbers(term: Term, targets: Sequence[str]) -> str:
    """The spec sheets' numbers for each target, as a list."""
    rows = []
    for target in targets:
        sheet = spec_sheet_for(target.partition(":")[2].rstrip("a"))
        known = [name for name in term.fields if name in sheet.facts][:_SEVERAL_FIELDS]
        if known:
            facts = ", ".join(f"{fields()[name].label} {sheet.facts[name].text}" for name in known)
            rows.append(f"- {sheet.chip} (`{target}`): {facts}")
    return "\n".join(rows)


def _notes_markdown(name: str, targets: Sequence[str]) -> str | None:
    found = notes(name, targets)
    if not found and "." in name:
        # `cp.async.bulk.tensor.2d.shared::cluster` is an instruction with modifiers.
        return _notes_markdown(name.rpartition(".")[0], targets)
    return "\n\n".join([f"**`{name}`**", *_note_lines(found)]) if found else None


def _note_lines(found: Sequence[Note]) -> Iterator[str]:
    for note in found:
        yield f"{note.text} [{note.page.title}]({note.page.uri})"


def _is_instruction(written: str) -> bool:
    """Whether it looks like an instruction or an intrinsic rather than a variable."""
    if written.startswith(("__", "v_", "s_", "ds_", "global_", "buffer_", "_mm", "hip", "cuda")):
        return True
    return written.split(".")[0] in _PTX


_PTX = frozenset(
    """
    cp ld st mma wgmma mbarrier ldmatrix stmatrix tcgen05 fence red atom bar barrier shfl vote match redux prefetch
    createpolicy discard applypriority griddepcontrol setmaxnreg nanosleep mapa getctarank elect cvt ex2 lg2 tanh
    rcp rsqrt fma membar isspacep cvta multimem clusterlaunchcontrol
    """.split()
)
"""First parts of PTX instructions that the documents speak of."""


def _is_prose(row: str, written: str) -> bool:
    """Whether the word stands in a comment or a string, or is long enough to mean only this."""
    place = row.find(written)
    before = row[:place]
    in_comment = "#" in before or "//" in before or row.lstrip().startswith(("*", "/*"))
    in_string = before.count('"') % 2 == 1 or before.count("'") % 2 == 1
    return in_comment or in_string or not re.search(r"[=(),:;]", row)


def _term(written: str) -> Term | None:
    wanted = _plain(written)
    for name in (wanted, wanted.removesuffix("s"), wanted.removesuffix("es"), wanted.removesuffix("ed")):
        if (found := _by_plain_name().get(name)) is not None:
            return found
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _by_plain_name() -> Mapping[str, Term]:
    return {_plain(name): term for name, term in _terms("term").items()}


@cache
def _terms(kind: Literal["term", "option"]) -> Mapping[str, Term]:
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))[kind]

    def term(name: str) -> Term:
        entry = table[table[name].get("same", name)]
        return Term(name, entry["text"], tuple(entry["documents"]), tuple(entry["fields"]))

    return {name: term(name) for name in table}


def _attributes(text: str, owner: str, prefix: str, targets: Sequence[str]) -> list[Completion]:
    """What `tl.` and `tl.math.` offer."""
    name = _canonical(text, f"{owner}._").removesuffix("._")
    if name not in ("tl", "tl.math"):
        return []
    within = name.removeprefix("tl").removeprefix(".")
    found = []
    for word in words().values():
        parent, _, leaf = word.name.rpartition(".")
        if parent != within or not leaf.startswith(prefix) or (within and word.kind == "value"):
            continue
        kinds: dict[str, CompletionKind] = {"function": "function", "class": "class", "module": "module"}
        found.append(
            Completion(
                leaf,
                kinds.get(word.kind, "constant"),
                f"{leaf}{word.signature}",
                _word_markdown(word, targets),
                leaf,
            )
        )
    return sorted(found, key=lambda each: each.label)[:_MOST_COMPLETIONS]


def _takes_options(lines: list[str], line: int, column: int) -> bool:
    """Whether the open bracket around a place is that of a launch `kernel[grid](` or of `triton.Config(`."""
    depth = 0
    place, row = line, lines[line][:column]
    for _ in range(60):
        for at in range(len(row) - 1, -1, -1):
            if row[at] in ")]}":
                depth += 1
            elif row[at] in "([{":
                if depth == 0:
                    return row[at] == "(" and bool(re.search(r"(\]|\bConfig)\s*$", row[:at]))
                depth -= 1
        place -= 1
        if place < 0:
            return False
        row = lines[place]
    return False
