"""Every selector of a query demands the environment's labels, wherever it stands, and nothing else of the query changes."""

import promql_parser as promql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.confining import confined

CASES = [
    ("up", '{__name__="up",env="prod"}'),
    ("up offset 1h", '{__name__="up",env="prod"} offset 1h'),
    ("up offset -90s", '{__name__="up",env="prod"} offset -1m30s'),
    ("rate(x[5m] offset 1d)", 'rate({__name__="x",env="prod"}[5m] offset 1d)'),
    ('x{env="staging"}', '{__name__="x",env="prod",env="staging"}'),
    ('x{env=~".*"}', '{__name__="x",env="prod",env=~".*"}'),
    ('{__name__="x"}', '{__name__="x",env="prod"}'),
    ("a + on (b) group_left (c) d", '{__name__="a",env="prod"} + on (b) group_left (c) {__name__="d",env="prod"}'),
    ("sum by (a) (x) / 2", 'sum by (a) ({__name__="x",env="prod"}) / 2'),
    ("topk(3, x) or vector(0)", 'topk(3, {__name__="x",env="prod"}) or vector(0)'),
    ("max_over_time(rate(x[5m])[1h:1m])", 'max_over_time(rate({__name__="x",env="prod"}[5m])[1h:1m])'),
    ("absent(x)", 'absent({__name__="x",env="prod"})'),
    ('label_replace(x, "a", "$1\\"}", "b", "{c}")', 'label_replace({__name__="x",env="prod"}, "a", "$1\\"}", "b", "{c}")'),
    ('x{a=`\\d"`}', '{__name__="x",a="\\\\d\\"",env="prod"}'),
    ("-x ^ 2", '-{__name__="x",env="prod"} ^ 2'),
    ("time()", "time()"),
]


@pytest.mark.parametrize(("query", "becomes"), CASES)
def test_every_selector_demands_the_label(query: str, becomes: str) -> None:
    assert " ".join(confined(query, {"env": "prod"}).split()) == becomes


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ('x{a="1" or b="2"}', "`or` between matchers"),
        ("x @ 60", "`@` modifier"),
        ("info(x)", "`info` is not passed on"),
        ("sum(", "no PromQL"),
        ("(" * 101 + "x" + ")" * 101, "levels deep"),
    ],
)
def test_what_cannot_be_confined_is_refused(query: str, said: str) -> None:
    with pytest.raises(InvalidArguments, match=said):
        confined(query, {"env": "prod"})


texts = st.text(alphabet=st.sampled_from(list("ab\"'`\\{}[](),=~!\n\té$#")), max_size=12)


@given(value=texts, environment=texts.filter(bool), other=texts)
def test_no_text_of_a_label_gets_out_of_its_quotes(value: str, environment: str, other: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    query = f'sum(x{{a={quoted(value)}}}) + label_replace(rate(y[5m]), "l", {quoted(other)}, "a", "b")'
    tree = promql.parse(confined(query, {"env": environment}))
    selectors: list[promql.VectorSelector] = []

    def look(one: promql.Expr) -> None:
        if isinstance(one, promql.VectorSelector):
            selectors.append(one)

    promql.walk(tree, look)
    assert len(selectors) == 2
    for selector in selectors:
        assert ("env", environment) in {(m.name, m.value) for m in selector.matchers.matchers if str(m.op) == "MatchOp.Equal"}
