"""Expressions and patterns written by hand, one a line, each for something that is easily got wrong."""


def _lines(text: str) -> list[str]:
    return [line for line in text.strip().splitlines() if line and not line.startswith("#")]


SUPPORTED = _lines(r"""
# numbers, precedence and signs
010
0x10
1e3
-2^2
2^-1
2^3^2
1 + 2 * 3 ^ 2 % 4 - -5
1 > bool 2 < bool 3
-whole^2
- - whole
+whole
1 - NaN
NaN == bool NaN
Inf - Inf
vector(NaN)
vector(1) or vector(2)
time() % 60
scalar(whole)
scalar(solo)
# NaN, infinities and zeros
avg(strange)
sum(strange)
min(strange)
max(strange)
stddev(strange)
stdvar(strange)
quantile(0.5, strange)
sum_over_time(strange[5m])
avg_over_time(strange[5m])
min_over_time(strange[5m])
max_over_time(strange[5m])
stddev_over_time(strange[5m])
quantile_over_time(0.3, strange[5m])
changes(strange[5m])
resets(strange[5m])
deriv(strange[5m])
rate(strange[5m])
increase(strange[3m])
delta(strange[3m])
predict_linear(strange[5m], 60)
clamp(strange, -Inf, Inf)
clamp_min(strange, NaN)
clamp_max(strange, NaN)
clamp(strange, 1, 0)
clamp(whole, 2, 2)
round(strange, 0)
round(strange)
strange / 0
strange % 0
strange ^ 0.5
0 / strange
strange ^ strange
strange % strange
1 / ceil(strange)
1 / floor(strange * 0.1)
1 / round(strange)
sqrt(strange)
ln(strange)
exp(strange * 1000)
strange == strange
strange != strange
strange > bool NaN
strange < Inf
topk(2, strange)
bottomk(2, strange)
# names that are lost, and labels
{__name__=~"requests_total|errors_total",service="api"}
{__name__=~"requests_total|errors_total"} > 3
rate({__name__=~"requests_total|errors_total"}[5m])
last_over_time({__name__=~"requests_total|errors_total"}[5m])
-{__name__=~"requests_total|errors_total"}
abs({__name__=~"requests_total|errors_total"})
{__name__=~"requests_total|errors_total"} > bool 3
{__name__=~"requests_total|errors_total"} * 3
timestamp({__name__=~"requests_total|errors_total"})
rate({__name__=~"edge_early|edge_late"}[2m])
abs({__name__=~"edge_early|edge_late"})
-{__name__=~"edge_early|edge_late"}
sum by (__name__) ({__name__=~"edge_early|edge_late"})
max_over_time({__name__=~"edge_early|edge_late"}[2m:30s])
capitals
-capitals
sum by (Zone) (capitals)
sum without (Zone) (capitals)
quoted{q="a\"b\\c\nd"}
quoted{r=~"gr.ße"}
quoted{q=~"a.b.c.d"}
quoted{q=~"(?s)a.b.c.d"}
# matching
requests_total{service="api"} + on (service) errors_total
requests_total > on (service, status) errors_total
requests_total == on (service, status, instance) errors_total
requests_total + on (service) group_left limit
limit + on (service) group_right requests_total
up + on (service) group_right (version) build_info
requests_total * on (service) group_left (instance) build_info
requests_total / ignoring (status, instance) group_left limit
requests_total / ignoring (status) group_left limit
limit - on () up
solo * on () group_right requests_total
(whole > 100) + on (service) requests_total
whole + on (zone) (temperature > 1000)
requests_total and errors_total
requests_total and on (service) up == 0
requests_total unless on (service) (up == 1)
up or on (service) build_info
whole and on () vector(1)
whole or vector(1)
whole > bool on (zone, host) temperature
whole > on (zone, host) temperature
# emptiness
nothing
nothing + 1
nothing or solo
solo unless nothing
sum(nothing)
count(nothing)
absent(nothing)
absent(nothing{a="1",b=~"2",c!="3"})
absent(whole{host="x",host!="y",zone="a",zone=~"a"})
absent(sum(nothing))
absent(((whole{host="x"} offset 1m)))
absent_over_time((whole{host="x"}[5m]))
absent_over_time(whole{host="x"}[5m:1m])
scalar(nothing)
topk(3, nothing)
histogram_quantile(0.9, nothing)
rate(nothing[5m])
# histograms
histogram_quantile(0.9, latency_seconds_bucket)
histogram_quantile(0, latency_seconds_bucket)
histogram_quantile(1, latency_seconds_bucket)
histogram_quantile(-0.1, latency_seconds_bucket)
histogram_quantile(1.1, latency_seconds_bucket)
histogram_quantile(NaN, latency_seconds_bucket)
histogram_quantile(0.5, rate(latency_seconds_bucket[5m]))
histogram_quantile(0.5, 0 * latency_seconds_bucket)
histogram_quantile(0.5, -1 * latency_seconds_bucket)
histogram_quantile(0.5, whole)
histogram_quantile(scalar(solo) / 10, latency_seconds_bucket)
histogram_quantile(0.9, sum by (le) (latency_seconds_bucket))
# the most and the least
topk(2, whole)
topk(5, requests_total)
topk(7, latency_seconds_bucket)
bottomk(6, errors_total)
bottomk(11, latency_seconds_bucket)
topk(9, {__name__=~"requests_total|latency.*"})
bottomk(2, whole)
topk(1, whole)
topk(100, whole)
topk(2.9, whole)
topk(-1, whole)
topk(NaN, whole)
topk(1e30, whole)
topk by (zone) (1, temperature)
bottomk without (host) (1, temperature)
topk(scalar(up), whole)
count_values("v", whole)
count_values by (zone) ("v", whole)
count_values without (host) ("zone", whole)
count_values("v", strange)
count_values("v", temperature)
count_values("v", limit * 1e25)
count_values("v", limit * 1e-9)
count_values("1a", whole)
# ranges of expressions
max_over_time(rate(requests_total[5m])[10m:])
max_over_time(sum(rate(requests_total[5m]))[10m:33s] offset 1m)
max_over_time(max_over_time(max_over_time(whole[1m])[5m:30s])[10m:2m])
rate(sum(requests_total)[5m:1m])
avg_over_time(vector(time())[5m:1m])
count_over_time(nothing[5m:1m])
rate(requests_total[5m])[10m:1m]
quantile_over_time(scalar(up), temperature[5m])
sum_over_time((whole > 3)[5m:15s])
deriv(rate(requests_total[2m])[5m:30s])
delta(temperature[5m:1m] offset -3m)
last_over_time(whole[5m:1m])
absent_over_time(up[2m:30s])
""")

PATTERNS = [
    "",
    *_lines(r"""
h1
h1|h2
h[12]
h.
h.*
.*1
.+
h1|
(h1)
(?:h)(1)
(?P<name>h)1
(?i)H1
(?i)[^G]1
h{1}1
h{1,}1
h{0,2}1
h{,2}1
[[:alpha:]]1
[[:^digit:]]1
[^\D]
h\d
\w{2}
\S+
^h1$
h1$|^h2
\Ah1\z
\x681
\x{68}1
h1{1}
(h|1){2,3}
(h?1?)+
h*1*2*
[a-h][0-9]
[h-h]1
[]h]1
[^]x]1
[-h]1
[h-]1
h(1|2)?
h1??
h+?1
(a|b|(c|h))1
a**
h(?=1)1
h++
*h
[z-a]
(h
h)
h{2,1}
h{1001}
{2}h
"""),
]

KNOWN_TO_PROMETHEUS_ALONE = _lines(r"""
whole @ 5
whole @ end()
holt_winters(whole[5m], 0.5, 0.5)
label_replace(whole, "a", "$1", "host", "(.*)")
sort(whole)
label_join(whole, "a", "-", "host")
whole atan2 whole
minute()
pi()
deg(whole)
histogram_count(whole)
""")
