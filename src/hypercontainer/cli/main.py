"""Entry point of ``hyper``: global flags, the command, and what becomes of its errors."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` without its enums
import os
import sys
from io import TextIOWrapper

from hypercontainer import __version__
from hypercontainer.cli.options import Call, Command, HelpWanted, UsageError, check_count, flag, parse, text
from hypercontainer.cli.session import ForTerminal, Session, tell
from hypercontainer.errors import HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from hypercontainer.cli.options import Values

FAILED = 1
OWN_FAILURE = 125  # of run, and of any command line that cannot be parsed; as with Docker
INTERRUPTED = 130
BROKEN_PIPE = 141

GLOBAL_OPTIONS = (
    text("-H --host", "ADDRESS", "hyperd's socket, such as unix:///run/hyper/hyper.sock", parsed="host"),
    text("--config", "FILE", "configuration file", parsed="config"),
    flag("-D --debug", "show tracebacks and what is sent"),
    text("-l --log-level", "LEVEL", "of a hyperd that this command starts"),
    flag("-v --version", "print the version and leave"),
)


def entry() -> int:
    """For the console script: the exit status, with standard output flushed or quietly given up."""
    _prepare_standard_descriptors()
    _let_interrupts_kill()
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1
        )  # the interpreter flushes once more at exit
        return BROKEN_PIPE
    return status


def _let_interrupts_kill() -> None:
    """Ctrl-C ends this process in the kernel, unless a command has something to clean up (`signals`): Python's own
    handler only leaves a note, which nobody reads where it comes just before a read that blocks."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _prepare_standard_descriptors() -> None:
    """A descriptor of ours must not become 0, 1 or 2, where a child or a stream would take it for the user's."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - lives as long as the process
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that this locale cannot show is no failure
    if sys.stdout.isatty():
        sys.stdout = ForTerminal(sys.stdout)


def main(words: Sequence[str]) -> int:
    """The exit status.  BrokenPipeError where standard output has no reader."""
    debug = False
    name = ""
    given: list[Values] = []
    try:
        values, rest = parse(GLOBAL_OPTIONS, words, interspersed=False)
        given.append(values)
        debug = values.flag("debug")
        if values.flag("version"):
            print(f"Hyper version {__version__}")
            return 0
        session = Session(
            host=values.text("host"),
            config=values.text("config"),
            debug=debug,
            log_level=values.text("log-level"),
        )
        name, command, rest = _find(rest)
        if command is None:
            return _overview(name)
        return _run(name, command, rest, session, given)
    except HelpWanted:
        return _overview(name)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _report(error, name, given, debug=debug)


def _find(words: list[str]) -> tuple[str, Command | None, list[str]]:
    from hypercontainer.cli.table import find

    if not words:
        return "", None, []
    if words[0] == "help":
        words = [*words[1:], "--help"] if words[1:] else []
        return _find(words)
    try:
        name, place, rest = find(words)
    except KeyError:
        raise _unknown(words) from None
    if place is None:
        if rest and rest[0] not in ("--help", "-h"):
            raise UsageError(f"unknown flag: {rest[0]}", hint=f"hyper {name} --help")
        return name, None, []
    from importlib import import_module

    command = getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1])
    assert isinstance(command, Command)
    return name, command, rest


def _unknown(words: list[str]) -> UsageError:
    from hypercontainer.cli.missing import MEANT, why
    from hypercontainer.cli.options import nearest
    from hypercontainer.cli.table import FAMILIES, verbs

    if found := why(words):
        name, reason, instead = found
        return UsageError(f"hyper {name}: {reason}", hint=instead, exit_status=FAILED)
    if words[0] in FAMILIES:
        known, typed = list(FAMILIES[words[0]][1]), words[1]
        overview = f"hyper {words[0]} --help"
    else:
        known, typed = [*verbs(), *FAMILIES], words[0]
        overview = "hyper --help"
    shown = " ".join(words[:2]) if words[0] in FAMILIES else typed
    hint = MEANT.get(shown) or nearest(typed, known) or f"{overview} lists the commands"
    return UsageError(f"unknown command: hyper {shown}", hint=hint, exit_status=FAILED)


def _run(name: str, command: Command, words: list[str], session: Session, given: list[Values]) -> int:
    """``given`` gets the command's options too, for the words of an error."""
    try:
        values, arguments = parse(command.options, words, interspersed=command.interspersed)
    except HelpWanted:
        from hypercontainer.cli.help import command_help

        sys.stdout.write(command_help(name, command))
        return 0
    except UsageError as error:
        error.hint = f"{error.hint}; hyper {name} --help" if error.hint else f"see hyper {name} --help"
        raise
    if not values.given("podfile"):  # what is wrong with a podfile is no option's fault
        given.append(values)
    check_count(name, command, arguments)
    return command.run(Call(name, values, arguments, session))


def _overview(name: str) -> int:
    from hypercontainer.cli.help import family_help, overview

    sys.stdout.write(family_help(name) if name else overview(GLOBAL_OPTIONS))
    return 0


def _report(error: Exception, name: str, given: list[Values], *, debug: bool) -> int:
    """Says it in one line and a hint; the exit status."""
    if isinstance(error, HyperError):
        from hypercontainer.cli.wording import word

        word(error, given)
        return _report_own(error, name, debug=debug)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        tell(f"hyper: {where}{error.strerror or error}")
    else:  # an answer of no known form, or a mistake of this program
        tell(f"hyper: internal error: {type(error).__name__}: {error}")
        tell("  hint: are hyper and hyperd of one version? hyper version; --debug shows where it happened")
    return _failure(name)


def _report_own(error: HyperError, name: str, *, debug: bool) -> int:
    """With the evidence of a failed launch, for who wants it."""
    tell(f"hyper: {error.message}")
    if error.hint:
        tell(f"  hint: {error.hint}")
    details = getattr(error, "details", {})
    evidence = list(_evidence(details))
    for line in evidence if debug else ():
        tell(line)
    if evidence and not debug:
        tell("  more about it: --debug, or hyperd's log")
    if isinstance(error, UsageError):
        return error.exit_status
    status = details.get("exit_status") if _verb(name) in ("run", "exec") else None
    return status if isinstance(status, int) and 0 < status < 256 else _failure(name)


def _evidence(details: dict[str, Any]) -> Iterator[str]:
    """Of a failed launch."""
    if words := details.get("command"):
        yield f"  command: {words if isinstance(words, str) else ' '.join(map(str, words))}"
    if isinstance(details.get("exit_code"), int):
        yield f"  exit status: {details['exit_code']}"
    for key, title in (("stderr", "stderr"), ("console", "last lines of the guest's console")):
        if block := str(details.get(key) or "").rstrip():
            yield f"  {title}:\n" + "\n".join(f"    {line}" for line in block.splitlines())


def _failure(name: str) -> int:
    """Where nothing was executed: Docker's `exec` fails as any command does."""
    return OWN_FAILURE if _verb(name) == "run" else FAILED


def _verb(name: str) -> str:
    return name.rpartition(" ")[2]
