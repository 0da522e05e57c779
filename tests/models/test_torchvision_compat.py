import subprocess
import sys

from act.models.torchvision_compat import import_torchvision, is_mismatch


def test_torchvision_can_be_imported_more_than_once() -> None:
    module = import_torchvision()
    assert import_torchvision() is module
    assert module.models.resnet18 is not None
    assert module.transforms is not None


def test_torchvision_can_be_imported_after_a_failed_attempt() -> None:
    code = (
        "import contextlib\n"
        "with contextlib.suppress(RuntimeError):\n"
        "    import torchvision\n"
        "from act.models.torchvision_compat import import_torchvision\n"
        "assert import_torchvision().datasets.CIFAR10\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_only_the_mismatch_is_taken_for_one() -> None:
    assert is_mismatch(RuntimeError("operator torchvision::nms does not exist"))
    assert not is_mismatch(RuntimeError("something else"))
