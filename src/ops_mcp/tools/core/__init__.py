"""The core toolset: who am I, what is there, deploy and its siblings, and the record of it all."""
