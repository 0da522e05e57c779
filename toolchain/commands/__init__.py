"""One file a command of `act`; the parser of all of them is in `cli.py`."""
