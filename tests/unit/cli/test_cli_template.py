"""Go templates as --format takes them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.template import compile_template
from hypercontainer.cli.template_tokens import TemplateError
from hypercontainer.semantics import kinds

KINDS = {
    "State": {"Health": {"Status": ""}},
    "NetworkSettings": {
        "Ports": kinds.MapOf(kinds.ListOf({"HostIp": "", "HostPort": ""}), named=False),
        "Networks": kinds.MapOf({}),
    },
    "Config": {"Env": kinds.TEXTS, "Cmd": kinds.TEXTS, "Entrypoint": kinds.TEXTS, "Labels": kinds.LABELS},
    "Mounts": kinds.ListOf({"Type": "", "Name": "", "Source": ""}),
    "Sysctls": kinds.LABELS,
}
DOCUMENT = {
    "Id": "sha256:0123",
    "Name": "/web",
    "State": {"ExitCode": 3, "Running": True, "Health": None, "Error": ""},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
        "Networks": {"user": {"IPAddress": "10.0.2.15"}},
    },
    "Config": {"Env": ["A=1", "B=2"], "Cmd": [], "Entrypoint": None, "Labels": {"b": "2", "a": "1"}},
    "Labels": Labels({"a": "b", "c": "d,e"}),
    "Mounts": [{"Type": "bind", "Source": "/srv"}, {"Type": "volume", "Name": "v", "Source": ""}],
    "Sysctls": None,
    "Restart": {"Name": "no", "MaximumRetryCount": 0},
    "Rate": 1.5,
}
VALUE = kinds.typed(DOCUMENT, KINDS)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Name}}\t{{.State.ExitCode}}", "/web\t3"),
        ("{{ .Name }}!", "/web!"),
        ("{{json .State}}", '{"ExitCode":3,"Running":true,"Health":null,"Error":""}'),
        ("{{.State}}", "{3 true <nil> }"),
        ('{{printf "%+v" .Restart}} {{if .Restart}}y{{end}}', "{Name:no MaximumRetryCount:0} y"),
        ("{{.Config.Env}} {{.Rate}}", "[A=1 B=2] 1.5"),
        ("{{.State.Health}}", "<nil>"),
        ("{{.State.Running}}", "true"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Config.Env}}{{$i}}{{$e}};{{end}}", "0A=1;1B=2;"),
        ("{{range $e := .Config.Env}}{{$e}}{{$.Name}}{{end}}", "A=1/webB=2/web"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "10.0.2.15"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{if $c}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}{{end}}",
            "80/tcp -> 8080",
        ),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Config.Env 1 | printf "%s!"}}', "B=2!"),
        ('{{join .Config.Env ","}}', "A=1,B=2"),
        ('{{.Name | upper | printf "%q"}}', '"/WEB"'),
        ("{{len .Config.Env}} {{len .Name}}", "2 4"),
        ("{{if eq .State.ExitCode 0 3}}a{{else}}b{{end}}", "a"),
        ("{{if .State.Error}}a{{else if .State.Running}}b{{else}}c{{end}}", "b"),
        ("{{if not .State.Running}}a{{else if .State.Error}}b{{else}}c{{end}}", "c"),
        ("{{if and .State.Running (gt .State.ExitCode 2)}}yes{{end}}", "yes"),
        ("{{with .State}}{{.ExitCode}}{{end}}{{with .State.Error}}x{{else}}-{{end}}", "3-"),
        ("{{$x := .Name}}{{$x}}{{$x | len}}", "/web4"),
        ("a  {{- .Rate -}}  b", "a1.5b"),
        ("a {{/* nothing */}}b", "a b"),
        (
            '{{printf "%-6s|%3d|%5.1f|%v|%%" .Name .State.ExitCode .Rate .State.Running}}',
            "/web  |  3|  1.5|true|%",
        ),
        ('{{.Label "c"}}{{.Label "none"}}', "d,e"),
        ('{{"quoted \\"\\t"}}{{`raw`}}', 'quoted "\traw'),
        ('{{truncate .Name 2}}{{pad "x" 1 2}}|{{title "abc"}}{{lower "ABC"}}', "/w x  |Abcabc"),
        ('{{index (split "a-b" "-") 1}}', "b"),
        ("{{true}}{{json nil}}", "truenull"),
        ("{{-5}}", "-5"),
        # What a map has not
        ("[{{.Config.Labels.none}}]", "[<no value>]"),
        ('[{{index .Config.Labels "none"}}] [{{index .Sysctls "none"}}]', "[] []"),
        (
            '{{index .NetworkSettings.Ports "1/tcp"}} {{index .NetworkSettings.Networks "x"}}',
            "<no value> <nil>",
        ),
        ("{{if .Config.Labels.none}}x{{else}}none{{end}}", "none"),
        ("{{.Config.Labels}} {{json .Config.Labels}}", 'map[a:1 b:2] {"a":"1","b":"2"}'),
        ("{{.Sysctls}} {{json .Sysctls}} {{len .Sysctls}} {{.Sysctls.x}}", "map[] null 0 <no value>"),
        # Nil
        ("{{.Config.Entrypoint}} {{len .Config.Entrypoint}} {{json .Config.Entrypoint}}", "[] 0 null"),
        ('{{join .Config.Entrypoint ","}}{{range .Config.Entrypoint}}x{{else}}none{{end}}', "none"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        # Structs as the plain document has them
        ('{{index .Restart "Name"}} {{index .Restart "x"}} {{len .Restart}}', "no <no value> 2"),
        ("{{range $k, $v := .Restart}}{{$k}}={{$v}};{{end}}", "MaximumRetryCount=0;Name=no;"),
        # Fields that JSON leaves out, and their names in Go
        ("{{range .Mounts}}[{{.Name}}]{{end}} {{.Mounts}}", "[][v] [{bind  /srv} {volume v }]"),
        ("{{json (index .Mounts 0)}} {{.ID}}", '{"Type":"bind","Source":"/srv"} sha256:0123'),
        # Functions
        ('{{slice .Id 7 9}} {{slice .Config.Env 1}} {{slice "é" 0 2}}', "01 [B=2] é"),
        (
            '{{html "<a>&\\"\'"}} {{js "a\\"b="}} {{urlquery "a b/é"}}',
            '&lt;a&gt;&amp;&#34;&#39; a\\"b\\u003D a+b%2F%C3%A9',
        ),
        ('{{print 1 2 "a" 3}} {{title "ab cd"}} {{len "é"}}', "1 2a3 Ab Cd 2"),
        ('{{printf "%T %T %T" .State.Running .Rate .Name}}', "bool float64 string"),
        (
            '{{printf "%d" .Name}} {{printf "%s"}} {{printf "" 1}}',
            "%!d(string=/web) %!s(MISSING) %!(EXTRA int=1)",
        ),
        (
            '{{printf "%q %x %06d %+d %c %s" "\\x1bé" "hi" 12 3 65 .Config.Env}}',
            '"\\x1bé" 6869 000012 +3 A [A=1 B=2]',
        ),
        (
            "{{1000000.0}} {{0.00001}} {{123456789.5}} {{0x10}} {{'a'}} {{1_000}}",
            "1e+06 1e-05 1.234567895e+08 16 97 1000",
        ),
        # Literals
        ('{{"\\u00e9\\x41\\101\\a"}}', "éAA\a"),
        ('{{"}}"}}{{`{{`}}', "}}{{"),
        # What is not reached is not looked at
        ("{{and .State.Health .State.Health.Status}} {{or .Name .State.Health.Status}}", "<nil> /web"),
        # Variables are shared with the blocks inside; ranges can be left
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{range $i, $e := .Config.Env}}{{if $i}}{{break}}{{end}}{{$e}}{{end}}", "A=1"),
        ("{{range $i, $e := .Config.Env}}{{if not $i}}{{continue}}{{end}}{{$e}}{{end}}", "B=2"),
    ],
)
def test_rendered(source: str, shown: str) -> None:
    assert compile_template(source)(VALUE) == shown


@pytest.mark.parametrize(
    "source",
    [
        "{{.Name",
        "{{if .Name}}",
        "{{end}}",
        "{{else}}",
        "{{range .Config.Env}}{{else}}",
        "{{foo .Name}}",
        "{{.Name | .State}}",
        "{{.Name .State}}",
        "{{(.Name}}",
        "{{}}",
        "{{json | }}",
        "{{.Name ?}}",
        "{{if}}x{{end}}",
        "{{" + "(" * 100 + ".Name" + ")" * 100 + "}}",
        "{{if .Name}}" * 100 + "{{end}}" * 100,
        r'{{"\q"}}',
        r'{{"\ud800"}}',
        "{{break}}",
        "{{$x = 1}}",
    ],
)
def test_templates_that_are_wrong(source: str) -> None:
    with pytest.raises(TemplateError):
        compile_template(source)(VALUE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", "no field 'Nope'; there are Id, Name"),
        ("{{.Name.X}}", "no field 'X'"),
        ("{{index .Config.Env 9}}", "index: index out of range: 9"),
        ("{{index .State.Health 1}}", "untyped nil"),
        ("{{range .Name}}{{end}}", "can't iterate"),
        ("{{len .State.ExitCode}}", "len"),
        ("{{lt .Name 1}}", "lt:"),
        ("{{$x}}", r"undefined variable \$x"),
        ("{{.State.Health.Status}}", "nil has no field 'Status'"),
        ('{{(index (index .NetworkSettings.Ports "1/tcp") 0).HostPort}}', "untyped nil"),
        ("{{index .State 1}}", "index item of type struct"),
        ("{{nil}}", "nil is not a command"),
        ("{{slice .Name 3 9}}", "out of range"),
        ('{{join .Config.Labels ","}}', "join: wrong type"),
        ("{{eq .Name 1}}", "incompatible types"),
        ("{{call .Name}}", "non-function"),
    ],
)
def test_what_a_value_has_not(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        compile_template(source)(VALUE)


@given(st.text(alphabet='{}.|()$"`-=: \tNameifrndgw,0x%', max_size=40))
def test_any_text_renders_or_is_refused(source: str) -> None:
    with contextlib.suppress(TemplateError):
        compile_template(source)(VALUE)


@pytest.mark.parametrize(("source", "status"), [("{{foo}}", 64), ("{{.Nope}}", 1)])
def test_a_template_that_is_none_has_dockers_status(source: str, status: int) -> None:
    with pytest.raises(TemplateError) as raised:
        compile_template(source)(VALUE)
    assert raised.value.exit_status == status


def test_json_of_a_template_orders_a_terminal_nothing() -> None:
    assert compile_template("{{json .}}")({"A": "\x1b[2J\x9b\u202e\U000e0001é"}) == (
        r'{"A":"\u001b[2J\u009b\u202e\udb40\udc01é"}'
    )
