"""A seeded generator of expressions over the supported subset and the metrics of `world`.

Where a last binary digit decides about presence or a whole number (`==`, `%`, `floor`, `count_values`), the operands are exact:
sums in another order, which Prometheus itself takes from one query to the next, must not matter. For the same reason `topk` is
given selectors, whose order is fixed, so that ties are decided alike.
"""

import random
from collections.abc import Iterator

_GAUGES = ("temperature", "whole", "limit", "up", "solo", "sparse", "strange", "capitals", "build_info")
_COUNTERS = ("requests_total", "errors_total", "latency_seconds_bucket")
_MATCHERS = {
    "requests_total": (
        '{service="api"}',
        '{service!="api",status="500"}',
        '{status=~"5..|404"}',
        '{instance!~"i2"}',
        '{service=~"a.*",nothing=""}',
        '{status=~"[24]0[04]",service=~".+"}',
        '{nothing="there"}',
        '{service=~"(?i)WEB|jo[^x]s"}',
        "",
    ),
    "temperature": ('{zone="north"}', '{host=~"h[12]"}', '{zone!~"no.+",host!=""}', ""),
    "strange": ('{kind="k0"}', '{kind=~"k[1-3]"}', ""),
    "latency_seconds_bucket": ('{service="api"}', '{le="+Inf"}', '{service!~"str.*"}', ""),
    "build_info": ("", '{version=~"v[34]"}'),
}
_ALIKE = {"errors_total": "requests_total", "whole": "temperature"}
_NUMBERS = ("0", "1", "2.5", "-3", "100", "1e3", "0.5", "NaN", "Inf", "-Inf", "0x1F", "5", "60")
_SHARP = ("==", "!=", "== bool", "!= bool", "%", ">=", "<=", ">= bool", "<= bool")
_RANGES = ("1m", "2m30s", "5m", "15s", "30s", "12m", "7m")
_OFFSETS = ("", "", "", " offset 1m", " offset 7m", " offset -2m")
_LABELS = ("service", "status", "instance", "zone", "host", "le", "kind", "nothing", "__name__")
_WORDS = (
    *("whole", "up", "limit", "(whole)", "(up)", 'whole{host="h1"}', '{zone=~"n.*"}', "on", "a:b", "offset"),
    *("+", "-", "*", "/", "^", "%", "-", "and", "or", "unless", ">", "<", "==", "!=", "bool", "(", ")", ",", "(", ")"),
    *(
        "on (zone)",
        "ignoring (host)",
        "group_left",
        "group_right (zone)",
        "by (zone)",
        "without (host)",
        "offset 1m",
        "[5m]",
        "[5m:1m]",
    ),
    *("sum", "avg", "rate", "abs", "scalar(", "vector(", "topk(1,", "quantile(0.5,", "absent(", "max_over_time(", "time()"),
    *("1", "2", "0.5", "NaN", "Inf", "0x10", "010", "1e1", ".5", "# comment", "\n"),
)
_OVER_TIME = ("avg", "min", "max", "sum", "count", "stddev", "stdvar", "last", "present")
_EACH = ("abs", "exp", "ln", "log2", "log10", "sqrt", "-")
_STEPS = ("ceil", "floor", "round", "sgn")
_WHOLE = ("requests_total", "errors_total", "latency_seconds_bucket", "whole", "limit", "up", "sparse", "build_info")


class Expressions:
    """Each call of `vector` is one expression more."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def vector(self, depth: int = 3) -> str:
        pick = self._rng.random()
        if depth <= 0 or pick < 0.12:
            return self.selector()
        for share, make in (
            (0.34, self._over_window),
            (0.52, self._aggregation),
            (0.62, self._each),
            (0.76, self._with_number),
            (0.86, self._joined),
            (0.92, self._set),
        ):
            if pick < share:
                return make(depth - 1)
        return self._special(depth - 1)

    def words(self, count: int) -> Iterator[str]:
        """Words of the language in any order; most of them mean nothing."""
        for _ in range(count):
            yield " ".join(self._one(*_WORDS) for _ in range(self._rng.randrange(1, 8)))

    def selector(self, *names: str) -> str:
        name = self._one(*(names or _GAUGES + _COUNTERS))
        matchers = self._one(*_MATCHERS.get(_ALIKE.get(name, name), ("",)))
        return name + matchers + self._one(*_OFFSETS)

    def exact(self) -> str:
        """A vector whose values are whole numbers or halves."""
        name = self._one(*_WHOLE)
        range_ = f"{name}{self._one(*_MATCHERS.get(_ALIKE.get(name, name), ('',)))}[{self._one(*_RANGES)}]"
        label = self._one("service", "status", "zone", "instance, service", "host")
        return self._one(
            self.selector(*_WHOLE),
            f"{self._one('min', 'max', 'sum', 'count', 'last', 'present')}_over_time({range_})",
            f"{self._one('resets', 'changes', 'idelta')}({range_})",
            f"{self._one('sum', 'min', 'max', 'count', 'group')} by ({label}) ({self.selector(*_WHOLE)})",
        )

    def window(self, depth: int) -> str:
        if self._rng.random() < 0.2 and depth > 0:
            step = self._one("", "1m", "30s", "47s")
            return f"({self.vector(depth - 1)})[{self._one('5m', '10m', '3m')}:{step}]{self._one(*_OFFSETS)}"
        name = self._one(*_GAUGES, *_COUNTERS, *_COUNTERS)
        matchers = self._one(*_MATCHERS.get(_ALIKE.get(name, name), ("",)))
        return f"{name}{matchers}[{self._one(*_RANGES)}]{self._one(*_OFFSETS)}"

    def scalar(self, depth: int) -> str:
        pick = self._rng.random()
        if pick < 0.6 or depth <= 0:
            return self._one(*_NUMBERS)
        if pick < 0.7:
            return "(time() - 1700000000)"
        if pick < 0.8:
            return f"scalar({self.vector(depth - 1)})"
        operator = self._one("+", "-", "*", "/", "^", "> bool", "< bool")
        return f"({self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)})"

    def _over_window(self, depth: int) -> str:
        pick = self._rng.random()
        if pick < 0.5:
            return f"{self._one('rate', 'increase', 'rate', 'increase', 'delta', 'irate', 'idelta')}({self.window(depth)})"
        if pick < 0.85:
            return f"{self._one(*_OVER_TIME)}_over_time({self.window(depth)})"
        if pick < 0.92:
            return f"quantile_over_time({self._one('0.5', '0.9', '0', '1', '-1', '2', 'NaN')}, {self.window(depth)})"
        if pick < 0.97:
            return f"{self._one('resets', 'changes', 'deriv')}({self.window(depth)})"
        return f"predict_linear({self.window(depth)}, {self._one('60', '600', '-30')})"

    def _aggregation(self, depth: int) -> str:
        labels = ", ".join(self._rng.sample(_LABELS, self._rng.randrange(4)))
        grouping = self._one("", f" by ({labels}) ", f" by ({labels}) ", f" without ({labels}) ")
        inside = self.vector(depth)
        pick = self._rng.random()
        if pick < 0.75:
            return f"{self._one('sum', 'avg', 'min', 'max', 'count', 'stddev', 'stdvar', 'group')}{grouping}({inside})"
        if pick < 0.85:
            return f"quantile{grouping}({self._one('0.5', '0.95', '0', '1.5', 'NaN', '0.3')}, {inside})"
        if pick < 0.95:
            return f"{self._one('topk', 'bottomk')}{grouping}({self._one('1', '2', '3', '0', '100')}, {self.selector()})"
        return f'count_values{grouping}("value", {self.exact()})'

    def _each(self, depth: int) -> str:
        if self._rng.random() < 0.3:
            return f"{self._one(*_STEPS)}({self.exact()})"
        return f"{self._one(*_EACH)}({self.vector(depth)})"

    def _with_number(self, depth: int) -> str:
        operator = self._operator()
        sides = [self.exact(), self._one(*_NUMBERS)] if operator in _SHARP else [self.vector(depth), self.scalar(depth)]
        self._rng.shuffle(sides)
        return f"({sides[0]}) {operator} ({sides[1]})"

    def _joined(self, depth: int) -> str:
        pick = self._rng.random()
        operator = self._operator()
        if pick < 0.3:
            counters = self.selector("requests_total"), self.selector("errors_total")
            return f"{counters[0]} {operator} {counters[1]}"
        if pick < 0.5:
            computed = () if operator in _SHARP else ("rate(requests_total[5m])",)
            left = self._one("requests_total", "sum by (service, status) (errors_total)", *computed)
            include = self._one("", "(version)", "(version, instance)", "()")
            right = self._one("build_info", "up", "limit")
            join = f"{operator} on (service) group_left{include}"
            if self._rng.random() < 0.3:
                return f"{right} {join.replace('left', 'right')} {left}"
            return f"{left} {join} {right}"
        if pick < 0.8:
            label = self._one("service", "zone", "status")
            left, right = self._operand(operator, depth), self._operand(operator, depth)
            return f"sum by ({label}) ({left}) {operator} max by ({label}) ({right})"
        match = self._one("", " on (service) ", " ignoring (status) ", " on () ", " ignoring (instance, host) ")
        return f"({self._operand(operator, depth)}) {operator}{match}({self._operand(operator, depth)})"

    def _operand(self, operator: str, depth: int) -> str:
        return self.exact() if operator in _SHARP else self.vector(depth)

    def _set(self, depth: int) -> str:
        match = self._one("", "", "on (service)", "ignoring (status, instance)", "on ()")
        return f"({self.vector(depth)}) {self._one('and', 'or', 'unless')} {match} ({self.vector(depth)})"

    def _special(self, depth: int) -> str:
        match self._rng.randrange(9):
            case 0:
                return f"absent({self.vector(depth)})"
            case 1:
                return f"absent_over_time({self.window(depth)})"
            case 2:
                return f"clamp({self.vector(depth)}, {self.scalar(1)}, {self.scalar(1)})"
            case 3:
                return f"{self._one('clamp_min', 'clamp_max')}({self.vector(depth)}, {self.scalar(1)})"
            case 4:
                return f"round({self.exact()}, {self._one('5', '0.1', '-2', '0', '0.25')})"
            case 5:
                return f"vector({self.scalar(depth)})"
            case 6:
                return f"timestamp({self.vector(self._rng.randrange(2) * depth)})"
            case _:
                return self._histogram(depth)

    def _histogram(self, depth: int) -> str:
        share = self._one("0.5", "0.9", "0.99", "0", "1", "-1", "1.1", self.scalar(1))
        of = self._one(
            self.selector("latency_seconds_bucket"),
            f"rate({self.selector('latency_seconds_bucket').split(' ')[0]}[5m])",
            "sum by (le) (rate(latency_seconds_bucket[5m]))",
            'sum by (le, service) (increase(latency_seconds_bucket{service!="twice"}[10m]))',
            self.vector(depth),
        )
        return f"histogram_quantile({share}, {of})"

    def _operator(self) -> str:
        comparison = self._one(">", "<", ">=", "<=", "==", "!=")
        return self._one("+", "-", "*", "/", "%", "^", comparison, comparison, f"{comparison} bool")

    def _one(self, *of: str) -> str:
        return self._rng.choice(of)
