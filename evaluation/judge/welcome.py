"""Whether a client of a warm host knows its token: asked by the judge that was forked for it, never by the host.

Workers are forks of the host and see all of its memory, also what it has freed: a token that it had read would lie
there for every candidate, and a candidate outside of a mount namespace could have a judge do anything with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import sys
import time

from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError, ReceiveTimeoutError

_PATIENCE_S = 2.0


def knows_token(client: Channel, token_hash: str) -> bool:
    """Read a client's first message and hold its `token` against the hash.

    Args:
        client: connection on which nothing was read yet. A client that is refused is told, and hung up on.
        token_hash: SHA-256 of the token, in hexadecimal.
    """
    try:
        hello = client.receive(time.monotonic() + _PATIENCE_S).body
    except (ChannelClosedError, ReceiveTimeoutError) as error:
        print(f"kernelevolve host: a client was refused: {error!r}", file=sys.stderr)
        client.hang_up()
        return False
    shown = hashlib.sha256(str(hello.get("token", "")).encode()).hexdigest()
    if hmac.compare_digest(shown, token_hash):
        return True
    with contextlib.suppress(ChannelClosedError):
        client.send({"error": "wrong token"})
    client.hang_up()
    return False
