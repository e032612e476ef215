"""The library with which any agent reports its work: docs/client.md. Importing it imports neither the SDK nor the server."""

from ops_mcp.client.emitter import SyncCheckpointEmitter
from ops_mcp.client.lines import AgentCheckpoint, MadeArtifact, Receipt
from ops_mcp.client.reach import Reach
from ops_mcp.client.supervisor import Supervisor
from ops_mcp.client.working import AgentTask, CancelRequested, agent_task, supervised_agent

__all__ = [
    "AgentCheckpoint",
    "AgentTask",
    "CancelRequested",
    "MadeArtifact",
    "Reach",
    "Receipt",
    "Supervisor",
    "SyncCheckpointEmitter",
    "agent_task",
    "supervised_agent",
]
