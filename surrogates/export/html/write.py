"""Write the page: join its parts, and keep foreign text from becoming code."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from surrogates import __version__
from surrogates.errors import InputError
from surrogates.files import atomic

from .pack import Packed, constants_of, packed, text

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

LIMIT = 1_000_000
"""Largest size of a page in bytes: it is sent by mail, and opens at once."""

_SCRIPTS = (
    *(
        "numbers.js",
        "model.js",
        "algebra.js",
        "covariance.js",
        "fit.js",
        "setting.js",
        "layout.js",
        "table.js",
    ),
    *("curves.js", "maps.js", "strips.js", "controls.js", "panels.js"),
    *("data.js", "app.js"),
)
_LEVELS = (0.5, 0.9, 0.95, 0.99)
_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def save(
    surrogate: LoadedSurrogate, path: str | os.PathLike[str], *, limit: int | None = LIMIT
) -> None:
    """Write a surrogate as one page, whole or not at all.

    Args:
        surrogate: From `surrogates.load`.
        path: The file, NAME.html.
        limit: Largest size in bytes; None for any.

    Raises:
        InputError: If its features have no such form, the page would be larger than the limit, or
            the path is no .html or cannot be written.
    """
    if Path(path).suffix != ".html":
        raise InputError(f"cannot write {path}: expected the name of an .html file")
    reference = constants_of(surrogate)
    name = Path(surrogate.path).name
    constants = packed(reference)
    content = b""
    if limit is None or len(constants.content) < limit:
        content = page(constants, reference.metadata, name)
    if limit is not None and not 0 < len(content) <= limit:
        content = page(packed(reference, reduced=True), reference.metadata, name)
    if limit is not None and len(content) > limit and reference.correlation is not None:
        alone = replace(reference, correlation=None)
        content = page(packed(alone, reduced=True), reference.metadata, name)
    if limit is not None and len(content) > limit:
        n_out, width = reference.W.shape
        raise InputError(
            f"the page of {surrogate.path} would have {len(content) / 1e6:.1f} MB, at most "
            f"{limit / 1e6:g} MB: {n_out} {surrogate.OUTPUTS} of {width} features. Smaller would "
            "be a surrogate of fewer observables, of fewer samples (kernels have one feature for "
            "each), or a network (--set network.kind=ode)"
        )
    with atomic(path) as beside:
        beside.write_bytes(content)


def page(constants: Packed, metadata: Mapping[str, Any], name: str) -> bytes:
    """Return the page's bytes.

    Args:
        constants: The surrogate's, as `pack.packed` returns them.
        metadata: Of its file.
        name: Of its file.
    """
    data = {"about": _about(metadata, constants, name), "form": constants.form}
    data["arrays"] = constants.listing
    library = _read("uPlot.iife.min.js").strip()
    script = "\n".join(['(() => { "use strict";', *map(_own, _SCRIPTS), "})();"])
    style = _read("uPlot.min.css").strip() + "\n" + _read("style.css")
    policy = _POLICY.format(
        script=f"{_digest(library)} {_digest(script)}",
        style=_digest(style),
    )
    words = {
        "POLICY": policy,
        "TITLE": html.escape(f"{metadata['problem']} surrogate"),
        "STYLE": style,
        "DATA": _json(data),
        "ARRAYS": text(bytes(constants.content)),
        "LIBRARY": library,
        "SCRIPT": script,
        "LICENCE": html.escape(_read("uPlot.LICENSE")),
    }
    parts = re.split(r"\{\{([A-Z]+)\}\}", _read("page.html"))
    parts[1::2] = [words[word] for word in parts[1::2]]
    return "".join(parts).encode()


def _about(metadata: Mapping[str, Any], constants: Packed, name: str) -> dict[str, Any]:
    """Return what the page says of the surrogate."""
    training = metadata.get("training", {})
    errors = metadata.get("errors", {})
    kept = ("problem", "y_names", "y_units", "y_lower", "y_upper", "c_names", "c_units")
    parts = {"relative": "mean", "accuracy": None}
    return {
        **{key: metadata[key] for key in kept},
        "coordinates": {
            key: [int(v) if v is not None and v == int(v) else v for v in values]
            for key, values in metadata["coordinates"].items()
        },
        "file": name,
        "version": __version__,
        "digest": str(metadata.get("dataset", {}).get("digest", ""))[:12],
        "samples": training.get("samples"),
        "chosen": training.get("chosen"),
        "mean": _rounded(training.get("c_mean")),
        "spread": _rounded(training.get("c_std")),
        "quantiles": {f"{level:g}": NormalDist().inv_cdf((1 + level) / 2) for level in _LEVELS},
        "errors": {
            part: {
                key: found[key][inner] if inner else found[key]
                for key, inner in parts.items()
                if key in found
            }
            for part, found in errors.items()
        },
        "difference": constants.error,
    }


def _rounded(values: Sequence[float | None] | None) -> list[float | None] | None:
    """Return values for drawing alone, of six digits."""
    if values is None:
        return None
    return [None if value is None else float(f"{value:.6g}") for value in values]


def _own(name: str) -> str:
    """Return a script without its indentation and lines that are comments, to save bytes."""
    lines = (line.strip() for line in _read(name).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _read(name: str) -> str:
    return resources.files("surrogates.export.html").joinpath(name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """Return JSON for a script element: no character in it ends or opens an element."""
    plain = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return plain.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _digest(content: str) -> str:
    """Return the source expression of an inline script or style in the policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
