"""The one path of every call: parse, describe, admit, plan, commit, act, settle. Agent, worker and scheduler all come this way."""
