"""Print the test errors of surrogates of one dataset, with work units and seconds of training.

python scripts/compare.py FOLDER [FOLDER ...]

The surrogates FOLDER/*.pt, with their histories, were trained on the dataset FOLDER.h5.
"""

import sys
from pathlib import Path

import surrogates
from surrogates import Dataset, InputError
from surrogates.config import check
from surrogates.training import history


def main() -> int:
    """Print a table for each folder."""
    if len(sys.argv) < 2:
        print("error: give one or more folders of surrogates", file=sys.stderr)
        return 2
    try:
        for folder in map(Path, sys.argv[1:]):
            table(folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def table(folder: Path) -> None:
    """Print a line for each surrogate, the smallest error first."""
    dataset = Dataset.read(folder.with_suffix(".h5"))
    lines = []
    for path in folder.glob("*.pt"):
        errors = surrogates.load(path).evaluate(dataset)
        records = history.read(path.with_suffix(".history.jsonl"))
        check(bool(records), f"{path} has no history: no network was trained for it")
        last = records[-1]
        relative = errors.relative
        lines.append(
            (
                relative.mean,
                f"{path.stem:16}{relative.mean:8.3%} {relative.std:8.3%} {relative.min:8.3%} "
                f"{relative.max:8.3%} {errors.centred.mean:8.2%} {last.work_units:11d} "
                f"{last.seconds:8.1f}",
            )
        )
    print(f"{folder}: {dataset.size('test')} test samples")
    names = " ".join(f"{name:>8}" for name in ("mean", "std", "min", "max", "centred"))
    print(f"{'':16}{names}  work units  seconds")
    for _, line in sorted(lines):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
