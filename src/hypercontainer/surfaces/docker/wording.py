"""Errors as Docker's clients know them: a status and ``{"message": ..}``, remedies in words of the docker command.

Some decide by the text: a start that fails with "executable file not found" is exit status 127 of ``docker run``.
"""

from __future__ import annotations

import errno
import logging
import os

from hypercontainer.engine.process.failed import is_of_program
from hypercontainer.errors import DiskFull, HyperError, InvalidArgument, NoSuchImage, ReadOnly, Remedy
from hypercontainer.image.reference import parse
from hypercontainer.surfaces.http.answers import Reply, json_reply

logger = logging.getLogger(__name__)

# Calls that help, as the docker command has them; {of} is what it is done to.
_COMMANDS = {
    "containers.start": "docker start {of}",
    "containers.stop": "docker stop {of}",
    "containers.kill": "docker kill {of}",
    "containers.unpause": "docker unpause {of}",
    "containers.remove": "docker rm -f {of}",
    "containers.rename": "docker rename {of} NEW",
    "containers.logs": "docker logs {of}",
    "containers.find": "docker ps -a",
    "images.find": "docker images",
    "images.pull": "docker pull {of}",
    "images.tag": "docker tag IMAGE {of}",
    "images.remove": "docker rmi {of}",
    "networks.find": "docker network ls",
    "networks.create": "docker network create {of}",
    "networks.remove": "docker network rm {of}",
    "networks.disconnect": "docker network disconnect {of} CONTAINER",
    "system.prune": "docker system prune",
    "volumes.find": "docker volume ls",
    "volumes.remove": "docker volume rm {of}",
    "volumes.convert": "hyper volume convert {of}",
}


_FULL = os.strerror(errno.ENOSPC)


class PageNotFound(HyperError):
    """There is no such call."""

    code = "not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("page not found")


class Forbidden(HyperError):
    """Who asks may not; or the state of a thing forbids it, where Docker does not call that a conflict."""

    code = "forbidden"
    status = 403


def refused(error: BaseException) -> Reply:
    status, message = told(error)
    return json_reply({"message": message}, status)


def told(error: BaseException) -> tuple[int, str]:
    """Status and message; logs what nobody raised on purpose."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, HyperError):
        return _status(error), message(error)
    identifier = os.urandom(4).hex()
    logger.error("internal error %s", identifier, exc_info=error)
    return 500, f"internal error {identifier}: {type(error).__name__}; hyperd's log has the details"


def _status(error: HyperError) -> int:
    """Some of the native API's statuses mean nothing to Docker's clients."""
    if isinstance(error, ReadOnly):
        return 403
    if is_of_program(error):
        return 400
    if isinstance(error, DiskFull):
        return 500
    return {422: 500, 499: 500, 502: 500}.get(error.status, error.status)


def message(error: HyperError) -> str:
    """As a sentence without a capital, with what helps in brackets; what clients look for, as Docker has it."""
    if isinstance(error, NoSuchImage):
        return f"No such image: {_with_tag(error.name)}"
    said = error.message
    if isinstance(error, DiskFull):  # of which clients, and those who read them, know these words
        said = f"{said.replace(f': {_FULL}', '')}: {_FULL.lower()}"
    helps = [words for remedy in error.remedies if (words := _command(remedy))]
    hint = "; ".join(filter(None, [error.hint, " or ".join(helps)]))
    return f"{said} ({hint})" if hint else said


def _with_tag(name: str) -> str:
    try:
        return parse(name).familiar()
    except InvalidArgument:
        return name


def _command(remedy: Remedy) -> str:
    pattern = _COMMANDS.get(remedy.call)
    if pattern is None:
        return ""
    words = f"`{pattern.format(of=remedy.of).strip()}`"
    return f"{words} {remedy.aim}" if remedy.aim else words
