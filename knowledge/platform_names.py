"""What people call platforms: a judge's name (`cuda:sm_90`), a chip (`H100`), a generation (`hopper`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from kernelevolve.evaluation.platforms.spec_sheets import architecture_sheets, spec_sheets
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.vocabulary import ANY, PLATFORM_PARENTS, nearest

_SYNONYMS = {
    "cuda": "nvidia",
    "hip": "amd",
    "rocm": "amd",
    "x86": "cpu",
    "cdna": "amd",
    "geforce blackwell": "blackwell_consumer",
    "avx2": "x86_avx2",
    "avx512": "x86_avx512",
    "avx-512": "x86_avx512",
    "amx": "x86_amx",
    "mtia:1": "mtia_1",
    "mtia:2i": "mtia_2i",
    "mtia:300": "mtia_300",
}
_HINTS = {
    "instinct": "amd",
    "meta": "mtia",
    "xeon": "cpu",
    "epyc": "cpu",
    "gcc": "cpu",
    "openmp": "cpu",
    "mi300": "cdna3",
    "mi350": "cdna4",
}
"""Words of a question that tell what it is about, though they name no platform."""
_SLUG = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """A name as the knowledge base writes platforms: lower case, underscores."""
    return _SLUG.sub("_", name.strip().lower()).strip("_")


@cache
def _names() -> dict[str, str]:
    found = {name: name for name in PLATFORM_PARENTS}
    for sheet in (*architecture_sheets().values(), *spec_sheets().values()):
        if sheet.family in PLATFORM_PARENTS:
            for name in (sheet.chip, sheet.key, sheet.architecture, *sheet.aliases):
                if name:
                    found.setdefault(slug(name), sheet.family)
    found.update({slug(name): platform for name, platform in _SYNONYMS.items()})
    return found


def resolve_platform(name: str, own: Iterable[str] = ()) -> str:
    """The knowledge base's word for what someone calls a platform.

    Args:
        name: `hopper`, `cuda:sm_90`, `H100`, `NVIDIA H200 SXM`, or a platform of the installation's own documents.
        own: platforms that the installation's own documents name.

    Raises:
        KnowledgeError: nobody has heard of it; the text suggests the nearest.
    """
    key = slug(name)
    if not key or name.strip() == ANY:
        raise KnowledgeError(f"{name!r} is no platform; leave it out to search everything.")
    own = set(own)
    if key in own:
        return key
    names = _names()
    if key in names:
        return names[key]
    family, _, rest = name.strip().lower().partition(":")
    if rest and slug(rest) in names:
        return names[slug(rest)]
    if family in names and rest and names[family] == family:
        key = rest
    known = sorted({*PLATFORM_PARENTS, *own})
    raise KnowledgeError(
        f"There is no platform {name!r}.{nearest(key, [*names, *own])} Known: {', '.join(known)}; "
        "chips and targets such as 'H100' or 'cuda:sm_90' are understood too."
    )


def resolve_or_own(name: str) -> str:
    """A platform in our words; one that nobody has heard of as its owner writes it."""
    try:
        return resolve_platform(name)
    except KnowledgeError:
        return slug(name)


@cache
def _names_in_questions() -> dict[str, str]:
    """Not the names of a vendor, of CUDA or of "the CPU": those stand in questions about everything."""
    narrow = {name: platform for name, platform in _names().items() if PLATFORM_PARENTS[platform] != ANY}
    return {**narrow, **_HINTS, "mtia": "mtia"}


def platforms_named(question: str) -> tuple[str, ...]:
    """Platforms that a question is about, by any of their names; the longest name counts."""
    names = _names_in_questions()
    longest = max(name.count("_") for name in names) + 1
    words = [word for word in slug(question).split("_") if word]
    found: dict[str, None] = {}
    place = 0
    while place < len(words):
        for size in range(min(longest, len(words) - place), 0, -1):
            platform = names.get("_".join(words[place : place + size]))
            if platform is not None:
                found[platform] = None
                place += size
                break
        else:
            place += 1
    return tuple(found)
