"""What can be looked at, put together from our own stores and the operator's sources. Reads only, and decides nothing."""
