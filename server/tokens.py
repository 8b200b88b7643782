"""Bearer tokens of the HTTP server: several, named, with scopes, revocable; only their hashes are kept."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kernelevolve.evaluation.contract import Contract
from kernelevolve.server.scopes import Scope

__all__ = ["Scope", "Token", "TokenError", "TokenStore"]

_PREFIX = "kev_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TokenError(Exception):
    """A token can't be made or revoked; the text says what to do."""


class Token(Contract):
    """One token, without its secret."""

    name: str
    """Who holds it; unique among those that are not revoked."""
    scope: Scope
    """The most it allows."""
    digest: str
    """SHA-256 of the secret, in hexadecimal. The secret has 256 random bits, so it needs no salt."""
    made: str
    """ISO date and time, UTC."""
    expires: str | None = None
    """ISO date and time, UTC, from which it is refused; None for never."""
    revoked: str | None = None
    """When it was revoked."""

    def usable(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < datetime.fromisoformat(self.expires))


class TokenStore:
    """The tokens of a state folder. Changes by other processes are seen at once, and the file is read when it changed.

    Args:
        state: the state folder; the file is readable to its owner alone.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / "tokens.json"
        self._read: tuple[tuple[int, int, int], tuple[Token, ...]] | None = None
        """What was read last, after the file's time, size and inode: each change is a new file."""

    def tokens(self) -> list[Token]:
        """All of them, oldest first.

        Raises:
            TokenError: the file can't be read.
        """
        try:
            # Asked of the open file, so that mark and content belong together.
            with self._path.open(encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                mark = (status.st_mtime_ns, status.st_size, status.st_ino)
                read = self._read
                if read is None or read[0] != mark:
                    entries = json.load(file)
                    read = (mark, tuple(Token.model_validate(entry) for entry in entries))
                    self._read = read
            return list(read[1])
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise TokenError(
                f"{self._path} can't be read ({error}): mend or remove it, then make new tokens."
            ) from error

    def create(self, name: str, scope: Scope, days: float | None = None) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: who will hold it: letters, digits, dots, dashes.
            scope: the most it allows.
            days: days until it expires; None for never.

        Returns:
            The token and its secret, which is shown this once.

        Raises:
            TokenError: the name is taken or can't be used.
        """
        if not _NAME.fullmatch(name):
            raise TokenError(f"{name!r} can't be a token's name: use letters, digits, dots and dashes, at most 64.")
        if days is not None and not 0 < days <= 36_500:
            raise TokenError(f"A token can't be valid for {days:g} days: give a number above 0.")
        now = datetime.now(UTC)
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = Token(
            name=name,
            scope=scope,
            digest=_digest(secret),
            made=now.isoformat(timespec="seconds"),
            expires=None if days is None else (now + timedelta(days=days)).isoformat(timespec="seconds"),
        )
        with self._locked():
            known = self.tokens()
            if any(entry.name == name and entry.usable(now) for entry in known):
                raise TokenError(f"There is a token {name!r} already: revoke it first, or choose another name.")
            self._write([*known, token])
        return token, secret

    def revoke(self, name: str) -> Token:
        """Refuse a token from now on.

        Raises:
            TokenError: there is none of this name.
        """
        now = datetime.now(UTC)
        with self._locked():
            known = self.tokens()
            found = next((entry for entry in known if entry.name == name and entry.revoked is None), None)
            if found is None:
                names = ", ".join(entry.name for entry in known if entry.revoked is None) or "none"
                raise TokenError(f"There is no token {name!r}. Those there are: {names}.")
            revoked = found.model_copy(update={"revoked": now.isoformat(timespec="seconds")})
            self._write([revoked if entry is found else entry for entry in known])
        return revoked

    def find(self, secret: str) -> Token | None:
        """The usable token with this secret, if there is one."""
        digest, now = _digest(secret), datetime.now(UTC)
        found = None
        for entry in self.tokens():
            # Every entry is compared, so that the time taken says nothing about which of them is near.
            if hmac.compare_digest(entry.digest, digest) and entry.usable(now):
                found = entry
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, tokens: list[Token]) -> None:
        text = json.dumps([entry.model_dump(mode="json") for entry in tokens], indent=1)
        # Made with mode 0600.
        descriptor, draft = tempfile.mkstemp(dir=self._path.parent, prefix="tokens.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(draft).replace(self._path)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
