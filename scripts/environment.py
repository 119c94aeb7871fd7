"""Answer the questions of scripts/setup.sh about the Python environment that runs this.

    PYTHON scripts/environment.py QUESTION [--lowest]

kind     Print "environment" (a virtual one, or conda), or "base": not to be installed into.
lacking  Print the compiled packages that it cannot find, and pip.
pins     Print a file of constraints for pip.
wanted   Print the requirements for pip: those that are missing or have another version.
project  Print "installed" if this checkout is installed, editable and up to date.

The packages that DOLFINx was built with, and a system's torch, do not change. In an environment
that setup.sh made, all others have the version in scripts/constraints.txt, or with --lowest the
lower end of their range in pyproject.toml. In other environments installed packages stay, unless a
requirement refuses them.

No package is imported to answer, as that would take seconds.
"""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ("dolfinx", "petsc4py", "mpi4py", "h5py", "torch")  # must be of one origin
HELD = ("numpy", "scipy", "h5py", "mpi4py", "petsc4py", "torch")
STAMP = ".varpro-surrogates"  # file in an environment that setup.sh made
MARK = "scripts/setup.sh"  # the INSTALLER of packages that it only registered


def main(question: str, lowest: bool) -> None:
    """Print the answer to one question."""
    conda = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
    environment = conda or sys.prefix != sys.base_prefix
    if question == "kind":
        print("environment" if environment else "base")
    elif question == "lacking":
        names = (*COMPILED, "pip") if environment else COMPILED
        print(", ".join(name for name in names if importlib.util.find_spec(name) is None))
    elif question == "pins":
        print(*(name + bound for name, bound in sorted(pins(lowest).items())), sep="\n")
    elif question == "wanted":
        print(*wanted(lowest), sep="\n", end="")
    elif question == "project":
        print("installed" if is_installed() else "")
    else:
        sys.exit(f"no such question: {question}")


def canonical(name: str) -> str:
    """Return a name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    """Read pyproject.toml."""
    try:
        import tomllib
    except ImportError:
        from pip._vendor import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> Iterator[Any]:
    """Parse the requirements in pyproject.toml for this Python: to build, to run, every extra."""
    from pip._vendor.packaging.requirements import Requirement

    read = project()
    lines = read["build-system"]["requires"] + read["project"]["dependencies"]
    for extra in read["project"]["optional-dependencies"].values():
        lines += extra
    for need in map(Requirement, lines):
        if need.marker is None or need.marker.evaluate():
            yield need


def constraints() -> dict[str, str]:
    """Read the versions in scripts/constraints.txt for this Python."""
    from pip._vendor.packaging.requirements import Requirement

    pinned = {}
    for line in (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate():
                (spec,) = need.specifier
                pinned[canonical(need.name)] = spec.version
    return pinned


def same(one: str, other: str) -> bool:
    """Return whether two versions are equal, such as 3.0 and 3.0.0."""
    from pip._vendor.packaging.version import Version

    return Version(one) == Version(other)


def newer(one: str, other: str) -> str:
    """Return the newer of two versions."""
    from pip._vendor.packaging.version import Version

    return max(one, other, key=Version)


def lower_end(need: Any) -> str:
    """Return the lowest version that a requirement allows."""
    (version,) = (spec.version for spec in need.specifier if spec.operator in (">=", "=="))
    return str(version)


def installed() -> dict[str, tuple[str, bool]]:
    """Find the installed packages: versions, and whether they lie in this environment itself."""
    found: dict[str, tuple[str, bool]] = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if name and is_version(version) and canonical(name) not in found:
            place = Path(str(distribution.locate_file(""))).resolve()
            own = Path(sys.prefix).resolve() in place.parents
            registered = (distribution.read_text("INSTALLER") or "").startswith(MARK)
            found[canonical(name)] = version.split("+")[0], own and not registered
    for name in HELD:
        # Debian 12 registers h5py under another name.
        if name not in found and importlib.util.find_spec(name):
            found[name] = __import__(name).__version__.split("+")[0], False
    return found


def is_version(text: str | None) -> bool:
    """Return whether pip understands a version."""
    from pip._vendor.packaging.version import InvalidVersion, Version

    try:
        return bool(Version(text or ""))
    except InvalidVersion:
        return False


def is_own() -> bool:
    """Return whether setup.sh itself made this environment, and not by conda."""
    prefix = Path(sys.prefix)
    return (prefix / STAMP).exists() and not (prefix / "conda-meta").exists()


def versions(lowest: bool) -> dict[str, str]:
    """Return the version of each package in an environment that setup.sh makes, by name."""
    there = installed()
    if lowest:
        wanted = {canonical(need.name): lower_end(need) for need in requirements()}
    else:
        wanted = constraints()
    kept = {name: there[name][0] for name in HELD if name in there and not there[name][1]}
    return {**wanted, **kept}


def pins(lowest: bool) -> dict[str, str]:
    """Return pip's constraints by name: exactly a version, or at most a version.

    pip keeps an installed package if its version is allowed and suffices. With at most the
    constraint's version, a package that it replaces gets that version.
    """
    there = installed()
    if is_own():
        return {name: f"=={version}" for name, version in versions(lowest).items()}
    bounds = {name: f"=={there[name][0]}" for name in HELD if name in there}
    for name, version in constraints().items():
        have = there.get(name, (None,))[0]
        bound = f"=={version}" if have is None else f"<={newer(have, version)}"
        bounds.setdefault(name, bound)
    return bounds


def wanted(lowest: bool) -> list[str]:
    """Return the requirements that are missing or have another version, in pip's form."""
    there, own = installed(), is_own()
    exact = versions(lowest)
    found = {}
    for need in requirements():
        name = canonical(need.name)
        if name not in exact:
            sys.exit(f"scripts/constraints.txt lacks {name}: run scripts/renew_constraints.sh")
        have = there.get(name, (None,))[0]
        if have is None or (own and not same(have, exact[name])):
            found[name] = f"{name}=={exact[name]}"
        elif not lowest and not need.specifier.contains(have, prereleases=True):
            found[name] = str(need)
    for name, (have, inside) in there.items() if own else ():
        if inside and name in exact and not same(have, exact[name]):
            found.setdefault(name, f"{name}=={exact[name]}")
    return list(found.values())


def is_installed() -> bool:
    """Return whether this checkout is installed, editable and up to date."""
    described = project()["project"]
    try:
        found = metadata.distribution(described["name"])
    except metadata.PackageNotFoundError:
        return False
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    commands = {e.name: e.value for e in found.entry_points if e.group == "console_scripts"}
    return bool(
        origin.get("url") == ROOT.as_uri()
        and origin.get("dir_info", {}).get("editable")
        and found.version == described["version"]
        and commands == described.get("scripts", {})
    )


if __name__ == "__main__":
    # Without this folder and the working directory: setuptools' egg-info there looks like an
    # installation.
    sys.path = [p for p in sys.path if p not in ("", os.getcwd(), str(ROOT / "scripts"))]
    main(sys.argv[1], "--lowest" in sys.argv[2:])
