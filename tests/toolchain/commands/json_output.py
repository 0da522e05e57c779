"""What a command prints with ``--json``."""

import json

from act.toolchain.cli import main


def json_of(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)
