"""How each kind of probe asks, one file a kind: what it saw, and the pure verdict on that. `kinds` is where a kind is added."""
