"""What a worker does on the clock besides operations, put together from what `startup` opened: one line a round."""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

from ops_mcp import channels
from ops_mcp.app import App
from ops_mcp.call import call
from ops_mcp.domain.identity import Client, OnBehalf
from ops_mcp.domain.outcomes import Outcome
from ops_mcp.errors import OpsError
from ops_mcp.observing import Notice
from ops_mcp.operations.collect import collecting
from ops_mcp.operations.deliver import deliveries
from ops_mcp.operations.evaluate import AlertRounds
from ops_mcp.operations.guard import watching
from ops_mcp.operations.heal import Healing
from ops_mcp.operations.parts import Enqueue, Parts
from ops_mcp.operations.probes.kinds import asked
from ops_mcp.operations.probes.reaching import Means
from ops_mcp.operations.reporting import reporting
from ops_mcp.operations.sample import sampling
from ops_mcp.operations.tasks import supervision
from ops_mcp.operations.watch_health import HealthWatch
from ops_mcp.secrets import Secrets
from ops_mcp.sources import configured
from ops_mcp.sources.scrape import Page
from ops_mcp.startup import Opened
from ops_mcp.store import alerts, health, outbox
from ops_mcp.store.database import Transaction
from ops_mcp.store.guard import holds_changes_up
from ops_mcp.store.healing import Try
from ops_mcp.store.tasks import writing as tasks
from ops_mcp.values import JsonObject

log = logging.getLogger(__name__)

Round: TypeAlias = Callable[[], Awaitable[None]]


def rounds(opened: Opened, parts: Parts) -> tuple[Round, ...]:
    """Each is called every second for as long as this worker holds its lease, keeps its own pace, and may raise: it is logged."""
    of_alerts = alert_rounds(opened, parts)
    return (
        watching(opened.guard, parts),
        of_alerts.evaluate,
        of_alerts.tell,
        healing(opened, parts).run,
        health_watch(opened, parts).run,
        *sampling(parts, opened.metrics, lambda: scraped_pages(opened)),
        *reports(opened, parts),
        *supervision(parts, opened.config.settings.supervise),
        *outgoing(opened, parts),
        *(collecting(parts, opened.logs, lambda: opened.app.redactor().text) if opened.config.settings.logs.collect else ()),
    )


def busy(tx: Transaction) -> bool:
    """Whether something besides operations and services keeps an idle worker alive: an enabled rule, a delivery that is due."""
    return holds_changes_up(tx) or alerts.busy(tx) or health.any_watched(tx) or outbox.waits(tx) or tasks.is_due(tx)


def alert_rounds(opened: Opened, parts: Parts) -> AlertRounds:
    """The evaluation of alert rules, and the telling of what came of it."""
    app = opened.app

    return AlertRounds(
        opened.database, app.sights.metrics, opened.config.settings.alerts, parts.clock, fence=parts.fence, enqueue=_posted(app)
    )


def healing(opened: Opened, parts: Parts) -> Healing:
    """What rules allow to be done about alerts, each attempt a call of the agent that the operator assigned."""
    app = opened.app

    days = opened.config.settings.alerts.keep_days
    return Healing(
        opened.database, parts.clock, fence=parts.fence, submit=partial(submit, app), enqueue=_posted(app), keep_days=days
    )


async def submit(app: App, one: Try) -> Outcome:
    """Make the call of one attempt, judged and recorded like its agent's own. Its key sees to it that it is done once."""
    arguments: JsonObject = {
        "service": one.service,
        "environment": one.environment,
        "idempotency_key": one.key,
        "reason": f"attempt {one.number} at healing {one.incident}",
    }
    credential = OnBehalf(operation=f"heal {one.incident}", agent=one.agent)
    return await call(app, credential, Client(name="worker", transport="worker"), one.remedy.value, arguments)


def reports(opened: Opened, parts: Parts) -> tuple[Round, ...]:
    """What operators are told of ops-mcp itself."""
    app = opened.app

    settings = opened.config.settings
    return reporting(parts, settings.alerts.operators, _posted(app), settings.routes)


def outgoing(opened: Opened, parts: Parts) -> tuple[Round, ...]:
    """The delivery of what waits in the outbox, each channel on its own."""
    secret = Secrets(opened.config.config_dir).read
    ways = channels.load(opened.config.settings.channels, secret=secret, clock=parts.clock)
    return deliveries(parts, ways, opened.app.redactor)


def scraped_pages(opened: Opened) -> Sequence[Page]:
    """The pages of metrics that the operator named. One that cannot be used is said in the log, and spoils no other."""
    found: list[Page] = []
    for name, made in configured(opened.config, "scrape", secret=Secrets(opened.config.config_dir).read).items():
        try:
            found.append(made())
        except OpsError as error:
            log.warning("[sources.%s] is not scraped: %s", name, error.message)
    return found


def health_watch(opened: Opened, parts: Parts) -> HealthWatch:
    """The probes of the inventory."""
    means = Means(Secrets(opened.config.config_dir).read, parts.clock)
    return HealthWatch(
        parts,
        inventory=lambda: opened.app.world().config.inventory,
        ask=lambda probe: asked(probe, means),
        keep=opened.app.sights.metrics.keep,
        chance=random.random,
    )


def _posted(app: App) -> Enqueue:
    """Into the outbox, without any secret that is known by then."""

    def post(tx: Transaction, notice: Notice, /, *, at: datetime) -> bool:
        return outbox.enqueue(tx, notice, at=at, redactor=app.redactor())

    return post
