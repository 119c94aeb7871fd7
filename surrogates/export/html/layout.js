// Which observables belong together, and on what they are drawn.
//
//   {kind: "curves", panels: [{title, unit, label, groups: [{name, x, indices}]}]}
//   {kind: "maps", panels: [{title, unit, labels, xs, ys, cells: [{x, y, index}], grid}]}
//   {kind: "strips", indices}

const FEW = 24; // outputs without coordinates that a list shows one by one

function layoutOf(about, task) {
  const { c_names: names, c_units: units, coordinates } = about,
    n = names.length;
  const all = Array.from({ length: n }, (_, i) => i);
  if (task === "classification") return { kind: "strips", indices: all };
  const varying = Object.keys(coordinates)
    .sort()
    .filter((key) => coordinates[key].some((v) => v !== coordinates[key][0]));
  if (varying.includes("time")) return curvesOver("time", varying, about);
  const plane = planeOf(varying);
  if (plane) {
    const maps = mapsOver(plane, varying, about);
    if (maps) return maps;
  }
  if (varying.length) {
    const most = varying.map((key) => [new Set(coordinates[key]).size, key]);
    const [, best] = most.reduce((a, b) => (b[0] > a[0] ? b : a));
    if (n > 3) {
      const curves = curvesOver(best, varying, about);
      // Scattered places: hardly two observables of a curve.
      const groups = curves.panels.reduce((sum, { groups }) => sum + groups.length, 0);
      if (2 * groups <= n) return curves;
    }
  }
  if (n <= FEW) return { kind: "strips", indices: all };
  const groups = grouped(all, (i) => units[i]);
  return {
    kind: "curves",
    panels: [...groups].map(([unit, indices]) => ({
      title: "",
      unit,
      label: "number of the observable",
      groups: [{ name: "observables", x: Float64Array.from(indices), indices }],
    })),
  };
}

function grouped(indices, key) {
  const groups = new Map();
  for (const i of indices) {
    const name = key(i);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(i);
  }
  return groups;
}

// What comes before the bracket of a name: u of "u(s0, 0.4)".
const quantity = (name) => (name.includes("(") ? name.slice(0, name.indexOf("(")).trim() : "");

const place = (about, keys, i) =>
  keys.map((key) => `${key} ${format(about.coordinates[key][i], 3)}`).join(", ");

function curvesOver(key, varying, about) {
  const { c_names: names, c_units: units, coordinates } = about;
  const others = varying.filter((name) => name !== key);
  const all = Array.from({ length: names.length }, (_, i) => i);
  const panels = [...grouped(all, (i) => units[i])].map(([unit, own]) => {
    const several = new Set(own.map((i) => quantity(names[i]))).size > 1;
    const name = (i) =>
      [several ? quantity(names[i]) : "", place(about, others, i)].filter(Boolean).join(", ") ||
      quantity(names[i]) ||
      "observables";
    const groups = [...grouped(own, name)].map(([label, members]) => {
      const indices = members.sort((a, b) => coordinates[key][a] - coordinates[key][b]);
      return { name: label, x: Float64Array.from(indices, (i) => coordinates[key][i]), indices };
    });
    shorten(groups, names);
    return { title: "", unit, label: key, groups };
  });
  return { kind: "curves", panels };
}

// Call groups by what their observables' names share, where that tells them apart: u(s0) of
// "u(s0, 0.4)", "u(s0, 0.5)", ...
function shorten(groups, names) {
  const shared = groups.map(({ indices }) => {
    const cut = new Set(
      indices.map((i) => {
        const found = /^(.*\(.*),[^,()]*\)$/.exec(names[i]);
        return found ? `${found[1]})` : "";
      }),
    );
    return cut.size === 1 ? [...cut][0] : "";
  });
  if (shared.every(Boolean) && new Set(shared).size === shared.length) {
    groups.forEach((group, i) => {
      group.name = shared[i];
    });
  }
}

function planeOf(varying) {
  for (const pair of [
    ["x1", "x2"],
    ["x", "y"],
    ["x0", "x1"],
    ["lon", "lat"],
    ["column", "row"],
  ]) {
    if (pair.every((key) => varying.includes(key))) return pair;
  }
  return varying.length === 2 && varying[0] !== "direction" && varying[1] !== "direction"
    ? varying
    : null;
}

// Maps of grids, one for each set of other coordinates, quantity and unit; null unless the places of
// each fill most of a grid.
function mapsOver([first, second], varying, about) {
  const { c_names: names, c_units: units, coordinates } = about;
  const others = varying.filter((name) => name !== first && name !== second);
  const all = Array.from({ length: names.length }, (_, i) => i);
  const key = (i) =>
    JSON.stringify([quantity(names[i]), units[i], ...others.map((o) => coordinates[o][i])]);
  const panels = [];
  for (const indices of grouped(all, key).values()) {
    const [xs, columns] = levels(indices.map((i) => coordinates[first][i]));
    const [ys, rows] = levels(indices.map((i) => coordinates[second][i]));
    if (xs.length < 2 || ys.length < 2 || indices.length < 9) return null;
    if (indices.length < 0.5 * xs.length * ys.length) return null;
    const grid = new Int32Array(xs.length * ys.length).fill(-1);
    indices.forEach((index, j) => {
      grid[rows[j] * xs.length + columns[j]] = index;
    });
    const sample = indices[0];
    panels.push({
      title: [quantity(names[sample]), others.length ? `(${place(about, others, sample)})` : ""]
        .filter(Boolean)
        .join(" "),
      unit: units[sample],
      labels: [first, second],
      xs,
      ys,
      grid,
      indices,
    });
  }
  return panels.length ? { kind: "maps", panels } : null;
}

// Sorted distinct values, up to rounding, and the position of each value among them.
function levels(values) {
  const span = Math.max(...values) - Math.min(...values) || 1;
  const sorted = [...values].sort((a, b) => a - b);
  const distinct = sorted.filter((v, i) => i === 0 || v - sorted[i - 1] > 1e-9 * span);
  const at = values.map((v) => {
    let low = 0,
      high = distinct.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (distinct[middle] <= v + 1e-9 * span) low = middle;
      else high = middle - 1;
    }
    return low;
  });
  return [Float64Array.from(distinct), at];
}

// A number for people: `digits` significant ones, no trailing zeros.
function format(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const size = Math.abs(value),
    text = value.toPrecision(digits);
  if (size < 1e-3 || size >= 1e6) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${trimmed(mantissa)}\u00b710${raised(exponent.replace("+", ""))}`.replace(
      "-",
      "\u2212",
    );
  }
  return trimmed(text.includes("e") ? String(Number(text)) : text).replace("-", "\u2212");
}

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

const raised = (text) =>
  text.replace(
    /./g,
    (c) =>
      "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[
        "-0123456789".indexOf(c)
      ],
  );

// A unit as it is printed: m\u00b3 of "m^3", nothing of "1".
const unitOf = (unit) =>
  unit && unit !== "1" ? unit.replace(/(?:\^|\*\*)(-?\d+)/g, (_, power) => raised(power)) : "";

// The head of a table's row: a name with its unit.
const rowHead = (name, unit) =>
  element("th", { scope: "row" }, name, element("span", { class: "unit", text: unitOf(unit) }));
