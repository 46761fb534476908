"""Go templates as --format takes them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.template import TemplateError, compile_template

VALUE = {
    "Name": "/web",
    "State": {"ExitCode": 3, "Running": True, "Health": None, "Error": ""},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
        "Networks": {"user": {"IPAddress": "10.0.2.15"}},
    },
    "Config": {"Env": ["A=1", "B=2"], "Cmd": []},
    "Labels": Labels({"a": "b", "c": "d"}),
    "Rate": 1.5,
}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Name}}\t{{.State.ExitCode}}", "/web\t3"),
        ("{{ .Name }}!", "/web!"),
        ("{{json .State}}", '{"ExitCode":3,"Running":true,"Health":null,"Error":""}'),
        ("{{.State}}", "map[Error: ExitCode:3 Health:<nil> Running:true]"),
        ("{{.Config.Env}} {{.Rate}}", "[A=1 B=2] 1.5"),
        ("{{.State.Health}}", "<no value>"),
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
        ('{{.Label "c"}}{{.Label "none"}}', "d"),
        ('{{"quoted \\"\\t"}}{{`raw`}}', 'quoted "\traw'),
        ('{{truncate .Name 2}}{{pad "x" 1 2}}|{{title "abc"}}{{lower "ABC"}}', "/w x  |Abcabc"),
        ('{{index (split "a-b" "-") 1}}', "b"),
        ("{{true}}{{nil | json}}", "truenull"),
        ("{{-5}}", "-5"),
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
    ],
)
def test_templates_that_are_wrong(source: str) -> None:
    with pytest.raises(TemplateError):
        compile_template(source)(VALUE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", "no field 'Nope'; there are Name"),
        ("{{.Name.X}}", "no field 'X'"),
        ("{{index .Config.Env 9}}", "index: no index 9"),
        ("{{index .State.Health 1}}", "untyped nil"),
        ("{{range .Name}}{{end}}", "can't iterate"),
        ("{{len .State.ExitCode}}", "len"),
        ("{{lt .Name 1}}", "lt:"),
        ("{{$x}}", r"undefined variable \$x"),
        ('{{printf "%d" .Name}}', "printf"),
    ],
)
def test_what_a_value_has_not(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        compile_template(source)(VALUE)


@given(st.text(alphabet='{}.|()$"`-=: \tNameifrndgw,0x%', max_size=40))
def test_any_text_renders_or_is_refused(source: str) -> None:
    with contextlib.suppress(TemplateError):
        compile_template(source)(VALUE)
