// Data of the user's: a table as text, and which numbers belong to which observables.

// Cells of a table: separated by tabs, semicolons, commas or blanks; quotes as in CSV.
function cellsOf(text) {
  const lines = text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\r|\n/)
    .filter((line) => line.trim() && !line.trim().startsWith("#"));
  const separator = ["\t", ";", ","].find((s) => lines.length && split(lines[0], s).length > 1);
  return lines.map((line) => split(line, separator || /\s+/));
}

function split(line, separator) {
  if (separator instanceof RegExp) return line.trim().split(separator);
  const cells = [];
  let cell = "",
    quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (c === '"' && quoted && line[i + 1] === '"') {
      cell += c;
      i++;
    } else if (c === '"' && (quoted || !cell.trim())) {
      quoted = !quoted;
      if (quoted) cell = "";
    } else if (c === separator && !quoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += c;
  }
  return [...cells, cell.trim()];
}

const real = (text) => (text === "" || text === undefined ? NaN : Number(text));

const NOISE = ["std", "sigma", "sd", "error", "noise", "uncertainty"];
const VALUE = ["value", "data", "observed", "measured", "c", "d"];
const NAME = ["name", "observable", "output"];

// Read data: {values, sigma, count, rows} with NaN where there are none, (n_out,) each. Throws an
// Error whose message says what was wrong and what would be right. Three forms are known:
//   columns with the observables' names, a row for each set of data (the first is taken);
//   columns name, value [, std];
//   columns of coordinates, value [, std].
function readData(text, about) {
  const cells = cellsOf(text);
  const expected =
    "expected columns of observables' names; or name, value" +
    (Object.keys(about.coordinates).length
      ? `; or ${Object.keys(about.coordinates).join(", ")}, value`
      : "") +
    "; with std, if you like";
  if (cells.length < 2) throw new Error(`The table has no row below its header: ${expected}.`);
  const header = cells[0].map((name) => name.trim()),
    lower = header.map((h) => h.toLowerCase());
  const find = (words) => lower.findIndex((name) => words.includes(name));
  const n = about.c_names.length,
    number = new Map(about.c_names.map((name, i) => [name, i]));
  const data = {
    values: new Float64Array(n).fill(NaN),
    sigma: new Float64Array(n).fill(NaN),
    rows: 1,
  };
  const put = (index, value, sigma, line) => {
    if (!Number.isFinite(value)) throw new Error(`Line ${line} has no number as its value.`);
    if (!Number.isNaN(sigma) && !(sigma > 0)) throw new Error(`Line ${line}: std must be above 0.`);
    if (!Number.isNaN(data.values[index])) {
      throw new Error(`Line ${line}: ${about.c_names[index]} is there twice.`);
    }
    [data.values[index], data.sigma[index]] = [value, sigma];
  };
  const named = header.map((name, j) => [number.get(name), j]).filter(([i]) => i !== undefined);
  const [name, noise] = [find(NAME), find(NOISE)];
  const keys = Object.keys(about.coordinates).filter((key) => header.includes(key));
  if (named.length) {
    named.forEach(([i, j]) => {
      if (cells[1][j] !== "" && cells[1][j] !== undefined) put(i, real(cells[1][j]), NaN, 2);
    });
    data.rows = cells.length - 1;
  } else {
    const value = find(VALUE);
    if (value < 0 || (name < 0 && !keys.length)) {
      throw new Error(`The table has the columns ${header.slice(0, 6).join(", ")}: ${expected}.`);
    }
    cells.slice(1).forEach((row, i) => {
      const index = name >= 0 ? number.get(row[name]) : nearest(about, keys, header, row);
      if (index === undefined) {
        const what =
          name >= 0 ? row[name] : keys.map((k) => `${k} ${row[header.indexOf(k)]}`).join(", ");
        throw new Error(`Line ${i + 2}: there is no observable ${what}.`);
      }
      put(index, real(row[value]), noise < 0 ? NaN : real(row[noise]), i + 2);
    });
  }
  data.count = data.values.filter((v) => !Number.isNaN(v)).length;
  if (!data.count) throw new Error(`The table has no numbers: ${expected}.`);
  return data;
}

// The one observable at the coordinates of a row, up to 1e-6 of their spans; undefined if none.
function nearest(about, keys, header, row) {
  const found = [];
  about.c_names.forEach((_, i) => {
    const fits = keys.every((key) => {
      const all = about.coordinates[key],
        given = real(row[header.indexOf(key)]);
      const span = about.spans[key];
      return Math.abs(all[i] - given) <= 1e-6 * span;
    });
    if (fits) found.push(i);
  });
  if (found.length > 1) {
    throw new Error(
      `${found.length} observables lie at ${keys.map((k) => `${k} ${row[header.indexOf(k)]}`).join(", ")}: ` +
        `add columns among ${Object.keys(about.coordinates).join(", ")}, or name.`,
    );
  }
  return found[0];
}

// A table of rows, for a clipboard.
const tsv = (rows) => rows.map((row) => row.join("\t")).join("\n");
