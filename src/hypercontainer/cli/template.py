"""Go's text/template as far as ``--format`` is used: fields, pipelines, if/with/range, variables, functions.

    template = (text | "{{" action "}}")*        "{{-" and "-}}" trim the space beside them
    action   = pipeline | $x := pipeline | if pipeline | with pipeline | range [$k, $v :=] pipeline
             | else [if ...] | end
    pipeline = command ("|" command)*            a command's value becomes the next one's last argument
    command  = operand operand*                  operand: .A.B  $x.A  "text"  `text`  12  true  nil  ( pipeline )

Compiled once (`compile_template`), rendered for each value.  Source: the documentation of Go's package
text/template, and Docker's of its formatting functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.options import UsageError
from hypercontainer.cli.template_functions import FUNCTIONS, go_text, truth

MAX_DEPTH = 50

_ACTION = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<assign>:=)
    |(?P<field>(?:\.[A-Za-z_][\w-]*)+)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>[.|(),]))""",
    re.VERBOSE,
)

Scope = dict[str, Any]
Expression = Callable[[Any, Scope], Any]
Node = Callable[[Any, Scope, list[str]], None]
Fields = Callable[[Any, str], Any]


class TemplateError(UsageError):
    """The template is wrong, or asks a value for what it has not."""

    def __init__(self, message: str) -> None:
        super().__init__(f"template: {message}", exit_status=1)


def field_of(value: Any, name: str) -> Any:
    """A map's entry; what is missing is an error that names what is there."""
    if not isinstance(value, Mapping):
        raise TemplateError(f"no field {name!r} in {go_text(value)[:60]!r}")
    if name not in value:
        raise TemplateError(f"no field {name!r}; there are {', '.join(map(str, value))}")
    return value[name]


class _Tokens:
    """The tokens of one action, to be taken from the left."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.items: list[tuple[str, str]] = []
        at, end = 0, len(source.rstrip())
        while at < end:
            match = _TOKEN.match(source, at, end)
            if match is None or match.lastgroup is None:
                raise TemplateError(f"unexpected {source[at:end].strip()[:20]!r} in {{{{{source}}}}}")
            self.items.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.at + ahead
        return self.items[place] if place < len(self.items) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def skip(self, text: str) -> bool:
        if self.peek()[1] == text and self.peek()[0] != "string":
            self.at += 1
            return True
        return False

    def finish(self) -> None:
        if self.peek()[0] != "end":
            raise TemplateError(f"unexpected {self.peek()[1]!r} in {{{{{self.source}}}}}")


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[0]), text[1:-1])


class _Compiler:
    def __init__(self, source: str, fields: Fields) -> None:
        self.pieces = list(_pieces(source))
        self.at = 0
        self.fields = fields
        self.depth = 0

    # Actions

    def block(self) -> tuple[list[Node], _Tokens | None]:
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

    def action(self, tokens: _Tokens, word: str) -> Node:
        if word in ("if", "with", "range"):
            tokens.take()
            return self.branch(word, tokens)
        name = self.assignment(tokens)
        value = self.pipeline(tokens)
        tokens.finish()
        if name:
            return _assign(name[-1], value)
        return lambda dot, scope, out: out.append(go_text(value(dot, scope)))

    def branch(self, word: str, tokens: _Tokens) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError("nested too deeply")
        names = self.assignment(tokens)
        value = self.pipeline(tokens)
        tokens.finish()
        body, end = self.block()
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

    def assignment(self, tokens: _Tokens) -> list[str]:
        """``$x :=`` or ``$k, $v :=``, if that is how the action begins."""
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

    def pipeline(self, tokens: _Tokens) -> Expression:
        value = self.command(tokens, None)
        while tokens.skip("|"):
            value = self.command(tokens, value)
        return value

    def command(self, tokens: _Tokens, piped: Expression | None) -> Expression:
        kind, text = tokens.peek()
        if kind == "word" and text not in ("true", "false", "nil"):
            tokens.take()
            return self.function(text, self.operands(tokens), piped)
        if kind == "field" and text.endswith(".Label"):
            return self.label(tokens)
        if piped is not None:
            raise TemplateError(f"{text!r} is no function that a value could go into")
        return self.operand(tokens)

    def label(self, tokens: _Tokens) -> Expression:
        """``.Label "key"``: the one method that Docker's listings have."""
        _, text = tokens.take()
        owner = self.path(lambda dot, _scope: dot, text[: -len(".Label")])
        key = self.operand(tokens)
        fields = self.fields

        def look(dot: Any, scope: Scope) -> Any:
            labels = fields(owner(dot, scope), "Labels")
            return labels.label(str(key(dot, scope))) if isinstance(labels, Labels) else ""

        return look

    def operands(self, tokens: _Tokens) -> list[Expression]:
        found = []
        while tokens.peek()[0] != "end" and tokens.peek() not in (("sign", "|"), ("sign", ")")):
            found.append(self.operand(tokens))
        return found

    def operand(self, tokens: _Tokens) -> Expression:
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
        fields = self.fields
        if not names:
            return owner

        def look(dot: Any, scope: Scope) -> Any:
            value = owner(dot, scope)
            for name in names:
                value = fields(value, name)
            return value

        return look

    def function(self, name: str, arguments: list[Expression], piped: Expression | None) -> Expression:
        function = FUNCTIONS.get(name)
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
        value: Any = _unquote(text)
    elif kind == "number":
        value = float(text) if "." in text else int(text)
    elif kind == "word" and text in ("true", "false", "nil"):
        value = {"true": True, "false": False, "nil": None}[text]
    elif kind == "word":
        return call()
    else:
        raise TemplateError(f"missing value in {{{{{source}}}}}")
    return lambda _dot, _scope: value


def _variable(name: str) -> Expression:
    def look(_dot: Any, scope: Scope) -> Any:
        if name not in scope:
            raise TemplateError(f"undefined variable {name}")
        return scope[name]

    return look


def _literal(text: str) -> Node:
    return lambda _dot, _scope, out: out.append(text)


def _assign(name: str, value: Expression) -> Node:
    def run(dot: Any, scope: Scope, _out: list[str]) -> None:
        scope[name] = value(dot, scope)

    return run


def _run(nodes: Sequence[Node], dot: Any, scope: Scope, out: list[str]) -> None:
    for node in nodes:
        node(dot, scope, out)


def _if(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        found = value(dot, scope)
        _run(body if truth(found) else otherwise, dot, scope | dict.fromkeys(names, found), out)

    return run


def _with(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        found = value(dot, scope)
        if truth(found):
            _run(body, found, scope | dict.fromkeys(names, found), out)
        else:
            _run(otherwise, dot, scope, out)

    return run


def _range(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        found = value(dot, scope)
        if found is None:
            found = ()
        if isinstance(found, Mapping):
            pairs: list[tuple[Any, Any]] = sorted(found.items())
        elif isinstance(found, list | tuple):
            pairs = list(enumerate(found))
        else:
            raise TemplateError(f"range can't iterate over {go_text(found)[:60]}")
        for key, item in pairs:
            inner = dict(scope)
            if names:
                inner |= {names[-1]: item} | ({names[0]: key} if len(names) == 2 else {})
            _run(body, item, inner, out)
        if not pairs:
            _run(otherwise, dot, scope, out)

    return run


_BRANCHES = {"if": _if, "with": _with, "range": _range}


def _pieces(source: str) -> Iterator[str | _Tokens]:
    at, trim = 0, False
    for match in _ACTION.finditer(source):
        before = source[at : match.start()]
        before = before.lstrip() if trim else before
        before = before.rstrip() if match[1] else before
        if before:
            yield before
        if not match[2].lstrip().startswith("/*"):
            yield _Tokens(match[2])
        at, trim = match.end(), bool(match[3])
    rest = source[at:].lstrip() if trim else source[at:]
    if "{{" in rest:
        raise TemplateError(f"unclosed action: {rest[rest.index('{{') :][:40]}")
    if rest:
        yield rest


def compile_template(source: str, fields: Fields = field_of) -> Callable[[Any], str]:
    """The function that renders a value.  Both it and this raise TemplateError."""
    compiler = _Compiler(source, fields)
    nodes, stray = compiler.block()
    if stray is not None:
        raise TemplateError(f"unexpected {{{{{stray.peek()[1]}}}}}")

    def render(value: Any) -> str:
        out: list[str] = []
        _run(nodes, value, {"$": value}, out)
        return "".join(out)

    return render
