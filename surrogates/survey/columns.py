"""Names and units of the columns of survey files."""

from __future__ import annotations

import re

from .lines import Line

_NAMES = {
    **dict.fromkeys(("a", "c1"), "a"),
    **dict.fromkeys(("b", "c2"), "b"),
    **dict.fromkeys(("m", "p1"), "m"),
    **dict.fromkeys(("n", "p2"), "n"),
    **dict.fromkeys(("rhoa", "ra", "appres", "apparentresistivity", "resistivity"), "rhoa"),
    **dict.fromkeys(("r", "z", "rho", "res", "resistance", "transferresistance"), "r"),
    "impedance": "r",
    **dict.fromkeys(("err", "error", "std", "dev", "var"), "err"),
    **dict.fromkeys(("i", "cur", "current"), "i"),
    **dict.fromkeys(("u", "v", "vp", "volt", "voltage"), "u"),
    **dict.fromkeys(("k", "geomfac"), "k"),
    **{name: name for name in ("ip", "iperr", "sp", "valid")},
}
"""Names of the data's columns, those of the unified data format among them."""

DATA = ("a", "b", "m", "n")

DEPTH = "depth"
"""Column of places that counts downwards, ``d`` in files."""

ABSOLUTE = {"err of r": "r", "err of rhoa": "rhoa", "err of u": "u"}
"""Columns of errors in units of the data, and the column that each belongs to."""

_LENGTHS = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3, "in": 0.0254, "ft": 0.3048}
_UNITS: dict[str, dict[str, float]] = {
    "r": {"ohm": 1.0, "mohm": 1e-3, "kohm": 1e3, "v/a": 1.0, "mv/ma": 1.0},
    "rhoa": {"ohmm": 1.0, "ohm*m": 1.0, "ohm-m": 1.0, "ohmmeter": 1.0, "ohmmetre": 1.0},
    "k": {"m": 1.0},
    "err": {"": 1.0, "1": 1.0, "%": 0.01, "percent": 0.01},
    "i": {"ka": 1e3, "a": 1.0, "ma": 1e-3, "ua": 1e-6, "na": 1e-9},
    "u": {"kv": 1e3, "v": 1.0, "mv": 1e-3, "uv": 1e-6, "nv": 1e-9},
    "sp": {"v": 1.0, "mv": 1e-3, "uv": 1e-6},
}
"""Factors to SI units by column; a name without a unit is in SI units."""

_WITH_UNIT = re.compile(r"([^/\[(]+)(?:/(.+)|\[(.*)\]|\((.*)\))?")


def split_unit(word: str) -> tuple[str, str]:
    """Return a column's name in small letters and its unit, of ``I/mA``, ``I[mA]`` or ``I(mA)``."""
    found = _WITH_UNIT.fullmatch(word.strip())
    if not found:
        return word.strip().lower(), ""
    name, *units = found.groups()
    return name.strip().lower(), next((unit for unit in units if unit), "").strip()


def known(word: str) -> bool:
    """Return whether a word names a column of the data."""
    return re.sub("[ _-]", "", split_unit(word)[0]) in _NAMES


def name_of(word: str) -> str:
    """Return the name of a data column without its unit; a name that is not known is kept."""
    given, _ = split_unit(word)
    return _NAMES.get(re.sub("[ _-]", "", given), given)


def data_column(line: Line, word: str) -> tuple[str, float]:
    """Return the name of a data column and the factor to SI units.

    Names that are not known are kept, with their units as given. Errors in a unit of the data have
    the names of `ABSOLUTE`.
    """
    given, unit = split_unit(word)
    name = name_of(word)
    # In files of Latin-1 and UTF-8: micro and Omega signs.
    plain = unit.lower().replace("\u00b5", "u").replace("\u03bc", "u").replace(" ", "")
    plain = plain.replace("\u03c9", "ohm").replace("\u2126", "ohm").replace("\u00b7", "*")
    if name == "r" and plain in _UNITS["rhoa"]:
        name = "rhoa"  # rho is a resistance in the unified data format, a resistivity elsewhere
    factors = _UNITS.get(name)
    if not unit or factors is None:
        return name, 1.0
    if plain.isdecimal() and plain not in factors:  # such as rhoa(3): one of several columns
        return word.strip().lower(), 1.0
    if name == "err" and plain not in factors:
        for key, of in ABSOLUTE.items():
            if plain in _UNITS[of]:
                return key, _UNITS[of][plain]
    if plain not in factors:
        line.refuse(
            f"unknown unit {unit!r} of {given}; known are {', '.join(filter(None, factors))}"
        )
    return name, factors[plain]


def place_column(line: Line, word: str) -> tuple[str, float]:
    """Return ``x``, ``y``, ``z`` or `DEPTH` and the factor to metres of a column of places."""
    given, unit = split_unit(word)
    name = {"h": "z", "elevation": "z", "d": DEPTH}.get(given, given)
    line.check(name in ("x", "y", "z", DEPTH), f"expected x, y or z; got {given[:30]!r}")
    factor = _LENGTHS.get(unit.lower() or "m")
    if factor is None:
        line.refuse(f"unknown unit {unit!r} of {given}; known are {', '.join(_LENGTHS)}")
    return name, factor


def is_place(word: str) -> bool:
    """Return whether a word names a column of places."""
    return split_unit(word)[0] in ("x", "y", "z", "h", "elevation", "d", DEPTH)
