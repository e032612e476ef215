"""Alert rules, where they stand, and alerts: of our own rules and from outside, with their histories, silences and the board."""

from ops_mcp.store.alerts.board import anything_to_tell
from ops_mcp.store.alerts.happening import receive
from ops_mcp.store.alerts.lives import any_to_expire, append, open_alerts, open_in
from ops_mcp.store.alerts.rules import any_rule, rule_in, rule_of, rules_of
from ops_mcp.store.database import Transaction

__all__ = ["append", "busy", "open_alerts", "open_in", "receive", "rule_in", "rule_of", "rules_of"]


def busy(tx: Transaction) -> bool:
    """Whether a rule has to be evaluated, somebody is still to be told something, or an alert may end by itself."""
    return any_rule(tx) or anything_to_tell(tx) or any_to_expire(tx)
