"""How alike two sources are, without a model: hashed token n-grams."""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np

_DIMENSIONS = 256
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)."""
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?|[^\s\w]")
_PYTHON_COMMENT = re.compile(r"#[^\n]*")
_LIKE_C = frozenset({"cpp", "cuda", "hip"})
_C_COMMENT = re.compile(r"//(?! kernelevolve:)[^\n]*|/\*.*?\*/", re.DOTALL)
"""Not the line that asks for compiler flags."""


def embedding(source: str, language: str) -> bytes:
    """A unit vector of 256 float32, as bytes: counts of token 1- to 3-grams, damped by the square root.

    Comments and white space do not count. Of numbers the value counts, so that another block size is another source.

    Args:
        source: a candidate's text.
        language: its language, which says what a comment is.
    """
    comment = _C_COMMENT if language in _LIKE_C else _PYTHON_COMMENT
    tokens = _TOKEN.findall(comment.sub(" ", source))
    grams: Any = np.array([zlib.crc32(token.encode()) for token in tokens], np.uint64)
    hashes, longer = [grams], grams
    for width in (2, 3):
        longer = longer[: max(0, len(grams) - width + 1)] * _MULTIPLIER + grams[width - 1 :]
        hashes.append(longer)
    # The upper bits of a product are the well mixed ones.
    places = (np.concatenate(hashes) * _MULTIPLIER) >> np.uint64(64 - _DIMENSIONS.bit_length() + 1)
    counts: Any = np.sqrt(np.bincount(places.astype(np.int64), minlength=_DIMENSIONS).astype(np.float32))
    length = float(np.linalg.norm(counts))
    return bytes((counts / length if length else counts).tobytes())


def nearest(one: bytes, others: list[tuple[str, bytes]]) -> tuple[str, float] | None:
    """The nearest of several embeddings.

    Args:
        one: an embedding.
        others: names and embeddings to compare it with.

    Returns:
        Its name, and 1 - cosine (0 for the same); None where there is none.
    """
    if not others:
        return None
    matrix = np.frombuffer(b"".join(vector for _name, vector in others), np.float32).reshape(len(others), -1)
    cosines = matrix @ np.frombuffer(one, np.float32)
    best = int(np.argmax(cosines))
    return others[best][0], max(0.0, 1.0 - float(cosines[best]))
