// Data of the user's: a table as text, and which numbers belong to which observables.

// Cells of a table, rows with the number of their line: separated by tabs, semicolons, commas or
// blanks; quotes as in CSV. Commas in brackets separate nothing, so that u(s1, 0.5) is one name.
function cellsOf(text) {
  const lines = text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\r|\n/)
    .map((line, i) => [line, i + 1])
    .filter(([line]) => line.trim() && !line.trim().startsWith("#"));
  const separator = ["\t", ";", ","].find((s) => lines.length && split(lines[0][0], s).length > 1);
  return lines.map(([text, line]) => {
    const cells = split(text, separator || /\s+/);
    while (cells.length > 1 && cells[cells.length - 1] === "") cells.pop();
    return Object.assign(cells, { line });
  });
}

function split(line, separator) {
  if (separator instanceof RegExp) return line.trim().split(separator);
  const cells = [],
    nested = separator === "," && balanced(line);
  let cell = "",
    quoted = false,
    depth = 0;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (!quoted && nested && "([".includes(c)) depth++;
    if (!quoted && nested && ")]".includes(c)) depth--;
    if (c === '"' && quoted && line[i + 1] === '"') {
      cell += c;
      i++;
    } else if (c === '"' && (quoted || !cell.trim())) {
      quoted = !quoted;
      if (quoted) cell = "";
    } else if (c === separator && !quoted && !depth) {
      cells.push(cell.trim());
      cell = "";
    } else cell += c;
  }
  return [...cells, cell.trim()];
}

// Whether each bracket outside quotes is closed.
function balanced(line) {
  let depth = 0,
    quoted = false;
  for (const c of line) {
    if (c === '"') quoted = !quoted;
    else if (!quoted) depth += "([".includes(c) ? 1 : ")]".includes(c) ? -1 : 0;
    if (depth < 0) return false;
  }
  return depth === 0;
}

// A number as people write it, with a point or a comma and any minus sign; NaN if it is none.
function real(text) {
  const plain = (text || "")
    .trim()
    .replace(/[\u2212\u2013]/g, "-")
    .replace(/^([-+]?\d*),(\d+(?:e[-+]?\d+)?)$/i, "$1.$2");
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(plain) ? Number(plain) : NaN;
}

const NOISE = ["std", "sigma", "sd", "error", "noise", "uncertainty"];
const VALUE = ["value", "data", "observed", "measured", "c", "d"];
const NAME = ["name", "observable", "output"];
const MISSING = ["", "nan", "na", "n/a", "null", "none", "-", "?"];

const missing = (cell) => MISSING.includes((cell ?? "").toLowerCase());
const squeezed = (name) => name.replace(/\s+/g, "");
const UNIT = /\s*[[(]([^\])]*)[\])]$/; // V of "value [V]"

// The observables by their names, with and without blanks.
function numbers(names) {
  const found = new Map();
  names.forEach((name, i) => {
    const short = squeezed(name);
    found.set(short, found.has(short) ? undefined : i);
  });
  names.forEach((name, i) => found.set(name, i));
  return (name) => found.get(name) ?? found.get(squeezed(name || ""));
}

// Read data: {values, sigma, count, rows, ignored} with NaN where there are none, (n_out,) each.
// Throws an Error whose message says what was wrong and what would be right. Three forms are known:
//   columns with the observables' names, a row for each set of data (the first is taken);
//   columns name, value [, std];
//   columns of coordinates, value [, std].
function readData(text, about) {
  if (text.includes("\0")) throw new Error("This is no text: save the table as CSV.");
  const cells = cellsOf(text),
    coordinates = Object.keys(about.coordinates);
  const expected =
    "expected columns of observables' names; or name, value" +
    (coordinates.length ? `; or ${coordinates.join(", ")}, value` : "") +
    "; with std, if you like";
  if (cells.length < 2) throw new Error(`The table has no row below its header: ${expected}.`);
  const header = cells[0],
    n = about.c_names.length,
    plain = header.map((name) => name.replace(UNIT, "").toLowerCase());
  const find = (words) => plain.findIndex((name) => words.includes(name));
  const long = cells.find((row) => row.length > header.length);
  if (long) {
    throw new Error(
      `Line ${long.line} has ${long.length} cells, and the header ${header.length}: put names with ` +
        "commas in quotes, and separate numbers with decimal commas by semicolons.",
    );
  }
  const empty = () => new Float64Array(n).fill(NaN);
  const data = { values: empty(), sigma: empty(), rows: 1, ignored: [] };
  const number = numbers(about.c_names),
    known = header.map(number);
  const [name, value, noise] = [find(NAME), find(VALUE), find(NOISE)];
  const columns = coordinates
    .map((key) => [key, plain.indexOf(key.toLowerCase())])
    .filter(([, j]) => j >= 0);
  if (known.some((i) => i !== undefined)) {
    known.forEach((i, j) => {
      if (i === undefined) data.ignored.push(header[j]);
      else if (!missing(cells[1][j])) put(data, about, i, cells[1][j], "", cells[1].line);
    });
    data.rows = cells.length - 1;
  } else {
    if (value < 0 || (name < 0 && !columns.length)) {
      const found = header.slice(0, 6).join(", ");
      throw new Error(`The table has the columns ${found.slice(0, 80)}: ${expected}.`);
    }
    for (const at of [value, noise]) sameUnit(header[at], about.c_units);
    for (const row of cells.slice(1).filter((row) => !missing(row[value]))) {
      const index = name >= 0 ? number(row[name]) : nearest(about, columns, row);
      if (index === undefined) {
        const what = name >= 0 ? row[name] : placed(columns, row);
        throw new Error(`Line ${row.line}: there is no observable ${what}.`);
      }
      put(data, about, index, row[value], row[noise], row.line);
    }
  }
  data.count = data.values.filter((v) => !Number.isNaN(v)).length;
  if (!data.count) throw new Error(`The table has no numbers: ${expected}.`);
  return data;
}

// Note one value and its noise, as texts.
function put(data, about, index, cell, noise, line) {
  const [value, sigma] = [real(cell), missing(noise) ? NaN : real(noise)];
  const name = about.c_names[index];
  if (!Number.isFinite(value))
    throw new Error(`Line ${line}: ${name} has no number as its value, but ${cell}.`);
  if (!missing(noise) && !(sigma > 0 && sigma < Infinity))
    throw new Error(`Line ${line}: std must be above 0.`);
  if (!Number.isNaN(data.values[index])) throw new Error(`Line ${line}: ${name} is there twice.`);
  [data.values[index], data.sigma[index]] = [value, sigma];
}

// Refuse a column in another unit than the observables', if its header names one.
function sameUnit(head, units) {
  const unit = UNIT.exec(head || "")?.[1].trim();
  if (!unit || new Set(units).size !== 1 || unitOf(units[0]) === unitOf(unit)) return;
  const right = unitOf(units[0]);
  if (right) throw new Error(`The column ${head} is in ${unit}: expected ${right}.`);
}

const placed = (columns, row) => columns.map(([key, j]) => `${key} ${row[j]}`).join(", ");

// The one observable at the coordinates of a row, up to 1e-6 of their spans; undefined if none.
function nearest(about, columns, row) {
  const found = [];
  const given = columns.map(([key, j]) => [about.coordinates[key], real(row[j]), about.spans[key]]);
  about.c_names.forEach((_, i) => {
    const fits = given.every(([all, value, span]) => Math.abs(all[i] - value) <= 1e-6 * span);
    if (fits) found.push(i);
  });
  if (found.length > 1) {
    throw new Error(
      `Line ${row.line}: ${found.length} observables lie at ${placed(columns, row)}: ` +
        `add columns among ${Object.keys(about.coordinates).join(", ")}, or name.`,
    );
  }
  return found[0];
}

// A cell of a table, in quotes if it needs them.
const cellOf = (text) => (/[,;"\t\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

// A table of rows, for a clipboard.
const tsv = (rows) => rows.map((row) => row.join("\t")).join("\n");
