"""Options and arguments, parsed as Docker's command line parses them.

``--name value``, ``--name=value``, ``-n value``, ``-nvalue``, ``-n=value``, clusters (``-it``), booleans with a
value only behind ``=`` (``--rm=false``), ``--`` ends the options.  Where a command stops at its first argument
(run, exec), everything behind it is the container's.  Long names are never abbreviated.
"""

from __future__ import annotations

from hypercontainer.errors import HyperError, InvalidArgument, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from hypercontainer.cli.session import Session

FLAG, TEXT, NUMBER, OCTAL, LIST, REFUSED = "flag", "text", "number", "octal", "list", "refused"

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class UsageError(InvalidArgument):
    """The command line itself is wrong.  ``exit_status`` 125 for options, 1 for the number of arguments."""

    def __init__(self, message: str, *, hint: str | None = None, exit_status: int = 125) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status


class HelpWanted(HyperError):
    """``--help`` was among the options."""


class Option:
    """``short`` is a letter or "".  ``kind``: FLAG, TEXT, NUMBER or OCTAL (the last counts), LIST (repeated), REFUSED.

    ``field``: that of what is asked for (contract/spec.py) which takes the value as it is, "" where there is none;
    ``parsed``: those that are made of it, by hand.

    A REFUSED option is Docker's and cannot work here; ``help`` is the reason.  It takes a value if it has a metavar.
    """

    __slots__ = ("default", "field", "help", "kind", "metavar", "name", "parsed", "short")

    def __init__(
        self,
        names: str,
        kind: str,
        text: str,
        metavar: str = "",
        default: str | bool = "",
        field: str = "",
        parsed: str = "",
    ) -> None:
        short, _, long = names.rpartition(" ")
        self.name = long.removeprefix("--")
        self.short = short.removeprefix("-")
        self.kind = kind
        self.help = text
        self.metavar = metavar
        self.default = default
        self.field = field
        self.parsed = tuple(parsed.split())

    @property
    def fields(self) -> tuple[str, ...]:
        """All that it says something of."""
        return (self.field, *self.parsed) if self.field else self.parsed

    @property
    def takes_value(self) -> bool:
        return self.kind in (TEXT, NUMBER, OCTAL, LIST) or (self.kind == REFUSED and bool(self.metavar))

    def __str__(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def flag(names: str, text: str, *, default: bool = False, field: str = "", parsed: str = "") -> Option:
    """``names``: "--detach" or "-d --detach".  ``parsed``: names of fields, with blanks between them."""
    return Option(names, FLAG, text, "", default, field, parsed)


def text(
    names: str, metavar: str, help_text: str, default: str = "", *, field: str = "", parsed: str = ""
) -> Option:
    return Option(names, TEXT, help_text, metavar, default, field, parsed)


def number(names: str, metavar: str, help_text: str, *, field: str = "", parsed: str = "") -> Option:
    return Option(names, NUMBER, help_text, metavar, field=field, parsed=parsed)


def octal(names: str, metavar: str, help_text: str, *, field: str) -> Option:
    return Option(names, OCTAL, help_text, metavar, field=field)


def many(names: str, metavar: str, help_text: str, *, field: str = "", parsed: str = "") -> Option:
    return Option(names, LIST, help_text, metavar, "", field, parsed)


def refused(names: str, metavar: str, reason: str) -> Option:
    return Option(names, REFUSED, reason, metavar)


class Values:
    """What was given: option names to text, bool or list, with the defaults behind."""

    __slots__ = ("_defaults", "_given", "_options")

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = options
        self._defaults = {option.name: option.default for option in options}
        self._given: dict[str, str | bool | list[str]] = {}

    def put(self, option: Option, value: str | bool) -> None:
        if option.kind == LIST:
            self._given.setdefault(option.name, [])
            items = self._given[option.name]
            assert isinstance(items, list) and isinstance(value, str)
            items.append(value)
        else:
            self._given[option.name] = value

    def given(self, name: str) -> bool:
        return name in self._given

    def names(self) -> list[str]:
        """Of all that was given."""
        return list(self._given)

    def flag(self, name: str) -> bool:
        return bool(self._given.get(name, self._defaults[name]))

    def text(self, name: str) -> str:
        return str(self._given.get(name, self._defaults[name]))

    def many(self, name: str) -> list[str]:
        value = self._given.get(name, [])
        assert isinstance(value, list)
        return value

    def number(self, name: str) -> int | None:
        """None where it was not given."""
        if name not in self._given:
            return int(self._defaults[name]) if self._defaults[name] else None
        return self._whole(name, 10, "not a number")

    def octal(self, name: str) -> int:
        """As chmod(1) and umask(1) have it."""
        return self._whole(name, 8, "not an octal number")

    def _whole(self, name: str, base: int, complaint: str) -> int:
        value = self.text(name)
        try:
            return int(value, base)
        except ValueError:
            raise UsageError(f"invalid argument {value!r} for --{name}: {complaint}") from None

    def fields(self) -> dict[str, Any]:
        """What was given to options that are a field each."""
        take = {FLAG: self.flag, TEXT: self.text, NUMBER: self.number, OCTAL: self.octal, LIST: self.many}
        given = [option for option in self._options if option.field and option.name in self._given]
        values = {option.field: take[option.kind](option.name) for option in given}
        return {field: value for field, value in values.items() if value is not False}

    def option_of(self, field: str) -> Option | None:
        """Which says something of ``field``, or is called so: rather one that was given, and rather one that says
        nothing else."""
        found = [
            option for option in self._options if field in (*option.fields, option.name.replace("-", "_"))
        ]
        return min(
            found, key=lambda option: (option.name not in self._given, len(option.fields)), default=None
        )


class Command:
    """One command: how it is typed, and the function that does it (which gives the exit status)."""

    __slots__ = ("arguments", "examples", "interspersed", "maximum", "minimum", "options", "run", "text")

    def __init__(
        self,
        run: Callable[[Call], int],
        arguments: str,
        *,
        count: tuple[int, int | None] = (0, 0),
        options: Sequence[Option] = (),
        interspersed: bool = True,
        text: str = "",
        examples: Sequence[str],
    ) -> None:
        self.run = run
        self.arguments = arguments
        self.minimum, self.maximum = count
        self.options = tuple(options)
        self.interspersed = interspersed
        self.text = text
        self.examples = tuple(examples)


class Call:
    """A command as it was typed: ``name`` (``container ls``), options, arguments, and the session it runs in."""

    __slots__ = ("arguments", "name", "options", "session")

    def __init__(self, name: str, options: Values, arguments: list[str], session: Session) -> None:
        self.name = name
        self.options = options
        self.arguments = arguments
        self.session = session


class _Parser:
    def __init__(self, options: Sequence[Option]) -> None:
        self.long = {option.name: option for option in options}
        self.short = {option.short: option for option in options if option.short}
        self.values = Values(options)

    def take(self, option: Option, value: str | None) -> None:
        if option.kind == REFUSED:
            raise NotSupported(f"--{option.name}: {option.help}")
        if option.kind != FLAG:
            assert value is not None
            self.values.put(option, value)
        elif value is None or value in TRUE:
            self.values.put(option, True)
        elif value in FALSE:
            self.values.put(option, False)
        else:
            raise UsageError(f"invalid argument {value!r} for {option}: true or false")

    def long_option(self, word: str, rest: list[str]) -> None:
        name, equals, value = word[2:].partition("=")
        option = self.long.get(name)
        if option is None:
            if name == "help":
                raise HelpWanted("help")
            raise UsageError(f"unknown flag: --{name}", hint=nearest(name, self.long, before="--"))
        if equals:
            self.take(option, value)
        elif not option.takes_value:
            self.take(option, None)
        elif rest:
            self.take(option, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: --{name}")

    def cluster(self, word: str, rest: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self.short.get(letter)
            if option is None:
                if letter == "h":
                    raise HelpWanted("help")
                raise UsageError(f"unknown shorthand flag: {letter!r} in {word}")
            if letters.startswith("="):
                self.take(option, letters[1:])
                return
            if not option.takes_value:
                self.take(option, None)
                continue
            if not letters and not rest:
                raise UsageError(f"flag needs an argument: {letter!r} in {word}")
            self.take(option, letters or rest.pop(0))
            return


def parse(
    options: Sequence[Option], words: Sequence[str], *, interspersed: bool = True
) -> tuple[Values, list[str]]:
    """(options, arguments).  UsageError, NotSupported for a refused option, HelpWanted."""
    parser = _Parser(options)
    rest = list(words)
    arguments: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if word.startswith("--"):
            parser.long_option(word, rest)
        elif word.startswith("-") and word != "-":
            parser.cluster(word, rest)
        else:
            arguments.append(word)
            if not interspersed:
                arguments += rest
                break
    return parser.values, arguments


def check_count(name: str, command: Command, arguments: Sequence[str]) -> None:
    count, minimum, maximum = len(arguments), command.minimum, command.maximum
    if count >= minimum and (maximum is None or count <= maximum):
        return

    def amount(number: int) -> str:
        return f"{number} argument{'' if number == 1 else 's'}"

    if minimum == maximum:
        wanted = f"exactly {amount(minimum)}" if minimum else "no arguments"
        verb = "requires" if minimum else "takes"
    elif count < minimum:
        verb, wanted = "requires", f"at least {amount(minimum)}"
    else:
        verb, wanted = "takes", f"at most {amount(maximum or 0)}"
    raise UsageError(
        f"hyper {name} {verb} {wanted}", hint=f"usage: hyper {name} {command.arguments}", exit_status=1
    )


def nearest(word: str, known: Sequence[str] | dict[str, Option], *, before: str = "") -> str | None:
    """A hint with the known words that are like ``word``; ``before``: what is typed before each."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(before + each for each in close)}?" if close else None
