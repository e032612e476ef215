"""Every document is held to the published schema, and so is everything that is asked and answered on the way."""

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    build_schema,
    is_introspection_type,
    validate,
)

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import Provision, SetVariable
from ops_mcp.providers.railway import documents
from sandbox.railway.answering import OWN
from tests.providers.railway import spec
from tests.providers.railway.house import V1, V2, bound, house

OWN_SCHEMA = build_schema(OWN.read_text(encoding="utf-8"))
BUILT_IN = {"Boolean", "Int", "String", "ID", "Float"}


@spec.needs_schema
@pytest.mark.parametrize("document", documents.ALL, ids=lambda d: d.name)
def test_a_document_is_valid_against_the_published_schema(document: documents.Document) -> None:
    parsed, operation = spec.operation_of(document.text)
    assert not validate(spec.published(), parsed)
    assert operation.name.value == document.name


@pytest.mark.parametrize("document", documents.ALL, ids=lambda d: d.name)
def test_a_document_is_valid_against_our_own_part_of_it(document: documents.Document) -> None:
    assert not validate(OWN_SCHEMA, spec.operation_of(document.text)[0])


def test_the_list_of_documents_holds_every_document() -> None:
    constants = [value for value in vars(documents).values() if isinstance(value, documents.Document)]
    assert sorted(d.name for d in constants) == sorted(d.name for d in documents.ALL)
    assert len({d.name for d in documents.ALL}) == len(documents.ALL)


@spec.needs_schema
def test_what_the_published_schema_refuses_is_refused_here() -> None:
    """Railway's own page on rollbacks selects fields of what is a bare Boolean."""
    wrong, _ = spec.operation_of("mutation Back($id: String!) { deploymentRollback(id: $id) { id status } }")
    assert validate(spec.published(), wrong)
    with pytest.raises(AssertionError):
        spec.judge("mutation Back($id: String!) { deploymentRollback(id: $id) { id } }", {"id": "x"}, {"data": {}})
    answer = {"data": {"deployment": {"status": "EXPLODED"}}}
    with pytest.raises(AssertionError, match="status"):
        spec.judge("query Q($id: String!) { deployment(id: $id) { status } }", {"id": "x"}, answer)


@spec.needs_schema
def test_our_own_part_says_nothing_that_the_published_schema_does_not_say() -> None:
    compared = 0
    for name, own in OWN_SCHEMA.type_map.items():
        if is_introspection_type(own) or name in BUILT_IN:
            continue
        whole = spec.published().type_map[name]
        assert type(whole) is type(own), name
        match own:
            case GraphQLEnumType():
                assert set(own.values) == set(whole.values), name
                compared += len(own.values)
            case GraphQLObjectType():
                compared += _compare_objects(own, whole)
            case GraphQLInputObjectType():
                compared += _compare_inputs(own, whole)
            case _:
                assert isinstance(own, GraphQLScalarType), name
                compared += 1
    assert compared > 150


def _compare_objects(own: GraphQLObjectType, whole: GraphQLObjectType) -> int:
    for name, field in own.fields.items():
        published = whole.fields[name]
        assert str(field.type) == str(published.type), f"{own.name}.{name}"
        arguments = {a: str(argument.type) for a, argument in field.args.items()}
        assert arguments.items() <= {a: str(argument.type) for a, argument in published.args.items()}.items(), (
            f"{own.name}.{name}"
        )
        needed = {a for a, argument in published.args.items() if isinstance(argument.type, GraphQLNonNull)}
        assert needed <= set(arguments), f"{own.name}.{name}"
    return sum(1 + len(field.args) for field in own.fields.values())


def _compare_inputs(own: GraphQLInputObjectType, whole: GraphQLInputObjectType) -> int:
    for name, field in own.fields.items():
        assert str(field.type) == str(whole.fields[name].type), f"{own.name}.{name}"
        assert field.default_value == whole.fields[name].default_value, f"{own.name}.{name}"
    needed = {n for n, field in whole.fields.items() if isinstance(field.type, GraphQLNonNull)}
    assert needed <= set(own.fields), own.name
    return len(own.fields)


@spec.needs_schema
@pytest.mark.anyio
async def test_everything_that_is_asked_and_answered_in_a_whole_course_is_valid_and_counted(tmp_path: Path) -> None:
    before = spec.counts.copy()
    here = house(tmp_path, token_kind={"production": "workspace"}, tokens={"staging": "rw-staging", "production": "rw-workspace"})
    here.behaves("b" * 40, fate="fails_build")
    imaged = bound(service_id="service-cache", image=True)
    one = await here.deployed(1, V1)
    two = await here.deployed(2, V2, replaces=one)
    three = here.placement(3, V1)
    back = await here.provider.rollback(three, restores=one, ends=two, tell=here.told)
    await here.provider.restart(three.evolve(handle=back.handle))
    await here.provider.logs(three.evolve(handle=back.handle), LogQuery(text="started", limit=3))
    failing = here.placement(4, "b" * 40)
    with pytest.raises(Exception, match="failed at Railway"):
        await here.provider.deploy(failing, replaces=three, tell=here.told)
    await here.provider.logs(failing.evolve(handle=here.told.handle), LogQuery(limit=3))
    await here.provider.variables(bound())
    await here.provider.set_variable(bound(), SetVariable(name="MODE", value="fast"))
    await here.provider.provision(bound(), Provision(template="postgres", name="orders-db"), tell=here.told)
    await here.provider.provision(bound(), Provision(template="empty", name="later"), tell=here.told)
    await here.provider.resolve(imaged, None)
    slow = here.placement(5, V2)
    here.railway.faults.plan("internal", on="DeploymentNow", times=3)
    await here.provider.deploy(slow, replaces=None, tell=here.told)
    await here.provider.stop(slow.evolve(handle=here.told.handle))
    here.railway.world.deploy(here.railway.world.instances["service-web", "shop-staging"], V1)
    await here.provider.stop(slow.evolve(handle=list(here.railway.world.deployments)[-1]))
    await here.provider.status(here.placement(6, V3_NOWHERE, binding=bound("production")))
    judged = spec.counts - before
    news = {documents.NEWS.name}  # goes over a WebSocket: test_listening.py
    missing = {d.name for d in documents.ALL} - news - set(judged)
    assert not missing
    assert sum(judged.values()) >= 60


V3_NOWHERE = "9" * 40
