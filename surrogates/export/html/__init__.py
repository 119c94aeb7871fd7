"""A surrogate as one page that a browser opens from disk: NAME.html.

The page needs no server and no network, and its Content-Security-Policy forbids it any. It computes
values, error bars, Jacobian and domain in double precision, with the constants of the .npz file.

    page.html, style.css    what is seen
    numbers.js, model.js    arrays and formulas
    algebra.js, fit.js      least squares within the domain
    setting.js              how parameters move within their linear relations
    layout.js               which observables make a curve, a map or a list
    table.js                data of the user's
    curves.js, maps.js, strips.js, controls.js, panels.js, data.js, app.js
                            the parts on the screen
    uPlot.*                 the chart library, with its licence

The scripts are plain: `write` joins them in this order, within one function, without comments and
indentation. Their form is that of ``npx prettier@3 --print-width 100 --write``.
"""

from .write import LIMIT, save

__all__ = ["LIMIT", "save"]
