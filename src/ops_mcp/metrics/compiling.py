"""From text to a query: what the parser read is checked node by node, and whatever is not supported is refused by its name."""

import re
from collections.abc import Callable
from datetime import timedelta

import promql_parser as promql

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.aggregating import SUMMARIES, Aggregate, CountValues, Extremes, Grouping, Quantile
from ops_mcp.metrics.bounds import LONGEST_RANGE_MS, MOST_PATTERN_STATES, MOST_PATTERNS, PARTS, check_text
from ops_mcp.metrics.calls import call, unsupported_function
from ops_mcp.metrics.elementwise import NegativeVector
from ops_mcp.metrics.labels import is_label_name, quoted
from ops_mcp.metrics.matchers import Match, Matcher, Matchers, named
from ops_mcp.metrics.nodes import Node, ScalarNode, VectorNode
from ops_mcp.metrics.operators import binary
from ops_mcp.metrics.query import Query
from ops_mcp.metrics.regexes import pattern_of
from ops_mcp.metrics.scalars import Negative, Number
from ops_mcp.metrics.selectors import Selector, Subquery, Window

DEFAULT_SUBQUERY_STEP_MS = 60_000
SUPPORTED_AGGREGATIONS = tuple(sorted((*SUMMARIES, "bottomk", "count_values", "quantile", "topk")))

_MATCHES = {
    "MatchOp.Equal": Match.equal,
    "MatchOp.NotEqual": Match.unequal,
    "MatchOp.Re": Match.pattern,
    "MatchOp.NotRe": Match.no_pattern,
}
_MILLISECOND = timedelta(milliseconds=1)
_UNKNOWN_FUNCTION = re.compile(r"unknown function with name '([A-Za-z0-9_:]{1,100})'")
_LONGEST_REASON = 300
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


def compiled(text: str) -> Query:
    """The query that `text` means. Raises `InvalidArguments` where it is malformed, too large, or uses what is not supported."""
    check_text(text)
    try:
        expression = promql.parse(with_plain_strings(text))
    except ValueError as error:
        raise malformed(str(error)) from error
    compiler = _Compiler()
    root = compiler.root(expression)
    return Query(text, root, tuple(compiler.selectors), tuple(compiler.subqueries))


class _Compiler:
    """Compiles one tree, and notes its selectors. The bound on depth is `check_text`'s."""

    def __init__(self) -> None:
        self.selectors: list[Selector | Window] = []
        self.subqueries: list[Subquery] = []
        self._sources = 0
        self._nodes = 0
        self._patterns: dict[str, int] = {}

    def root(self, expression: promql.Expr) -> Node | Window:
        bare = _bare(expression)
        if isinstance(bare, promql.MatrixSelector | promql.SubqueryExpr):
            return self.window(bare)
        if isinstance(bare, promql.StringLiteral):
            raise InvalidArguments("The expression is a text, which has no value over time.")
        return self.node(bare)

    def node(self, expression: promql.Expr) -> Node:
        match _bare(expression):
            case promql.VectorSelector() as selector:
                return self._selector(selector)
            case promql.NumberLiteral() as number:
                return Number(number.val)
            case promql.BinaryExpr() as operation:
                return binary(self, operation)
            case promql.Call() as function:
                return call(self, function.func.name, function.args)
            case promql.AggregateExpr() as aggregation:
                return self._aggregation(aggregation)
            case promql.UnaryExpr() as negation:
                of = self.node(negation.expr)
                return Negative(of) if isinstance(of, ScalarNode) else NegativeVector(self.number_of_node(), of)
            case other:
                raise _unsupported(type(other).__name__)

    def vector(self, expression: promql.Expr) -> VectorNode:
        node = self.node(expression)
        if not isinstance(node, VectorNode):
            raise malformed("a vector is expected, and a number was given")
        return node

    def scalar(self, expression: promql.Expr) -> ScalarNode:
        node = self.node(expression)
        if not isinstance(node, ScalarNode):
            raise malformed("a number is expected, and a vector was given")
        return node

    def window(self, expression: promql.Expr) -> Window:
        match _bare(expression):
            case promql.MatrixSelector() as matrix:
                selector = matrix.vector_selector
                window = Window(
                    self._source(),
                    self._matchers(selector),
                    _milliseconds("range", lambda: matrix.range),
                    _milliseconds("offset", lambda: selector.offset),
                )
                self.selectors.append(window)
                return window
            case promql.SubqueryExpr() as subquery:
                return self._subquery(subquery)
            case _:
                raise malformed("a range such as `[5m]` is expected")

    def number_of_node(self) -> int:
        self._nodes += 1
        return self._nodes

    def _source(self) -> int:
        self._sources += 1
        return self._sources - 1

    def _selector(self, selector: promql.VectorSelector) -> Selector:
        found = Selector(self._source(), self._matchers(selector), _milliseconds("offset", lambda: selector.offset))
        self.selectors.append(found)
        return found

    def _matchers(self, selector: promql.VectorSelector) -> Matchers:
        if selector.matchers.or_matchers:
            raise InvalidArguments(
                "`or` between matchers of one selector is not supported here.", hint="Write two selectors with `or` between them."
            )
        found = tuple(self._matcher(matcher) for matcher in selector.matchers.matchers)
        return named(selector.name, found) if selector.name else found

    def _matcher(self, matcher: promql.Matcher) -> Matcher:
        match = _MATCHES[str(matcher.op)]
        if match in {Match.pattern, Match.no_pattern} and matcher.value not in self._patterns:
            states = pattern_of(matcher.value).states  # refused here, and not at the first sample
            if states > 1:
                self._patterns[matcher.value] = states
            if len(self._patterns) > MOST_PATTERNS or sum(self._patterns.values()) > MOST_PATTERN_STATES:
                raise InvalidArguments(
                    f"The expression has more than {MOST_PATTERNS} regular expressions, or they need more than"
                    f" {MOST_PATTERN_STATES:,} states together.",
                    hint="Use fewer of them, without large counts, or lists of words such as `a|b`.",
                )
        return Matcher(matcher.name, match, matcher.value)

    def _subquery(self, subquery: promql.SubqueryExpr) -> Subquery:
        outside = self.selectors, self.subqueries
        self.selectors, self.subqueries = [], []
        inner = self.node(subquery.expr)
        found = Subquery(
            source=-1,
            matchers=(),
            range_ms=_milliseconds("range", lambda: subquery.range),
            offset_ms=_milliseconds("offset", lambda: subquery.offset),
            number=self.number_of_node(),
            inner=inner,
            step_ms=_milliseconds("step", lambda: subquery.step) or DEFAULT_SUBQUERY_STEP_MS,
            selectors=tuple(self.selectors),
            subqueries=tuple(self.subqueries),
        )
        self.selectors, self.subqueries = outside
        self.subqueries.append(found)
        return found

    def _aggregation(self, aggregation: promql.AggregateExpr) -> Node:
        name = str(aggregation.op)
        parameter = aggregation.expr if aggregation.param is None else aggregation.param
        grouping = _grouping(aggregation.modifier)
        if name in SUMMARIES:
            return Aggregate(SUMMARIES[name], grouping, self.vector(aggregation.expr))
        match name:
            case "topk" | "bottomk":
                count = self.scalar(parameter)
                return Extremes(name == "topk", count, grouping, self.vector(aggregation.expr))
            case "quantile":
                share = self.scalar(parameter)
                return Quantile(share, grouping, self.vector(aggregation.expr))
            case "count_values":
                label = _label(parameter)
                return CountValues(label, grouping, self.vector(aggregation.expr))
            case _:
                raise InvalidArguments(
                    f"The aggregation `{name}` is not supported here.",
                    hint="Supported aggregations: " + ", ".join(SUPPORTED_AGGREGATIONS) + ".",
                )


def with_plain_strings(text: str) -> str:
    """The same with strings in backticks quoted: the parser refuses backslashes in them, where they mean nothing."""
    return PARTS.sub(lambda found: quoted(found[0][1:-1]) if found[0].startswith("`") else found[0], text)


def _bare(expression: promql.Expr) -> promql.Expr:
    while isinstance(expression, promql.ParenExpr):
        expression = expression.expr
    return expression


def _grouping(modifier: promql.AggModifier | None) -> Grouping:
    if modifier is None:
        return Grouping()
    return Grouping(modifier.type == promql.AggModifierType.Without, frozenset(modifier.labels))


def _label(parameter: object) -> str:
    bare = _bare(parameter) if isinstance(parameter, promql.Expr) else None
    label = bare.val if isinstance(bare, promql.StringLiteral) else ""
    if not is_label_name(label):
        raise InvalidArguments(
            "`count_values` takes the name of a label.", hint="It is made of letters, digits and `_`, and begins with no digit."
        )
    return label


def _milliseconds(what: str, read: Callable[[], timedelta | None]) -> int:
    """A duration of the tree; 0 where there is none. The parser hands out those that Python cannot hold only when asked."""
    try:
        found = read()
    except OverflowError:
        found = timedelta.max
    milliseconds = 0 if found is None else found // _MILLISECOND
    if abs(milliseconds) > LONGEST_RANGE_MS:
        raise InvalidArguments(f"A {what} is longer than {LONGEST_RANGE_MS // 86_400_000} days.", hint="Take a shorter one.")
    return milliseconds


def malformed(why: str) -> InvalidArguments:
    """The parser's complaint in our words."""
    unknown = _UNKNOWN_FUNCTION.search(why)
    if unknown is not None:
        return unsupported_function(unknown[1])
    said = _UNPRINTABLE.sub(" ", why)[:_LONGEST_REASON]
    return InvalidArguments(
        f"The expression is no PromQL: {said}.",
        hint='An example: `sum by (service) (rate(requests_total{status=~"5.."}[5m])) > 1`.',
    )


def _unsupported(kind: str) -> InvalidArguments:
    return InvalidArguments(f"A {kind} cannot stand there.", hint="Ranges are arguments of functions such as `rate`.")
