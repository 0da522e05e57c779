import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and weights: ACT_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("ACT_SHARED", ROOT.parent / "shared"))
    if not (folder / "weights").is_dir() or not (folder / "data").is_dir():
        pytest.skip("needs the shared data and weights: set ACT_SHARED to their folder")
    return folder
