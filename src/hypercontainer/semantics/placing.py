"""What a container is told of where its pod is, which nobody knows before that starts.  Pure."""

from __future__ import annotations

import msgspec

from hypercontainer.contract.answers import Effective
from hypercontainer.contract.spec import HOST_ADDRESS, POD_ADDRESS


def placed(made: Effective, address: str, host: str) -> Effective:
    """With the pod's address and the host's, as they are now, where a text leaves room for them."""
    named = {POD_ADDRESS: address, HOST_ADDRESS: host}

    def filled(texts: tuple[str, ...]) -> tuple[str, ...]:
        for name, value in named.items():
            if any(name in text for text in texts):
                texts = tuple(text.replace(name, value) for text in texts)
        return texts

    return msgspec.structs.replace(
        made, env=filled(made.env), entrypoint=filled(made.entrypoint), command=filled(made.command)
    )
