"""The nouns that every room shares: frozen values, no IO, no clock."""
