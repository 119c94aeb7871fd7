"""The file of a training history."""

import dataclasses
import json
import math

import pytest
from trainings import SMALL, smooth

from surrogates.errors import InputError
from surrogates.training import history
from surrogates.training.fit import fit


def test_history_file_round_trip(tmp_path):
    records = list(fit(smooth(), SMALL).history)
    records.append(dataclasses.replace(records[-1], ratio=math.nan))
    path = tmp_path / "history.jsonl"
    history.write(path, records)
    assert repr(history.read(path)) == repr(records)
    assert len(path.read_text().splitlines()) == len(records)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InputError, match=f"line {len(records)}"):
        history.read(path)
    with pytest.raises(InputError, match="cannot read the history"):
        history.read(tmp_path / "none")
    line = json.dumps(dataclasses.asdict(records[0]))
    for wrong in (
        "[" * 10**5,
        line.replace('"level": 0', f'"level": {"9" * 10**4}'),
        line.replace('"level": 0', '"level": "0"'),
    ):
        assert wrong != line
        path.write_text(f"{line}\n{wrong}\n")
        with pytest.raises(InputError, match="is not a training history: line 2: "):
            history.read(path)
