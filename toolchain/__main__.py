"""`python -m act.toolchain` is the command `act`."""

import sys

from .cli import main

sys.exit(main())
