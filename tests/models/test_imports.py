import subprocess
import sys


def test_names_data_and_preprocessing_are_known_without_torch() -> None:
    code = (
        "import sys\n"
        "import act.models.data, act.models.preprocessing, act.models.registry\n"
        "assert not {'torch', 'torchvision', 'sklearn'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
