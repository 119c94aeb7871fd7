"""Survey files with damage of any kind are read or refused by one line; nothing else happens."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from written import LINE, parsed, refusal, written

from surrogates.errors import InputError
from surrogates.survey import Survey, read
from surrogates.survey.describing import describe
from surrogates.survey.ground import depths_of, half_space_potentials

RES2DINV = (
    "title\n1\n11\n0\nType of measurement\n0\n2\n1\n0\n4 0 0 3 0 1 0 2 0 100\n3 0 0 2 0 3 0 90\n"
    "1\n3\n0 1\n1 2\n5 3\n1\n0\n0\n"
)
TABLE = "electrode,x,y,z\n1,0,0,0\n2,1,0,0\n3,2,0,0.5\n\na,b,m,n,rhoa [ohm m]\n1,0,2,3,102.5\n"
PLACES = "xa,za,xb,zb,xm,zm,xn,zn,R [ohm]\n0,0,3,-1,1,0,2,0,5.2\n0,0,,,1,0,2,0,6\n"
ODD = (
    *("", "-1", "0", "1e999", "nan", "x", "#", "1.5", "99999999999999999999", "inf", ",", ";"),
    *("\t", "-", "1e300", "\0", "é", "4", "\n", "1e-320", "1_0"),
)


def damaged(text: str, chance: random.Random) -> str:
    """Cut a text, replace a word, leave out, repeat a line, or write something between."""
    kind = chance.randrange(5)
    if kind == 0:
        return text[: chance.randint(0, len(text))]
    if kind == 1:
        words = re.split(r"(\s+|,)", text)
        words[chance.randrange(len(words))] = chance.choice(ODD)
        return "".join(words)
    if kind == 2:
        place = chance.randint(0, len(text))
        return text[:place] + chance.choice(ODD) + text[place:]
    lines = text.split("\n")
    if kind == 3:
        del lines[chance.randrange(len(lines))]
    else:
        lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return "\n".join(lines)


@pytest.mark.parametrize("text", [LINE + "2\n0 1\n2 3\n", RES2DINV, TABLE, PLACES])
def test_damage_is_refused_by_one_line(tmp_path, text):
    chance, refused = random.Random(7), 0
    read(written(tmp_path, text))
    for _ in range(80):
        path = written(tmp_path, damaged(damaged(text, chance), chance))
        try:
            describe(read(path)).rows()
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused > 40


def test_places_and_numbers_that_overflow_are_refused(tmp_path):
    far = refusal(tmp_path, LINE.replace("3 0\n", "1e300 0\n"))
    assert "line 6: an electrode is farther than 1e+09 m" in far
    assert "must be a whole number" in refusal(tmp_path, LINE.replace("1 4 2 3", "1 1e300 2 3"))


def test_depths_on_topography_count_from_the_surface_nearby(tmp_path):
    line = "".join(f"{x} {0.5 * x}\n" for x in range(6))
    survey = parsed(tmp_path, f"8\n# x z\n{line}3 0.5\n3 -1\n1\n# a b m n\n1 7 2 8\n")
    ground = survey.ground()
    assert not ground.flat
    np.testing.assert_allclose(depths_of(survey.electrodes, ground), [0] * 6 + [1, 2.5])
    # Two electrodes of one hole: directly, and by the image above the surface.
    hole = Survey(electrodes=survey.electrodes, data=np.array([[6, -1, 7, -1]]))
    expected = (1 / 1.5 + 1 / 3.5) / (4 * np.pi)
    np.testing.assert_allclose(half_space_potentials(hole, ground), [expected])
