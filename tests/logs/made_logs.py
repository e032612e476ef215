"""Made logs of eight systems whose true templates are known. Written before the miner, which was never tuned on them.

Each template is a sentence with slots; a slot draws from its own source of values. Templates are drawn by Zipf's law, as real
programs speak: a few sentences make most of the lines, some are said once or twice.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class Labelled(NamedTuple):
    """One message and the number of the sentence that made it."""

    message: str
    label: int


def lines_of(system: str, *, count: int, seed: int) -> list[Labelled]:
    """`count` messages of one system, the same for the same seed."""
    return list(_lines(SYSTEMS[system], count, random.Random(f"{system}/{seed}")))


def _lines(sentences: tuple[str, ...], count: int, chance: random.Random) -> Iterator[Labelled]:
    order = list(range(len(sentences)))
    chance.shuffle(order)
    weights = [1 / (rank + 1) ** 1.1 for rank in range(len(order))]
    for label in chance.choices(order, weights, k=count):
        yield Labelled(_filled(sentences[label], chance), label)


def _filled(sentence: str, chance: random.Random) -> str:
    parts = sentence.split("{")
    written = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        written += [_SLOTS[name](chance), rest]
    return "".join(written)


_NAMES = re.findall(
    r"\w+",
    """
    ada alan alice amara anders anna arjun barbara bela bob carol chen chloe clara dan daria dave diego dora edsger elif
    emil erin eva fatima felix finn frida grace greta hana hugo ines ivan jan jin john kai karim kofi lars lena leo lin
    linus luca maria marta mei milan mina nadia nils noor olga omar otto paul petra priya quinn rosa ruth sam sara sven
    tariq tess tim ursula uma vera viktor wei xavier yara yuki zoe
    """,
)
_WORDS = re.findall(
    r"\w+",
    """
    billing checkout catalog inventory orders payments profile search session shipping invoice ledger gateway mailer
    thumbnails recommender scheduler indexer importer exporter archive audit backup cache feed geocoder harvester locker
    metrics notifier pricing quota ranking reports sitemap sms stats tagging translator uploads vault warehouse webhooks
    wishlist zones
    """,
)
_TROUBLES = (
    "connection refused",
    "no route to host",
    "i/o timeout",
    "permission denied",
    "broken pipe",
    "context deadline exceeded",
)
_HEX = "0123456789abcdef"


def _hexadecimal(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_HEX, k=length))


def _uuid(chance: random.Random) -> str:
    return "-".join(_hexadecimal(chance, n) for n in (8, 4, 4, 4, 12))


def _address(chance: random.Random) -> str:
    return f"{chance.choice((10, 172, 192, 203))}." + ".".join(str(chance.randrange(256)) for _ in range(3))


def _host(chance: random.Random) -> str:
    return f"{chance.choice(_WORDS)}-{chance.randrange(1, 40)}.{chance.choice(('prod', 'eu', 'int'))}.example.com"


def _path(chance: random.Random) -> str:
    folders = "/".join(chance.choices(_WORDS, k=chance.randrange(1, 4)))
    top, kind = chance.choice(("var/lib", "srv", "data", "home/app")), chance.choice(("dat", "log", "tmp"))
    return f"/{top}/{folders}/{chance.choice(_NAMES)}.{kind}"


def _route(chance: random.Random) -> str:
    end = chance.choice((str(chance.randrange(1, 99999)), chance.choice(_NAMES), _uuid(chance)))
    return f"/api/v{chance.randrange(1, 4)}/{chance.choice(_WORDS)}/{end}"


def _duration(chance: random.Random) -> str:
    return chance.choice(
        (
            f"{chance.randrange(1, 999)}ms",
            f"{chance.uniform(0, 90):.3f}s",
            f"{chance.randrange(1, 59)}m{chance.randrange(59)}s",
            f"{chance.randrange(1, 900)}µs",
        )
    )


def _size(chance: random.Random) -> str:
    return chance.choice((f"{chance.randrange(1, 900)}KB", f"{chance.uniform(1, 99):.1f} MB", f"{chance.uniform(1, 9):.2f} GiB"))


def _moment(chance: random.Random) -> str:
    day = f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
    return f"{day}T{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}Z"


def _from(values: tuple[str, ...] | list[str]) -> Callable[[random.Random], str]:
    return lambda chance: chance.choice(values)


_SLOTS: Mapping[str, Callable[[random.Random], str]] = {
    "int": lambda c: str(c.randrange(10 ** c.randrange(1, 6))),
    "signed": lambda c: str(c.randrange(-5000, 5000)),
    "float": lambda c: f"{c.uniform(0, 1000):.{c.randrange(1, 5)}f}",
    "percent": lambda c: f"{c.uniform(0, 100):.1f}%",
    "ip": _address,
    "ip6": lambda c: ":".join(f"{c.randrange(1, 65536):x}" for _ in range(8)),
    "port": lambda c: str(c.randrange(1024, 65536)),
    "peer": lambda c: f"{_address(c)}:{c.randrange(1024, 65536)}",
    "mac": lambda c: ":".join(_hexadecimal(c, 2) for _ in range(6)),
    "uuid": _uuid,
    "hex8": lambda c: _hexadecimal(c, 8),
    "sha": lambda c: _hexadecimal(c, 40),
    "pointer": lambda c: "0x" + _hexadecimal(c, 12),
    "path": _path,
    "route": _route,
    "url": lambda c: f"https://{_host(c)}{_route(c)}?page={c.randrange(9)}&q={c.choice(_NAMES)}",
    "host": _host,
    "user": _from(_NAMES),
    "word": _from(_WORDS),
    "mail": lambda c: f"{c.choice(_NAMES)}@{c.choice(_WORDS)}.example.org",
    "duration": _duration,
    "size": _size,
    "moment": _moment,
    "flag": _from(("true", "false")),
    "trouble": _from(_TROUBLES),
    "quoted": lambda c: '"' + " ".join(c.choices(_WORDS, k=c.randrange(1, 5))) + '"',
    "list": lambda c: "[" + ", ".join(str(c.randrange(99)) for _ in range(c.randrange(1, 6))) + "]",
    "version": lambda c: f"{c.randrange(9)}.{c.randrange(30)}.{c.randrange(20)}",
    "pod": lambda c: f"{c.choice(_WORDS)}-{_hexadecimal(c, 9)}-" + "".join(c.choices("bcdfghjklmnpqrstvwxz2456789", k=5)),
    "status": _from(("200", "201", "204", "301", "400", "404", "500", "503")),
    "method": _from(("GET", "POST", "PUT", "DELETE")),
}

SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "node agent": (
        'Started container "{word}" in pod {pod}',
        'Killing container "{word}" in pod {pod} with grace period {int}s',
        "Liveness probe failed for pod {pod}: HTTP probe failed with statuscode: {status}",
        "Readiness probe for {pod} failed (failure): Get {url}: {trouble}",
        "SyncLoop (ADD, api): {pod}",
        "SyncLoop (DELETE, api): {pod}",
        "SyncLoop (PLEG): event for pod {pod} id={uuid}",
        "Volume mount succeeded for volume {word} (uid {uuid}) device mount path {path}",
        "Unable to attach or mount volumes: unmounted volumes={list}: timed out waiting for the condition",
        "Back-off {duration} restarting failed container={word} pod={pod}",
        "Image garbage collection: freed {int} bytes, usage is {percent}",
        "Image garbage collection failed once, stats initialization may not have completed yet",
        "Node {host} status is now: NodeReady",
        "Node {host} status is now: NodeNotReady",
        "Eviction manager: attempting to reclaim memory",
        "Eviction manager: pods {pod} evicted, waiting for pod to be cleaned up",
        "Updated allowable memory to {size}",
        "Failed to pull image registry.example.com/{word}:{version}: rpc error: code = Unknown",
    ),
    "database": (
        "connection received: host={ip} port={port}",
        "connection authorized: user={user} database={word} application_name=psql",
        "disconnection: session time: {int}:{int}:{float} user={user} database={word} host={ip} port={port}",
        "duration: {float} ms  statement: SELECT {quoted}",
        "duration: {float} ms  execute <unnamed>: COMMIT",
        "checkpoint starting: time",
        "checkpoint starting: wal",
        (
            "checkpoint complete: wrote {int} buffers ({percent}); {int} WAL file(s) added, {int} removed, {int} recycled;"
            " write={float} s"
        ),
        "automatic vacuum of table {quoted}: index scans: {int}",
        "automatic analyze of table {quoted}",
        "deadlock detected",
        "Process {int} waits for ShareLock on transaction {int}; blocked by process {int}.",
        "could not receive data from client: Connection reset by peer",
        "could not send data to client: Broken pipe",
        'password authentication failed for user "{user}"',
        'role "{user}" does not exist',
        'relation "{word}" does not exist at character {int}',
        "canceling statement due to statement timeout",
        "canceling autovacuum task",
        "terminating connection due to administrator command",
        "temporary file: path {path}, size {int}",
        "parameter {quoted} changed to {quoted}",
    ),
    "web proxy": (
        "{int} open() {path} failed ({int}: No such file or directory), client: {ip}, server: {host}",
        "{int} open() {path} failed ({int}: Permission denied), client: {ip}, server: {host}",
        (
            "{int} upstream timed out ({int}: Connection timed out) while reading response header from upstream,"
            " client: {ip}, server: {host}"
        ),
        "{int} upstream timed out ({int}: Connection timed out) while connecting to upstream, client: {ip}, server: {host}",
        "{int} connect() failed ({int}: Connection refused) while connecting to upstream, client: {ip}, upstream: {url}",
        "{int} client {ip} closed keepalive connection",
        "{int} a client request body is buffered to a temporary file {path}, client: {ip}",
        "{int} limiting requests, excess: {float} by zone {quoted}, client: {ip}",
        "{int} no live upstreams while connecting to upstream, client: {ip}",
        "{int} SSL_do_handshake() failed (SSL: error:{hex8}:SSL routines) while SSL handshaking, client: {ip}",
        "{int} recv() failed ({int}: Connection reset by peer) while reading response header from upstream, client: {ip}",
        "signal process started",
        "worker process {int} exited with code {int}",
        "worker process {int} exited on signal {int}",
        "start worker process {int}",
        "gracefully shutting down",
        "reconfiguring",
    ),
    "order application": (
        "Order {uuid} created for customer {user} with {int} items",
        "Order {uuid} cancelled by {user}",
        "Order {uuid} shipped to {user} via carrier {word}",
        "Payment for order {uuid} declined: insufficient funds",
        "Payment for order {uuid} accepted, amount {float} EUR",
        "Retrying payment for order {uuid}, attempt {int} of {int}",
        "Circuit breaker {word} changed state from CLOSED to OPEN",
        "Circuit breaker {word} changed state from OPEN to HALF_OPEN",
        "Starting OrderApplication v{version} on {host} with PID {int} ({path} started by {user} in /)",
        "Started OrderApplication in {float} seconds (JVM running for {float})",
        "Tomcat started on port(s): {port} (http) with context path ''",
        "HikariPool-{int} - Start completed.",
        "HikariPool-{int} - Connection is not available, request timed out after {int}ms.",
        "Completed {status} in {int} ms for {method} {route}",
        "Resolved [org.example.web.NotFoundException: no order with id {uuid}]",
        "Flushed {int} events to topic {word} partition {int} offset {int}",
        "User {user} logged in from {ip}",
        "User {user} logged out",
        "Session {hex8} of user {user} expired after {duration}",
        "Cache {word} evicted {int} entries, size is now {size}",
        "Feature flag new_checkout evaluated to {flag} for {user}",
    ),
    "task worker": (
        "Task tasks.send_mail[{uuid}] received",
        "Task tasks.send_mail[{uuid}] succeeded in {float}s: None",
        "Task tasks.resize[{uuid}] received",
        "Task tasks.resize[{uuid}] succeeded in {float}s: {list}",
        "Task tasks.resize[{uuid}] retry: Retry in {int}s",
        "Task tasks.charge[{uuid}] raised unexpected: ConnectionError({quoted})",
        "Connected to redis://{host}:{port}/{int}",
        "Connection to broker lost. Trying to re-establish the connection...",
        "Cannot connect to redis://{host}:{port}/{int}: {trouble}.",
        "mingle: searching for neighbors",
        "mingle: all alone",
        "mingle: sync with {int} nodes",
        "missed heartbeat from worker@{host}",
        "worker@{host} ready.",
        "Sent mail to {mail} using template {word} in {duration}",
        "Mail to {mail} bounced: mailbox full",
        "Mail to {mail} bounced: user unknown",
        "Scheduler: Sending due task {word} (tasks.{word})",
        "Soft time limit ({int}s) exceeded for tasks.resize[{uuid}]",
        "Resized {path} from {int}x{int} to {int}x{int}",
        "Warm shutdown requested by {user}",
    ),
    "firewall": (
        "Deny tcp src outside:{ip}/{port} dst inside:{ip}/{port} by access-group {quoted}",
        "Deny udp src outside:{ip}/{port} dst inside:{ip}/{port} by access-group {quoted}",
        "Built inbound TCP connection {int} for outside:{ip}/{port} to inside:{ip}/{port}",
        "Built outbound UDP connection {int} for outside:{ip}/{port} to inside:{ip}/{port}",
        (
            "Teardown TCP connection {int} for outside:{ip}/{port} to inside:{ip}/{port} duration {int}:{int}:{int} bytes {int}"
            " TCP FINs"
        ),
        "Teardown UDP connection {int} for outside:{ip}/{port} to inside:{ip}/{port} duration {int}:{int}:{int} bytes {int}",
        "Group = {word}, Username = {user}, IP = {ip}, Session disconnected. Duration: {int}h:{int}m:{int}s",
        "AAA user authentication Successful : server = {ip} : user = {user}",
        "AAA user authentication Rejected : reason = AAA failure : server = {ip} : user = {user}",
        "Login permitted from {ip}/{port} to outside:{ip}/ssh for user {quoted}",
        "Interface eth{int}, changed state to up",
        "Interface eth{int}, changed state to down",
        "ARP collision from {ip} {mac} on interface inside",
        "Neighbor {ip6} on Vlan{int} went from FULL to DOWN",
        "Threat detected, object {mac}, average rate {int} per second, max configured rate {int}",
        "CPU utilization for {int} minutes = {percent}",
        "User {user} executed the command {quoted}",
        "Configuration saved to {path} by {user}",
    ),
    "object store": (
        "osd.{int} {peer} boot",
        "osd.{int} failed ({int} reporters from different hosts after {float} >= grace {float})",
        "osd.{int} marked itself down",
        "pg {int}.{hex8} is stuck undersized for {duration}",
        "pgmap v{int}: {int} pgs: {int} active+clean; {size} data, {size} used, {size} avail",
        "mon.{word} calling monitor election",
        "mon.{word} is new leader, mons {list} in quorum",
        "Health check failed: {int} slow ops, oldest one blocked for {int} sec (SLOW_OPS)",
        "Health check cleared: OSD_DOWN (was: {int} osds down)",
        "Health check update: Degraded data redundancy: {int}/{int} objects degraded ({percent})",
        "Cluster is now healthy",
        "scrub starts {int}.{hex8}",
        "scrub ok {int}.{hex8}",
        "deep-scrub starts {int}.{hex8}",
        "deep-scrub ok {int}.{hex8}",
        "bucket {word} created by {user}",
        "bucket {word} deleted by {user}",
        "upload {uuid} of {path} finished: {size} in {duration}",
        "upload {uuid} of {path} aborted: {trouble}",
        "lifecycle: removed {int} objects older than {moment} from {word}",
        "rgw thread {pointer} heartbeat expired, offset {signed}",
    ),
    "api gateway": (
        "{method} {route} {status} {duration} - {int}",
        "request {uuid} routed to {word} at {peer}",
        "request {uuid} rejected: token expired at {moment}",
        "request {uuid} rejected: signature invalid",
        "request {uuid} rate limited for key {hex8}: {int} of {int} used",
        "token issued to client {word} for {mail}, valid until {moment}",
        "token {sha} revoked",
        "upstream {word} is healthy again after {duration}",
        "upstream {word} marked unhealthy: {trouble}",
        "upstream {word} added with weight {float}",
        "websocket {uuid} opened from {ip6}",
        "websocket {uuid} closed with code {int}",
        "config reloaded from {path}: {int} routes, {int} upstreams",
        "config reload failed: unexpected token in JSON at position {int}",
        "tls certificate for {host} expires in {int} days",
        "tls certificate for {host} renewed, serial {sha}",
        "cache hit ratio {percent} over {duration}",
        "cache purged by {user}",
        "plugin {word} loaded (version {version}, sandbox={flag})",
        "listening on http://{peer}",
        "shutting down, {int} connections draining",
        "memory usage rss={size} heap={size} external={int}",
    ),
}
