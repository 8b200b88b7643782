"""Version ranges of facts: `triton>=3.9` holds or does not hold for the versions at hand."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PackagingRequirement
from packaging.version import InvalidVersion, Version

_INSTALLED = ("triton", "torch")


@dataclass(frozen=True)
class Requirement:
    """One condition on a version: a name such as `triton`, `cuda`, `rocm`, `gcc`, and a range."""

    name: str
    range: str

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read `triton>=3.9,<4`.

        Raises:
            ValueError: not of that form.
        """
        try:
            parsed = PackagingRequirement(text)
        except InvalidRequirement as error:
            raise ValueError(f"{text!r} is no version range; write e.g. 'triton>=3.9'") from error
        if not parsed.specifier:
            raise ValueError(f"{text!r} names no version; write e.g. 'triton>=3.9'")
        return cls(parsed.name.lower(), str(parsed.specifier))

    def holds(self, versions: Mapping[str, str]) -> bool:
        """Whether it holds; a version that nobody knows is no reason to hide a fact."""
        known = versions.get(self.name)
        if known is None:
            return True
        try:
            version = Version(known)
        except InvalidVersion:
            return True
        return PackagingRequirement(f"{self.name}{self.range}").specifier.contains(
            Version(version.base_version), prereleases=True
        )


@cache
def installed_versions() -> dict[str, str]:
    """Versions of the packages that facts depend on, as far as they are installed; nothing is imported."""
    found = {}
    for name in _INSTALLED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
