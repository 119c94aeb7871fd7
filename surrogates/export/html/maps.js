// Maps of observables on grids: the setting, pinned ones and data side by side, in one colour range.

const SEQUENTIAL = "00224e 123570 3b496c 575d6d 707173 8a8779 a69d75 c4b56c e4cf5b fee838";
const SIGNED = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f";

// 256 colours of a few stops, as the numbers that a little-endian pixel array takes.
function ramp(stops) {
  const rgb = stops
    .split(" ")
    .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (rgb.length - 1),
      k = Math.min(Math.floor(at), rgb.length - 2);
    const [r, g, b] = [0, 1, 2].map((c) =>
      Math.round(rgb[k][c] + (at - k) * (rgb[k + 1][c] - rgb[k][c])),
    );
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
const RAMPS = { sequential: ramp(SEQUENTIAL), signed: ramp(SIGNED) };

// The cell of each of `pixels` pixels along an axis; cells meet half way between their centres.
function cellsAlong(levels, pixels, reversed) {
  const n = levels.length,
    edge = (i) => (levels[i - 1] + levels[i]) / 2;
  const low = levels[0] - (edge(1) - levels[0]),
    high = levels[n - 1] + (levels[n - 1] - edge(n - 1));
  let cell = 0;
  const along = Int32Array.from({ length: pixels }, (_, p) => {
    const v = low + ((p + 0.5) / pixels) * (high - low);
    while (cell < n - 1 && v > edge(cell + 1)) cell++;
    return cell;
  });
  return reversed ? along.reverse() : along;
}

// Position of a level along an axis, from 0 to 1.
function share(levels, i) {
  const n = levels.length,
    low = levels[0] - (levels[1] - levels[0]) / 2;
  const high = levels[n - 1] + (levels[n - 1] - levels[n - 2]) / 2;
  return (levels[i] - low) / (high - low);
}

class Maps {
  constructor(root, layout, page) {
    Object.assign(this, { root, layout, page, ranges: new Map() });
    const { about, model } = page;
    const kinds = [["value", "values"]];
    if (page.hasMean()) kinds.push(["mean", "values minus the training mean"]);
    if (model.hasBars) kinds.push(["std", "standard deviation of the error"]);
    if (model.n_in <= 12)
      about.y_names.forEach((name, j) => kinds.push([`d${j}`, `derivative by ${name}`]));
    this.select = element(
      "select",
      { "aria-label": "What the maps show" },
      ...kinds.map(([value, text]) => element("option", { value, text })),
    );
    this.select.value = this.hidesDifferences() ? "mean" : "value";
    this.select.addEventListener("change", () => {
      this.ranges.clear();
      page.schedule();
    });
    document.getElementById("views").append(this.select);
    this.panels = root.appendChild(element("div", { class: "panels" }));
    this.rows = layout.panels.map((panel) => this.row(panel));
    const box = element("div", { class: "profiles" });
    this.profileTitle = element("p", { class: "hint", "aria-live": "polite" });
    root.append(this.profileTitle, box);
    this.profiles = [0, 1].map(
      (axis) =>
        new Curves(box.appendChild(element("div")), this.profile(axis), page, {
          height: 190,
          chips: false,
        }),
    );
  }

  // Whether the mean of training is so large that values hide how settings differ.
  hidesDifferences() {
    const { mean, spread } = this.page.about;
    if (!mean || !spread) return false;
    const size = (a) => Math.hypot(...a.map((v) => v || 0));
    return size(spread) < 0.5 * size(mean);
  }

  row(panel) {
    const box = element("div", { class: "maprow" }),
      bar = element("canvas", { class: "bar", width: 256, height: 10 });
    const ends = [element("span"), element("span")];
    const scale = element("div", { class: "scale" }, ends[0], bar, ends[1]);
    this.panels.append(
      element("div", { class: "panel" }, element("h3", { text: panel.title }), box),
    );
    return { panel, box, bar, ends, scale, views: [] };
  }

  // As many maps in a row as there are things to show.
  arrange(row, wanted) {
    const key = wanted.map(({ title }) => title).join("|");
    if (row.key === key) return;
    row.key = key;
    row.views = wanted.map(({ title }) => {
      const canvas = element("canvas", { tabindex: 0, role: "img" }),
        cross = element("div", { class: "cross" });
      const frame = element("div", { class: "frame" }, canvas, cross);
      const { xs, ys } = row.panel,
        wide = (xs[xs.length - 1] - xs[0]) / (ys[ys.length - 1] - ys[0]);
      frame.style.aspectRatio = String(Math.min(Math.max(wide, 0.5), 3));
      const view = { canvas, cross, title };
      new ResizeObserver(([{ contentRect }]) => {
        [canvas.wide, canvas.tall] = [contentRect.width, contentRect.height];
        this.page.schedule();
      }).observe(canvas);
      canvas.addEventListener("click", (event) => this.pick(row, view, event));
      canvas.addEventListener("keydown", (event) => this.step(row, event));
      view.figure = element("figure", {}, element("figcaption", { text: title }), frame);
      return view;
    });
    row.box.replaceChildren(
      element("div", { class: "views" }, ...row.views.map((view) => view.figure)),
      row.scale,
    );
    row.box.dataset.views = this.panels.dataset.views = String(Math.min(wanted.length, 4));
  }

  // What to show of a panel: [{title, of(o), signed}].
  wanted({ now, pins, data }) {
    const { about, model } = this.page,
      kind = this.select.value,
      J = this.derivatives(kind);
    const part = (result) => {
      if (kind === "std") return (o) => result.std[o];
      if (kind === "mean") return (o) => result.c[o] - about.mean[o];
      if (kind[0] === "d") return (o) => J(result)[o];
      return (o) => result.c[o];
    };
    const shown = [{ title: "Current setting", of: part(now) }];
    for (const pin of pins) shown.push({ title: `Setting ${pin.letter}`, of: part(pin) });
    if (data && (kind === "value" || kind === "mean")) {
      shown.push({
        title: "Your data",
        of: kind === "mean" ? (o) => data.values[o] - about.mean[o] : (o) => data.values[o],
      });
      shown.push({ title: "Data \u2212 current", of: (o) => data.values[o] - now.c[o], own: true });
    }
    return shown;
  }

  derivatives(kind) {
    const j = Number(kind.slice(1)),
      { n_in } = this.page.model,
      kept = new Map();
    return (result) => {
      if (!kept.has(result)) {
        const J = this.page.jacobianOf(result);
        kept.set(
          result,
          Float64Array.from({ length: this.page.model.n_out }, (_, o) => J[o * n_in + j]),
        );
      }
      return kept.get(result);
    };
  }

  update(results) {
    const wanted = this.wanted(results);
    for (const row of this.rows) {
      this.arrange(row, wanted);
      const { low, high, signed } = this.rangeOf(row, wanted);
      row.views.forEach((view, i) => {
        let limits = [low, high, signed];
        if (wanted[i].own) {
          const top =
            Math.max(...row.panel.indices.map((o) => Math.abs(wanted[i].of(o)) || 0)) || 1;
          limits = [-top, top, true];
          view.figure.firstChild.textContent = `${wanted[i].title}, \u00b1 ${format(top, 2)} ${unitOf(row.panel.unit)}`;
        }
        this.paint(row.panel, view, wanted[i].of, ...limits);
      });
      this.legend(row, low, high, signed);
    }
    if (this.profiled !== this.page.state.output) {
      this.profiled = this.page.state.output;
      this.profiles.forEach((curves, axis) => {
        curves.shown = null;
        curves.setPanel(this.profile(axis));
      });
      const name = this.page.about.c_names[this.profiled];
      this.profileTitle.textContent = `Profiles through ${name}. Click a map, or focus it and press arrow keys, to choose another.`;
    }
    for (const curves of this.profiles) {
      const minus = this.select.value === "mean" ? this.page.about.mean : null;
      if (curves.minus !== minus) [curves.minus, curves.range] = [minus, null];
      curves.update(results);
    }
  }

  rangeOf(row, wanted) {
    let low = Infinity,
      high = -Infinity;
    for (const { of, own } of wanted) {
      if (own) continue;
      for (const o of row.panel.indices) {
        const v = of(o);
        if (v < low) low = v;
        if (v > high) high = v;
      }
    }
    const old = this.ranges.get(row);
    if (old && !this.page.settled) [low, high] = [Math.min(low, old[0]), Math.max(high, old[1])];
    if (!(high >= low)) [low, high] = [0, 1];
    if (high === low) high = low + (Math.abs(low) || 1);
    this.ranges.set(row, [low, high]);
    const signed = this.select.value !== "std" && low < 0 && high > 0;
    const top = Math.max(-low, high);
    return signed ? { low: -top, high: top, signed } : { low, high, signed };
  }

  paint({ xs, ys, grid, indices, labels, unit }, { canvas, cross, title }, of, low, high, signed) {
    const ratio = Math.min(devicePixelRatio, 2);
    const width = Math.round(canvas.wide * ratio),
      height = Math.round(canvas.tall * ratio);
    if (!width || !height) return;
    const ctx = canvas.getContext("2d");
    if (canvas.width !== width || canvas.height !== height || !canvas.columns) {
      [canvas.width, canvas.height] = [width, height];
      canvas.columns = cellsAlong(xs, width, false);
      canvas.lines = cellsAlong(ys, height, true);
      canvas.image = ctx.createImageData(width, height);
      canvas.pixels = new Uint32Array(canvas.image.data.buffer);
    }
    const colours = RAMPS[signed ? "signed" : "sequential"],
      by = 255 / (high - low);
    const colour = Uint32Array.from(grid, (o) => {
      const v = o < 0 ? NaN : of(o);
      return Number.isNaN(v) ? 0 : colours[Math.min(255, Math.max(0, Math.round((v - low) * by)))];
    });
    const { columns, lines, pixels } = canvas,
      n = xs.length;
    for (let y = 0, p = 0; y < height; y++) {
      if (y && lines[y] === lines[y - 1]) {
        pixels.copyWithin(p, p - width, p);
        p += width;
        continue;
      }
      const start = lines[y] * n;
      for (let x = 0; x < width; x++) pixels[p++] = colour[start + columns[x]];
    }
    ctx.putImageData(canvas.image, 0, 0);
    const o = this.page.state.output,
      cell = grid.indexOf(o);
    cross.hidden = cell < 0;
    if (cell >= 0) {
      cross.style.left = `${100 * share(xs, cell % n)}%`;
      cross.style.top = `${100 * (1 - share(ys, Math.floor(cell / n)))}%`;
    }
    if (this.page.settled || !canvas.hasAttribute("aria-label")) {
      const words = `${title}: map over ${labels.join(" and ")}, ${format(low)} to ${format(high)} ${unitOf(unit)}`;
      canvas.setAttribute("aria-label", words.trim());
    }
  }

  legend(row, low, high, signed) {
    const { bar, ends, panel } = row;
    if (row.signed !== signed) {
      row.signed = signed;
      this.drawBar(bar, signed);
    }
    const unit = this.select.value[0] === "d" ? "" : unitOf(panel.unit);
    [ends[0].textContent, ends[1].textContent] = [format(low, 3), `${format(high, 3)} ${unit}`];
  }

  drawBar(bar, signed) {
    const ctx = bar.getContext("2d"),
      colours = RAMPS[signed ? "signed" : "sequential"];
    const image = ctx.createImageData(bar.width, bar.height),
      pixels = new Uint32Array(image.data.buffer);
    pixels.forEach((_, p) => {
      pixels[p] = colours[p % bar.width];
    });
    ctx.putImageData(image, 0, 0);
  }

  pick({ panel }, { canvas }, event) {
    const box = canvas.getBoundingClientRect(),
      ratio = canvas.width / box.width;
    const column = canvas.columns[Math.floor((event.clientX - box.left) * ratio)];
    const line = canvas.lines[Math.floor((event.clientY - box.top) * ratio)];
    this.choose(panel, column, line);
  }

  choose({ xs, grid }, column, line) {
    const o = grid[line * xs.length + column];
    if (o >= 0) this.page.choose(o);
  }

  step({ panel }, event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[
      event.key
    ];
    if (!move) return;
    event.preventDefault();
    const cell = Math.max(panel.grid.indexOf(this.page.state.output), 0),
      n = panel.xs.length;
    const column = Math.min(Math.max((cell % n) + move[0], 0), n - 1);
    const line = Math.min(Math.max(Math.floor(cell / n) + move[1], 0), panel.ys.length - 1);
    this.choose(panel, column, line);
  }

  // The observables on a line of the grid through the chosen one, along an axis.
  profile(axis) {
    const o = this.page.state.output;
    const at = Math.max(
      this.layout.panels.findIndex(({ grid }) => grid.includes(o)),
      0,
    );
    const { xs, ys, grid, labels, unit } = this.layout.panels[at],
      n = xs.length;
    const cell = Math.max(grid.indexOf(o), 0),
      along = axis ? ys : xs;
    const index = (i) => (axis ? grid[i * n + (cell % n)] : grid[Math.floor(cell / n) * n + i]);
    const there = Array.from(along, (_, i) => i).filter((i) => index(i) >= 0);
    return {
      title: "",
      unit,
      label: labels[axis],
      colour: at,
      groups: [
        {
          name: "profile",
          x: Float64Array.from(there, (i) => along[i]),
          indices: there.map(index),
        },
      ],
    };
  }

  build() {
    for (const curves of this.profiles) curves.build();
  }
}
