"""Go's text/template as far as ``--format`` is used: fields, pipelines, if/with/range, variables, functions.

    template = (text | "{{" action "}}")*        "{{-" and "-}}" trim the space beside them
    action   = pipeline | $x := pipeline | $x = pipeline | if pipeline | with pipeline
             | range [$k, $v :=] pipeline | else [if ...] | break | continue | end
    pipeline = command ("|" command)*            a command's value becomes the next one's last argument
    command  = operand operand*                  operand: .A.B  $x.A  "text"  `text`  12  'c'  true  nil  ( pipeline )

Compiled once (`compile_template`), rendered for each value.  What is a map there and what a struct:
`semantics.kinds`.  Source: the documentation of Go's package text/template, and Docker's of its formatting functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.template_functions import FUNCTIONS, truth
from hypercontainer.cli.template_print import go_text
from hypercontainer.cli.template_tokens import TemplateError, Tokens, number, pieces, unquote
from hypercontainer.semantics.kinds import NO_VALUE, GoMap, Nil, Struct

MAX_DEPTH = 50
NOT_A_TEMPLATE = 64  # Docker's exit status, but of listings

Scope = dict[str, Any]
Expression = Callable[[Any, Scope], Any]
Node = Callable[[Any, Scope, list[str]], None]


class _Break(Exception):
    """Leaves a range."""


class _Continue(Exception):
    """Goes on with a range's next value."""


def field_of(value: Any, name: str) -> Any:
    """A struct's field, or a map's entry.  A field that is not there is an error that names what is there; Go's names
    of fields and JSON's differ in case at times (ID, Id)."""
    if isinstance(value, GoMap):
        return value.get(name, NO_VALUE)
    if isinstance(value, Nil) and value.is_map:
        return NO_VALUE
    if value is None or value is NO_VALUE:
        raise TemplateError(f"nil has no field {name!r}")
    if not isinstance(value, Mapping):
        raise TemplateError(f"no field {name!r} in {go_text(value)[:60]!r}")
    whole = value.whole if isinstance(value, Struct) else value
    if name in whole:
        return whole[name]
    if name[0].isupper():
        for known in whole:
            if known.lower() == name.lower():
                return whole[known]
    raise TemplateError(f"no field {name!r}; there are {', '.join(map(str, whole))}", unknown=True)


class _Compiler:
    def __init__(self, source: str) -> None:
        self.pieces = list(pieces(source))
        self.at = 0
        self.depth = 0
        self.ranges = 0

    # Actions

    def block(self) -> tuple[list[Node], Tokens | None]:
        """Nodes up to ``end`` or ``else`` (whose tokens are given) or the template's end."""
        nodes: list[Node] = []
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            self.at += 1
            if isinstance(piece, str):
                nodes.append(_literal(piece))
                continue
            word = piece.peek()[1] if piece.peek()[0] == "word" else ""
            if word in ("end", "else"):
                return nodes, piece
            nodes.append(self.action(piece, word))
        return nodes, None

    def action(self, tokens: Tokens, word: str) -> Node:
        if word in ("if", "with", "range"):
            tokens.take()
            return self.branch(word, tokens)
        if word in ("break", "continue") and tokens.peek(1)[0] == "end":
            if not self.ranges:
                raise TemplateError(f"{{{{{word}}}}} outside of {{{{range}}}}")
            return _leave(_Break if word == "break" else _Continue)
        declares = tokens.peek(1)[1] == ":="
        names = self.assignment(tokens)
        value = self.pipeline(tokens)
        tokens.finish()
        if len(names) > 1:
            raise TemplateError(f"two variables in {{{{{tokens.source}}}}}")
        if names:
            return _assign(names[0], value, declares=declares)
        return lambda dot, scope, out: out.append(go_text(value(dot, scope)))

    def branch(self, word: str, tokens: Tokens) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError("nested too deeply")
        names = self.assignment(tokens)
        value = self.pipeline(tokens)
        tokens.finish()
        self.ranges += word == "range"
        body, end = self.block()
        self.ranges -= word == "range"
        otherwise: list[Node] = []
        if end is not None and end.take()[1] == "else":
            if end.peek() in (("word", "if"), ("word", "with")):
                otherwise = [self.branch(end.take()[1], end)]
                end = None
            else:
                end.finish()
                otherwise, end = self.block()
                if end is None or end.take()[1] != "end":
                    raise TemplateError(f"{word} without end")
        elif end is None:
            raise TemplateError(f"{word} without end")
        if end is not None:
            end.finish()
        self.depth -= 1
        return _BRANCHES[word](names, value, body, otherwise)

    def assignment(self, tokens: Tokens) -> list[str]:
        """``$x :=``, ``$x =`` or ``$k, $v :=``, if that is how the action begins."""
        if tokens.peek()[0] != "variable":
            return []
        names = [tokens.peek()[1]]
        if tokens.peek(1)[1] == "," and tokens.peek(2)[0] == "variable":
            names.append(tokens.peek(2)[1])
        if tokens.peek(2 * len(names) - 1)[0] != "assign":
            return []
        tokens.at += 2 * len(names)
        return names

    # Expressions

    def pipeline(self, tokens: Tokens) -> Expression:
        value = self.command(tokens, None)
        while tokens.skip("|"):
            value = self.command(tokens, value)
        return value

    def command(self, tokens: Tokens, piped: Expression | None) -> Expression:
        kind, text = tokens.peek()
        if kind == "word" and text not in ("true", "false", "nil"):
            tokens.take()
            return self.function(text, self.operands(tokens), piped)
        if kind == "field" and text.endswith(".Label"):
            return self.label(tokens)
        if piped is not None:
            raise TemplateError(f"{text!r} is no function that a value could go into")
        if (kind, text) == ("word", "nil"):
            tokens.take()
            return _no_command
        return self.operand(tokens)

    def label(self, tokens: Tokens) -> Expression:
        """``.Label "key"``: the one method that Docker's listings have."""
        _, text = tokens.take()
        owner = self.path(lambda dot, _scope: dot, text[: -len(".Label")])
        key = self.operand(tokens)

        def look(dot: Any, scope: Scope) -> Any:
            labels = field_of(owner(dot, scope), "Labels")
            return (
                labels.label(str(key(dot, scope))) if isinstance(labels, Labels) else field_of(dot, "Label")
            )

        return look

    def operands(self, tokens: Tokens) -> list[Expression]:
        found = []
        while tokens.peek()[0] != "end" and tokens.peek() not in (("sign", "|"), ("sign", ")")):
            found.append(self.operand(tokens))
        return found

    def operand(self, tokens: Tokens) -> Expression:
        kind, text = tokens.take()
        if kind == "sign" and text == "(":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise TemplateError("nested too deeply")
            value = self.pipeline(tokens)
            self.depth -= 1
            if not tokens.skip(")"):
                raise TemplateError(f"unclosed parenthesis in {{{{{tokens.source}}}}}")
            return self.path(value, tokens.take()[1]) if tokens.peek()[0] == "field" else value
        if kind == "field":
            return self.path(lambda dot, _scope: dot, text)
        if kind == "variable":
            after = tokens.take()[1] if tokens.peek()[0] == "field" else ""
            return self.path(_variable(text), after)
        if kind == "sign" and text == ".":
            return lambda dot, _scope: dot
        return _constant(kind, text, tokens.source, lambda: self.function(text, [], None))

    def path(self, owner: Expression, text: str) -> Expression:
        names = text.split(".")[1:]
        if not names:
            return owner

        def look(dot: Any, scope: Scope) -> Any:
            value = owner(dot, scope)
            for name in names:
                value = field_of(value, name)
            return value

        return look

    def function(self, name: str, arguments: list[Expression], piped: Expression | None) -> Expression:
        function = FUNCTIONS.get(name)
        if name in ("and", "or"):
            return _chain(name, arguments if piped is None else [*arguments, piped])
        if function is None:
            raise TemplateError(f"function {name!r} is not defined; there are {', '.join(sorted(FUNCTIONS))}")
        operands = arguments if piped is None else [*arguments, piped]

        def call(dot: Any, scope: Scope) -> Any:
            try:
                return function(*(operand(dot, scope) for operand in operands))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise TemplateError(f"{name}: {error}") from None

        return call


def _constant(kind: str, text: str, source: str, call: Callable[[], Expression]) -> Expression:
    if kind == "string":
        value: Any = unquote(text)
    elif kind == "letter":
        value = ord(unquote(text)) if len(unquote(text)) == 1 else 0
    elif kind == "number":
        value = number(text)
    elif kind == "word" and text in ("true", "false", "nil"):
        value = {"true": True, "false": False, "nil": None}[text]
    elif kind == "word":
        return call()
    else:
        raise TemplateError(f"missing value in {{{{{source}}}}}")
    return lambda _dot, _scope: value


def _no_command(_dot: Any, _scope: Scope) -> Any:
    raise TemplateError("nil is not a command")


def _variable(name: str) -> Expression:
    def look(_dot: Any, scope: Scope) -> Any:
        if name not in scope:
            raise TemplateError(f"undefined variable {name}")
        return scope[name][0]

    return look


def _literal(text: str) -> Node:
    return lambda _dot, _scope, out: out.append(text)


def _assign(name: str, value: Expression, *, declares: bool) -> Node:
    """A variable is a cell, which the blocks inside share with the one that has declared it."""

    def run(dot: Any, scope: Scope, _out: list[str]) -> None:
        found = value(dot, scope)
        if declares:
            scope[name] = [found]
        elif name not in scope:
            raise TemplateError(f"undefined variable {name}")
        else:
            scope[name][0] = found

    return run


def _leave(how: type[Exception]) -> Node:
    def run(_dot: Any, _scope: Scope, _out: list[str]) -> None:
        raise how

    return run


def _chain(name: str, operands: list[Expression]) -> Expression:
    """``and`` and ``or``: the first value that decides, and nothing after it is looked at."""
    if not operands:
        raise TemplateError(f"{name}: missing value")

    def call(dot: Any, scope: Scope) -> Any:
        value: Any = None
        for operand in operands:
            value = operand(dot, scope)
            if truth(value) == (name == "or"):
                break
        return value

    return call


def _run(nodes: Sequence[Node], dot: Any, scope: Scope, out: list[str]) -> None:
    for node in nodes:
        node(dot, scope, out)


def _if(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        found = value(dot, scope)
        _run(body if truth(found) else otherwise, dot, _inner(scope, names, found), out)

    return run


def _with(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        found = value(dot, scope)
        if truth(found):
            _run(body, found, _inner(scope, names, found), out)
        else:
            _run(otherwise, dot, dict(scope), out)

    return run


def _inner(scope: Scope, names: list[str], found: Any) -> Scope:
    return {**scope, **{name: [found] for name in names}}


def _range(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        pairs = _pairs(value(dot, scope))
        for key, item in pairs:
            inner = dict(scope)
            if names:
                inner |= {names[-1]: [item]} | ({names[0]: [key]} if len(names) == 2 else {})
            try:
                _run(body, item, inner, out)
            except _Continue:
                continue
            except _Break:
                break
        if not pairs:
            _run(otherwise, dot, dict(scope), out)

    return run


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if value is None or isinstance(value, Nil):
        return []
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    raise TemplateError(f"range can't iterate over {go_text(value)[:60]}")


_BRANCHES = {"if": _if, "with": _with, "range": _range}


def compile_template(source: str, *, status: int = NOT_A_TEMPLATE) -> Callable[[Any], str]:
    """The function that renders a value.  Both it and this raise TemplateError, this one with ``status``."""
    try:
        compiler = _Compiler(source)
        nodes, stray = compiler.block()
        if stray is not None:
            raise TemplateError(f"unexpected {{{{{stray.peek()[1]}}}}}")
    except TemplateError as error:
        error.exit_status = status
        raise

    def render(value: Any) -> str:
        out: list[str] = []
        _run(nodes, value, {"$": [value]}, out)
        return "".join(out)

    return render
