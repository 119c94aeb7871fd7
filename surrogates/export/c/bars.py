"""The error bars of a surrogate as C source: what the templates' places hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogates.model.covariance import Covariance
from surrogates.model.tails import MIDDLE

from ..reference import Reference
from .tables import padded, panels
from .templates import filled, sections

# Half the width of an interval with a tail; see `surrogates.model.tails`.
_TAILED_HALF = f"q * exp(0.5 * tail[j] * (q * q - {MIDDLE!r})) * std[j]"


def bars(r: Reference, *, needs_c: bool) -> dict[str, str]:
    """Return the statements and texts of the error bars, by their place.

    Args:
        r: The constants.
        needs_c: Whether the deviation of an output depends on the output itself.
    """
    spread, tailed = float(r.ensemble.spread), bool((r.tail > 0).any())
    optional = sections("optional.c.in")
    words = {
        "members": len(r.ensemble.widths),
        "padded_out": len(padded(r.c_0)),
        "spread": repr(spread),
    }
    needs_c = needs_c or bool(spread)
    return {
        "variance_floor": "NAN" if math.isnan(r.floor) else repr(float(r.floor)),
        "sign": "signs[f] * " if (r.signs < 0).any() else "",
        "apart": filled(optional["apart"], words) if spread else "",
        "share": filled(optional["members share"], words) if spread else optional["share"],
        "c_parameter": "const double *c, " if spread else "",
        "c_argument": "c, " if spread else "",
        "needed_c": optional["needed_c"] if needs_c else "",
        "of_what": "the linear layer's outputs, c," if needs_c else "c",
        "half": _TAILED_HALF if tailed else "q * std[j]",
        "tailed": optional["tailed"].rstrip() if tailed else "",
        "bars": ": NaN, as it is not known" if math.isnan(r.floor) else "",
    }


def covariance(r: Reference, words: Mapping[str, object]) -> dict[str, str]:
    """Return source and header of the covariance of errors, empty where it is not known.

    Args:
        r: The constants.
        words: What the templates of the other functions have.
    """
    if r.correlation is None:
        return {"covariance_source": "", "covariance_header": ""}
    text, spread = sections("covariance.c.in"), r.ensemble.spread
    found = {
        **words,
        **covariance_words(r),
        "first_order": text["first order"].rstrip() if r.log_outputs.any() else "",
        "covariance_members": filled(text["members"], {"spread": repr(spread)}) if spread else "",
    }
    places = ("source", "header")
    return {f"covariance_{place}": filled(text[place], found) for place in places}


def covariance_words(r: Reference) -> dict[str, object]:
    """Return sizes of the covariance of errors and a sentence on chi-squared, if it is known."""
    if r.correlation is None:
        return {}
    n_out = len(r.c_0)
    whole = Covariance(
        mean=np.zeros(n_out),
        factor=np.zeros((n_out, r.n_cov)),
        diagonal=np.ones(n_out),
        scatter=r.correlation.scatter,
    )
    return {
        "n_cov": r.n_cov,
        "loadings": r.correlation.loadings.shape[1],
        "chi2_mean": n_out,
        "chi2_std": f"{whole.chi2_std:.6g}",
    }


def tables(r: Reference) -> dict[str, Any]:
    """Return the arrays of the error bars."""
    found: dict[str, Any] = {
        "leverage": panels(r.leverage),
        "constant": padded(r.constant),
        "sigma": r.sigma,
    }
    if (r.signs < 0).any():
        found["signs"] = r.signs
    if (r.tail > 0).any():
        found["tail"] = r.tail
    if r.ensemble.spread:
        layers = np.split(r.ensemble.W, np.cumsum(r.ensemble.widths)[:-1], axis=1)
        found["member_W"] = np.concatenate([panels(layer) for layer in layers])
        found["member_biases"] = np.concatenate([padded(bias) for bias in r.ensemble.biases])
        found["member_weights"] = r.ensemble.weights.ravel()
        found["member_widths"] = r.ensemble.widths
    if r.correlation is not None:
        found["loadings"] = r.correlation.loadings.ravel()
        found["unique"] = r.correlation.unique
    return found
