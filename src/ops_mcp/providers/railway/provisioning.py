"""A database from Railway's template, or an empty service, beside the bound one. One of that name that is there will do."""

import re
from collections.abc import Mapping
from typing import cast

from ops_mcp.domain.releases import DeploymentId, Observed, Presence, Provision
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, ProviderError
from ops_mcp.ports import Tell
from ops_mcp.providers.railway.answers import ServiceThere, Template, nodes, page_info, parsed
from ops_mcp.providers.railway.documents import CREATE_SERVICE, DEPLOY_TEMPLATE, SERVICES, TEMPLATE, WORKFLOW, Document
from ops_mcp.providers.railway.line import is_limited
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.seeking import LIMITED_PAUSE_SECONDS, MOST_PAGES, PER_PAGE, SETTLING_SECONDS
from ops_mcp.values import Json, JsonObject

POLL_SECONDS, LONGEST_POLL_SECONDS, GROWTH = 2.0, 10.0, 1.4
UNKNOWN_WORKFLOW_LOOKS = 5
"""How often a workflow may be unknown before that is believed: it is made known a moment after it was begun."""

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")


async def provisioned(opened: Opened, wanted: Provision, *, workflow: str | None, tell: Tell) -> Observed:
    """What came of it. A request that got no answer is looked for, under its name, before it is sent again.

    `workflow` is Railway's work that an earlier attempt began, where it is known; it is followed and not begun again.
    """
    if not _NAME.fullmatch(wanted.name):
        raise InvalidArguments(
            "name is not the name of a service.", hint="Use up to 32 letters, digits and -, such as orders-db."
        )
    there = await _service(opened, wanted.name)
    if there:
        return _observed(opened, there, f"{wanted.name} is there already.")
    await tell(f"asking Railway for {wanted.template} as {wanted.name}")
    if not workflow and (workflow := await _begun(opened, wanted)):
        await tell("Railway makes it", handle=workflow)
    if workflow:
        await _followed(opened, workflow)
    there = await _shown(opened, wanted.name)
    if not there:
        raise ProviderError(
            "Railway says that it is made, and does not show it in this environment.",
            hint="Look at the project's canvas at Railway before asking again.",
        )
    return _observed(opened, there, _said(wanted))


def filled(config: Mapping[str, Json], name: str) -> JsonObject:
    """The template with every default as the value, and its service named. Keys that nobody here knows stay as they are.

    Raises `ProviderError` for a template that needs a value nobody has given.
    """
    services = config.get("services")
    if not isinstance(services, dict) or not services:
        raise ProviderError("Railway's template has an unknown shape at services.", hint="Update ops-mcp.")
    # A template of several services keeps the names of the others: they refer to each other by them.
    return {
        **config,
        "services": {
            key: _service_filled(cast(JsonObject, service), name if number == 0 else None)
            for number, (key, service) in enumerate(services.items())
        },
    }


def _service_filled(service: JsonObject, name: str | None) -> JsonObject:
    variables = service.get("variables")
    told = variables if isinstance(variables, dict) else {}
    named: JsonObject = {**service, "name": name} if name is not None else dict(service)
    if not told:
        return named
    return {**named, "variables": {key: _variable_filled(key, variable) for key, variable in told.items()}}


def _variable_filled(key: str, variable: Json) -> Json:
    if not isinstance(variable, dict) or variable.get("value"):
        return variable
    default = variable.get("defaultValue")
    if default:
        return {**variable, "value": default}
    if variable.get("isOptional"):
        return variable
    raise ProviderError(
        f"Railway's template wants a value for {key}, and has no default for it.",
        hint="Make it by hand at Railway, then bind it.",
    )


async def _begun(opened: Opened, wanted: Provision) -> str | None:
    """The workflow that makes it; None where it was made at once, or shows under its name already."""
    line = opened.line
    variables, document = await _asked_for(opened, wanted)
    while True:
        try:
            data = await line.ask(document, variables)
            break
        except ProviderError as error:
            if not error.temporary:
                raise
            await line.rest(error.retry_after_seconds or LIMITED_PAUSE_SECONDS, until=opened.until, because=error)
            if not is_limited(error) and await _shown(opened, wanted.name):
                return None
    begun = data.get("templateDeployV2")
    workflow = begun.get("workflowId") if isinstance(begun, dict) else None
    return str(workflow) if workflow else None


async def _asked_for(opened: Opened, wanted: Provision) -> tuple[JsonObject, Document]:
    place: JsonObject = {"project": opened.options.project, "environment": opened.options.environment_id}
    if wanted.template == "empty":
        return {**place, "name": wanted.name}, CREATE_SERVICE
    data = await opened.ask(TEMPLATE, {"code": wanted.template})
    template = parsed(Template, data.get("template"))
    return {**place, "template": template.id, "config": filled(template.serialized_config, wanted.name)}, DEPLOY_TEMPLATE


async def _followed(opened: Opened, workflow: str) -> None:
    pause, unknown = POLL_SECONDS, 0
    while True:
        await opened.line.sleep(max(pause, min(opened.line.pace.look_in(), LONGEST_POLL_SECONDS * 6)))
        data = await opened.ask(WORKFLOW, {"id": workflow})
        told = data.get("workflowStatus")
        status = told.get("status") if isinstance(told, dict) else None
        unknown += status == "NotFound"
        if status == "Complete":
            return
        if status == "Error" or unknown > UNKNOWN_WORKFLOW_LOOKS:
            raise ProviderError(
                "Railway could not make it." if status == "Error" else "Railway knows nothing of the work that it took on.",
                hint="Look at the project's canvas at Railway for what is left of it, then ask again.",
            )
        if opened.line.clock() >= opened.until:
            raise DeadlineExceeded("Railway has not made it in time.", hint="Look at the project's canvas at Railway.")
        pause = min(pause * GROWTH, LONGEST_POLL_SECONDS)


async def _service(opened: Opened, name: str) -> str | None:
    """The id of the service of that name in the bound environment."""
    after: str | None = None
    for _ in range(MOST_PAGES):
        asked: JsonObject = {"project": opened.options.project, "environment": opened.options.environment_id, "first": PER_PAGE}
        data = await opened.ask(SERVICES, {**asked, **({"after": after} if after else {})})
        environment = data.get("environment")
        connection = environment.get("serviceInstances") if isinstance(environment, dict) else None
        for service in nodes(ServiceThere, connection):
            if service.service_name == name:
                return service.service_id
        info = page_info(connection)
        if not info.has_next_page:
            return None
        after = info.end_cursor
    return None


async def _shown(opened: Opened, name: str) -> str | None:
    """The same, looked for as long as it may take to show."""
    there = await _service(opened, name)
    for pause in SETTLING_SECONDS:
        if there:
            break
        await opened.line.sleep(pause)
        there = await _service(opened, name)
    return there


def _observed(opened: Opened, service: str, detail: str) -> Observed:
    """It belongs to no deployment of ours."""
    return Observed(
        deployment=DeploymentId(""), presence=Presence.running, handle=service, usage=opened.line.usage, detail=detail
    )


def _said(wanted: Provision) -> str:
    if wanted.template == "empty":
        return f"{wanted.name} is made, empty; Railway makes it in every environment of the project that is no fork."
    return f"{wanted.name} is made from the template {wanted.template}; its variables are at Railway."
