"""The page that a run leaves: one HTML file without scripts, which needs no other file."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surrogates import __version__
from surrogates.files import atomic
from surrogates.notebook import table
from surrogates.provenance import readable, revision

from .estimate import percent

if TYPE_CHECKING:
    from .loop import Learned
    from .policy import Look

_LABELS = {
    "relative": "mean relative error",
    "spread": "error over spread",
    "worst": "error over spread, worst output",
}
_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#222}"
    "h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse}"
    "td,th{padding:.15em .8em .15em 0;font-weight:normal}caption{display:none}"
    "thead th{border-bottom:1px solid #999}pre{background:#f4f4f4;padding:.7em;overflow:auto}"
    "svg{width:100%;height:auto}.verdict{font-size:1.15em}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(found: Learned, problem: str, config: str) -> None:
    """Write the report of a run beside its surrogate.

    Args:
        found: The run's outcome.
        problem: The problem's name.
        config: All settings of the problem, TOML text.
    """
    asked = found.asked
    title = f"A surrogate of {problem}"
    body = "\n".join(
        [
            f"<h1>{html.escape(title)}</h1>",
            f'<p class="verdict">{html.escape(verdict(found))}</p>',
            _figure(found),
            table("Spent", (), _spent(found)),
            "<h2>Rounds</h2>",
            table("Rounds", _HEADER, [_row(look, asked.target) for look in found.looks]),
            "<p>Each error was measured on random samples that the surrogate of its round had not "
            "seen. An interval holds the mean error over all parameters with 90 %; the upper "
            "limits of looks that may end the run are wider, so that all of them together stop "
            "wrongly in at most 10 of 100 runs.</p>",
            "<h2>Use</h2>",
            f"<pre>{html.escape(_commands(asked.out))}</pre>",
            "<h2>Settings of the problem</h2>",
            f"<pre>{html.escape(config)}</pre>",
            f"<p>varpro-surrogates {html.escape(' '.join(filter(None, _version())))}</p>",
        ]
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
    with atomic(asked.page) as beside:
        beside.write_text(page, encoding="utf-8", errors="replace")


def verdict(found: Learned) -> str:
    """Return the outcome in a sentence or two."""
    asked, look, estimate = found.asked, found.left, found.estimate
    met = "is below" if found.met else "is not shown to be below"
    return (
        f"The {_LABELS[asked.measure]} is {estimate}, measured on {estimate.samples} random "
        f"samples that the surrogate has not seen. It {met} the target, "
        f"{percent(asked.target)} %, with 90 % confidence. It was trained on {look.trained} "
        f"samples; {found.looks[-1].solves} were solved for in all."
    )


def _version() -> tuple[str, str]:
    return __version__, revision()


_HEADER = ("round", "solves", "training samples", "fresh", "failed", "error", "interval", "look")


def _row(look: Look, target: float) -> Sequence[str]:
    """Return a row of the table of looks."""
    one = look.estimate
    kind = "measures" if look.level is None else f"may stop, at {percent(look.level)} %"
    if look.certifies(target):
        kind = "target met"
    numbers = (look.round + 1, look.solves, look.trained, one.samples, one.failed)
    limits = f"{percent(one.lower)} to {percent(one.upper)} %"
    return (*map(str, numbers), f"{percent(one.value)} %", limits, kind)


def _spent(found: Learned) -> list[Sequence[str]]:
    """Return rows on what the run has cost."""
    asked = found.asked
    return [
        ("budget", str(asked.budget)),
        ("solves", str(found.looks[-1].solves)),
        ("core-seconds of solves", f"{found.core_seconds:.3g}"),
        ("hours, with trainings", f"{found.hours:.3g}"),
        ("seed", str(asked.seed)),
        ("effort of trainings", asked.effort),
        *([("fidelities", found.fidelities)] if found.fidelities else []),
    ]


def _figure(found: Learned) -> str:
    """Return the figure as SVG within the page."""
    from surrogates.plots.learning import learning

    with tempfile.TemporaryDirectory(prefix="surrogates-") as folder:
        path = Path(folder) / "figure.svg"
        solves = [look.solves for look in found.looks]
        estimates = [look.estimate for look in found.looks]
        errors = [(one.lower, one.value, one.upper) for one in estimates]
        asked = found.asked
        how: dict[str, Any] = {
            "left": found.looks.index(found.left),
            "label": _LABELS[asked.measure],
        }
        learning(solves, errors, asked.target, path, **how)
        text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def _commands(out: Path) -> str:
    """Return what a user does next."""
    name, data = readable(out.name), readable(out.with_suffix(".h5").name)
    return (
        f"surrogates info {name}\n"
        f"surrogates predict {name} --in y.csv --out c.csv\n"
        f"surrogates evaluate {name} {data}      # the fresh samples are its test part\n"
        f"surrogates explore {name}\n"
        f"surrogates export {name} --format c --out surrogate.c\n\n"
        f'surrogate = surrogates.load("{name}")   # Python\n'
        "c, std, J = surrogate.predict(y), surrogate.predict_std(y), surrogate.jacobian(y)"
    )
