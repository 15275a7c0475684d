"""Go's text/template as Docker uses it: results are those of `docker info --format` (28.5) on equal data."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies

from trimaran.cli.template import Record, Template, Value
from trimaran.cli.template.functions import indented_json
from trimaran.errors import UsageError

PLATFORM = Record("Platform", {"OS": "linux", "Architecture": "arm64"}, {"os": "linux", "architecture": "arm64"})
DATA = Record(
    "Info",
    {
        "Name": "app",
        "Volume": ["local"],
        "Network": ["bridge", "host"],
        "P": PLATFORM,
        "Map": {"b": 1, "a": "x"},
        "None": None,
    },
    {"name": "app"},
)


def render(text: str, data: Value = DATA) -> str:
    return Template(text).render(data)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ('{{printf "%5d|%-5s|%05.1f|%q|%x|%t|%%" 42 "ab" 3.14159 "q\\"x" 255 true}}', '   42|ab   |003.1|"q\\"x"|ff|true|%'),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ('{{println "a" 1}}', "a 1\n"),
        ('{{len "héé"}}', "5"),
        ('{{slice "abcdef" 1 3}} {{slice "abc" 1}} {{slice "abc"}}', "bc bc abc"),
        ('{{and 1 0 2}} {{or 0 "" "x"}} {{not 0}}', "0 x true"),
        ('{{eq 1 2 1}} {{ne "a" "b"}} {{lt 1 2}} {{ge "b" "a"}} {{le 2 1}} {{gt 1.5 1}}', "true true true true false true"),
        ("{{$x := 3}}{{if gt $x 2}}big{{else if eq $x 2}}two{{else}}small{{end}}", "big"),
        ("{{$x := 2}}{{if gt $x 2}}big{{else if eq $x 2}}two{{else}}small{{end}}", "two"),
        ("{{$x := 1}}{{if gt $x 2}}big{{else if eq $x 2}}two{{else}}small{{end}}", "small"),
        ("{{range $i, $e := .Network}}{{$i}}={{$e}};{{end}}", "0=bridge;1=host;"),
        ("{{range $e := .Network}}{{$e}};{{end}}", "bridge;host;"),
        ("{{range $k, $v := .Map}}{{$k}}={{$v}} {{end}}", "a=x b=1 "),
        ('{{with ""}}a{{else}}b{{end}}', "b"),
        ('{{with $x := "v"}}{{$x}}{{.}}{{end}}', "vv"),
        ('{{range split "a,b,c" ","}}[{{.}}]{{else}}none{{end}}', "[a][b][c]"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ('a {{- " x " -}} b', "a x b"),
        ("{{/* c */}}done", "done"),
        ("x {{- /* c */ -}}  done", "xdone"),
        ('{{join .Network "+"}} {{upper "abc"}} {{lower "ABC"}} {{title "abc def"}}', "bridge+host ABC abc Abc Def"),
        ('{{pad "x" 2 3}}| {{truncate "abcdef" 3}} {{truncate "ab" 3}}', "  x   | abc ab"),
        ('{{"abc" | printf "%s-%s" "x"}}', "x-abc"),
        ('{{("abc" | upper)}}', "ABC"),
        ('{{ `raw\\n` }} {{"tab\\tx\\u00e9"}}', "raw\\n tab\txé"),
        ("{{true}} {{1.5}} {{0x10}} {{-3}}", "true 1.5 16 -3"),
        ("{{.Volume}} {{.Map}} {{.P}}", "[local] map[a:x b:1] {linux arm64}"),
        ("{{$x := 1}}{{range .Volume}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{if and true (eq 1 1)}}y{{end}}", "y"),
        ('{{(index .Network 1)}} {{index .Map "b"}} {{.P.OS}} {{(.P).OS}} {{$.Name}}', "host 1 linux linux app"),
        ("{{json .P}} {{json .Volume}} {{json .None}}", '{"os":"linux","architecture":"arm64"} ["local"] null'),
        ("plain } text {", "plain } text {"),
        ("", ""),
    ],
)  # fmt: skip
def test_says_what_go_says(template: str, wanted: str) -> None:
    assert render(template) == wanted


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{.Nmae}}", 'unknown field of Info "Nmae"'),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{.None.X}}", "nil pointer evaluating .X"),
        ("{{foo}}", 'unknown function "foo"'),
        ("{{if}}x{{end}}", "missing value"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{if true}}x", "{{if}} without {{end}}"),
        ("{{if true}}x{{else}}y", "{{if}} without {{end}}"),
        ('{{eq 1 "a"}}', "incompatible types"),
        ("{{eq 1}}", "missing argument"),
        ("{{index .Volume 9}}", "index out of range: 9"),
        ("{{len 3}}", "len of type int"),
        ('{{template "x"}}', "{{template}} is not supported"),
        ('{{define "x"}}{{end}}', "{{define}} is not supported"),
        ("{{break}}", "{{break}} is not supported"),
        ('{{printf "%d" "x"}}', "%d does not print type string"),
        ('{{printf "%9999999d" 1}}', "too wide"),
        ("{{1 2}}", "cannot be called"),
        ("{{$y}}", "undefined variable $y"),
        ("{{$y = 1}}", "undefined variable $y"),
        ("{{range $x := .Volume}}{{end}}{{$x}}", "undefined variable $x"),
        ("{{.Name", "unclosed action"),
        ("{{/* x", "unclosed comment"),
        ('{{"x}}', "unterminated quoted string"),
        ("{{range .Name}}{{end}}", "range can't iterate over string"),
        ("{{json .}", "unexpected '}'"),
        ("{{.A.}}", "unexpected"),
        ("a\nb {{&}}", "unexpected '&' in an action (line 2, column 5)"),
        ("{{upper}}", "wrong number or type of arguments"),
    ],
)
def test_complains_by_name(template: str, complaint: str) -> None:
    with pytest.raises(UsageError, match="read template: ") as caught:
        render(template)
    assert complaint in str(caught.value)


def test_indented_json() -> None:
    assert Template("{{json .}}", json=indented_json).render(DATA) == '{\n  "name": "app"\n}'


@given(strategies.text(alphabet='{}./$"`|:=()- \nabifendrangelse*,0123', max_size=40))
def test_any_text_renders_or_is_refused(text: str) -> None:
    try:
        render(text)
    except UsageError:
        return


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(UsageError, match="nested too deep"):
        Template("{{if true}}" * 5000 + "{{end}}" * 5000)
    with pytest.raises(UsageError, match="nested too deep"):
        Template("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}")


def test_time_is_linear() -> None:
    """Ten times the text takes about ten times as long, not a hundred."""

    def seconds(count: int) -> float:
        begun = time.process_time()  # what others do on this machine is not ours
        render("{{$x := 1}}{{if .Name}}{{.Name}}{{end}} " * count)
        return time.process_time() - begun

    seconds(100)
    small = min(seconds(1000) for _ in range(5))
    assert min(seconds(10_000) for _ in range(5)) < small * 50
