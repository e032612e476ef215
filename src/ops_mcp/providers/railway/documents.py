"""Every question that ops-mcp asks Railway, in one place. The published schema is the authority; tests hold these to it."""

from typing import NamedTuple


class Document(NamedTuple):
    """One GraphQL operation. With `secret` its variables hold a secret, so no answer to it is ever quoted."""

    name: str
    text: str
    secret: bool = False


_DEPLOYMENT = """
id
status
createdAt
statusUpdatedAt
deploymentStopped
canRollback
url
staticUrl
meta
instances { id status }
"""

_LOG = """
timestamp
message
severity
attributes { key value }
tags { deploymentInstanceId }
"""

TOKEN_SCOPE = Document("TokenScope", "query TokenScope { projectToken { projectId environmentId } }")

PROJECT_SCOPE = Document(
    "ProjectScope",
    """
query ProjectScope($project: String!) {
  project(id: $project) { id workspaceId environments(first: 100) { edges { node { id } } } }
}
""",
)

DEPLOYMENT = Document(
    "DeploymentNow",
    f"""
query DeploymentNow($id: String!) {{
  deployment(id: $id) {{ {_DEPLOYMENT} }}
}}
""",
)

DEPLOYMENTS = Document(
    "DeploymentsOfService",
    f"""
query DeploymentsOfService($project: String!, $environment: String!, $service: String!, $first: Int!, $after: String) {{
  deployments(input: {{projectId: $project, environmentId: $environment, serviceId: $service}}, first: $first, after: $after) {{
    edges {{ node {{ {_DEPLOYMENT} }} }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}
""",
)

STEPS = Document(
    "StepsOfDeployment",
    """
query StepsOfDeployment($id: String!) {
  deploymentEvents(id: $id, first: 50) { edges { node { step createdAt completedAt } } }
}
""",
)

SOURCE = Document(
    "SourceOfService",
    """
query SourceOfService($environment: String!, $service: String!) {
  serviceInstance(environmentId: $environment, serviceId: $service) { source { image repo } }
}
""",
)

DEPLOY = Document(
    "DeployCommit",
    """
mutation DeployCommit($environment: String!, $service: String!, $commit: String) {
  serviceInstanceDeployV2(environmentId: $environment, serviceId: $service, commitSha: $commit)
}
""",
)

ROLLBACK = Document("RollBackTo", "mutation RollBackTo($id: String!) { deploymentRollback(id: $id) }")
RESTART = Document("RestartDeployment", "mutation RestartDeployment($id: String!) { deploymentRestart(id: $id) }")
STOP = Document("StopDeployment", "mutation StopDeployment($id: String!) { deploymentStop(id: $id) }")
CANCEL = Document("CancelDeployment", "mutation CancelDeployment($id: String!) { deploymentCancel(id: $id) }")

NEWS = Document(
    "NewsOfDeployment",
    "subscription NewsOfDeployment($id: String!) { deployment(id: $id) { id status deploymentStopped } }",
)

RUN_LOGS = Document(
    "LinesOfRun",
    f"""
query LinesOfRun($id: String!, $limit: Int!, $filter: String, $from: DateTime, $to: DateTime) {{
  deploymentLogs(deploymentId: $id, limit: $limit, filter: $filter, startDate: $from, endDate: $to) {{ {_LOG} }}
}}
""",
)

BUILD_LOGS = Document(
    "LinesOfBuild",
    f"""
query LinesOfBuild($id: String!, $limit: Int!, $filter: String, $from: DateTime, $to: DateTime) {{
  buildLogs(deploymentId: $id, limit: $limit, filter: $filter, startDate: $from, endDate: $to) {{ {_LOG} }}
}}
""",
)

VARIABLES = Document(
    "VariablesOfService",
    """
query VariablesOfService($project: String!, $environment: String!, $service: String!) {
  variables(projectId: $project, environmentId: $environment, serviceId: $service)
}
""",
    secret=True,
)

# skipDeploys is no variable of the document: a write that releases something cannot be sent.
SET_VARIABLE = Document(
    "SetVariable",
    """
mutation SetVariable($project: String!, $environment: String!, $service: String!, $name: String!, $value: String!) {
  variableUpsert(input: {
    projectId: $project, environmentId: $environment, serviceId: $service, name: $name, value: $value, skipDeploys: true
  })
}
""",
    secret=True,
)

SERVICES = Document(
    "ServicesOfEnvironment",
    """
query ServicesOfEnvironment($project: String!, $environment: String!, $first: Int!, $after: String) {
  environment(id: $environment, projectId: $project) {
    serviceInstances(first: $first, after: $after) {
      edges { node { serviceId serviceName } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
""",
)

TEMPLATE = Document("TemplateByCode", "query TemplateByCode($code: String!) { template(code: $code) { id serializedConfig } }")

DEPLOY_TEMPLATE = Document(
    "DeployTemplate",
    """
mutation DeployTemplate($project: String!, $environment: String!, $template: String!, $config: SerializedTemplateConfig!) {
  templateDeployV2(input: {
    projectId: $project, environmentId: $environment, templateId: $template, serializedConfig: $config
  }) { workflowId }
}
""",
    secret=True,
)

WORKFLOW = Document("WorkflowNow", "query WorkflowNow($id: String!) { workflowStatus(workflowId: $id) { status } }")

CREATE_SERVICE = Document(
    "CreateService",
    """
mutation CreateService($project: String!, $environment: String!, $name: String!) {
  serviceCreate(input: {projectId: $project, environmentId: $environment, name: $name}) { id name }
}
""",
)

ALL: tuple[Document, ...] = (
    TOKEN_SCOPE,
    PROJECT_SCOPE,
    DEPLOYMENT,
    DEPLOYMENTS,
    STEPS,
    SOURCE,
    DEPLOY,
    ROLLBACK,
    RESTART,
    STOP,
    CANCEL,
    NEWS,
    RUN_LOGS,
    BUILD_LOGS,
    VARIABLES,
    SET_VARIABLE,
    SERVICES,
    TEMPLATE,
    DEPLOY_TEMPLATE,
    WORKFLOW,
    CREATE_SERVICE,
)
