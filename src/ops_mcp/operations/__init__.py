"""Multi-step work over ports: run a committed plan, watch it, undo it, supervise what serves. Never calls upward."""
