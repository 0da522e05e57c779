"""Write RESULTS.md from the JSON files in `results/`, which the scripts beside this one made.

    python benchmarks/write_results.py

Published figures stand beside ours with their own base accuracies; their sources are named in the table.
"""

from pathlib import Path

from tables import accuracy, compiler, device, training


def main() -> None:
    """Write the file."""
    sections = [
        *(accuracy.compress(), accuracy.ablations(), accuracy.demo(), training.admm(), training.training_compiled()),
        *(training.ranking(), training.search(), training.processes(), training.torchvision()),
        *(compiler.compiled(), compiler.compile_cost(), compiler.shares(), compiler.ncnn(), compiler.tuning()),
        *(device.overhead(), device.fuzz()),
    ]
    text = "# Results\n\nWritten by `benchmarks/write_results.py` from the JSON files in `benchmarks/results/`.\n\n"
    path = Path(__file__).with_name("RESULTS.md")
    path.write_text(text + "\n\n".join(section for section in sections if section) + "\n")


if __name__ == "__main__":
    main()
