"""Something on a unix socket that has an answer to each message, as an ssh agent has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path


class Answering:
    """Speaks with several at once.  ``answer``: b"" ends the connection.  ``asked``: how often it has answered."""

    def __init__(self, path: Path, answer: Callable[[bytes], bytes]) -> None:
        self.asked = 0
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with connection:
            while (data := connection.recv(4096)) and (said := self._answer(data)):
                self.asked += 1
                connection.sendall(said)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
