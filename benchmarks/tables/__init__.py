"""The tables of RESULTS.md, by what they are about."""
