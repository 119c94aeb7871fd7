// The page: its state, what follows from it, and what is drawn of it once per frame.

const LETTERS = "ABCDEFGH";

class Page {
  constructor() {
    const read = (id) => document.getElementById(id).textContent;
    const { about, form, arrays } = JSON.parse(read("page-data"));
    this.about = about;
    this.arrays = unpack(read("page-arrays"), arrays);
    this.model = new Model(form, this.arrays);
    this.domain = new Domain(this.model);
    about.spans = Object.fromEntries(
      Object.entries(about.coordinates).map(([key, values]) => [
        key,
        Math.max(...values) - Math.min(...values) || Math.abs(values[0]) || 1,
      ]),
    );
    this.layout = layoutOf(about, form.task);
    const y = this.domain.given(new Float64Array(this.model.n_in));
    this.state = {
      y,
      pins: [],
      data: null,
      output: this.liveliest(),
      level: "0.95",
      held: new Set(),
    };
    this.settled = true;
    this.title();
    this.controls = new Controls(document.getElementById("controls"), this);
    this.charts = this.chartsOf(document.getElementById("outputs"));
    this.levels();
    this.sensitivities = new Sensitivities(this);
    this.settings = new Settings(this);
    this.data = new Data(this);
    this.buttons();
    this.restore();
    addEventListener("hashchange", () => this.restore());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    addEventListener("resize", () => this.schedule());
    this.draw();
  }

  title() {
    const { about, model } = this,
      classes = model.form.task === "classification";
    const file = about.file.replace(/\.(pt|npz)$/, ""),
      named = file !== about.file && file !== about.problem;
    document.getElementById("title").textContent = document.title = named ? file : about.problem;
    if (classes) document.getElementById("outputs-title").textContent = "Probabilities";
    const plural = (n, word) => `${n} ${word}${n === 1 ? "" : word.endsWith("s") ? "es" : "s"}`;
    const words = named ? [about.problem] : [];
    words.push(
      `${plural(model.n_in, "parameter")} \u2192 ${plural(model.n_out, classes ? "class" : "observable")}`,
    );
    const [part] = ["test", "validation"].filter((name) => about.errors[name]);
    const { relative, accuracy } = part ? about.errors[part] : {};
    if (typeof accuracy === "number")
      words.push(`accuracy on ${part} samples ${format(100 * accuracy, 3)} %`);
    else if (typeof relative === "number")
      words.push(`mean relative error on ${part} samples ${format(100 * relative, 2)} %`);
    document.getElementById("summary").textContent = words.join(" \u00b7 ");
    const relation = document.getElementById("relation"),
      text = this.domain.words(about.y_names, format);
    relation.hidden = !text;
    relation.textContent =
      text &&
      `${text} When one moves, the others follow by the least change that keeps this. A lock holds a parameter.`;
    const more = [
      file !== about.file && `Surrogate ${about.file}`,
      about.chosen,
      about.samples && `${about.samples} training samples`,
      about.digest && `dataset ${about.digest}`,
      `varpro-surrogates ${about.version}`,
    ].filter(Boolean);
    const exact = about.difference
      ? `Its numbers are shortened: predictions differ from the file\u2019s by at most ${format(about.difference, 1)} of their spread.`
      : "Its numbers are those of the file.";
    document.getElementById("about").textContent = `${more.join(" \u00b7 ")}. ${exact}`;
  }

  // The observable that varied most in training; the first one if that is not known.
  liveliest() {
    const { spread, c_units: units } = this.about;
    if (!spread || new Set(units).size > 1) return 0;
    return spread.reduce((best, v, o) => (v > spread[best] ? o : best), 0);
  }

  chartsOf(root) {
    const { layout } = this;
    if (layout.kind === "maps") return [new Maps(root, layout, this)];
    if (layout.kind === "strips") return [new Strips(root, layout, this)];
    const charts = layout.panels.map(
      (panel) => new Curves(root.appendChild(element("div")), panel, this),
    );
    if (this.hasMean()) this.meanSelect(charts);
    return charts;
  }

  hasMean() {
    return Boolean(this.about.mean?.every((v) => v !== null));
  }

  // Whether curves show values, or values minus the mean of training, which hides how they differ.
  meanSelect(charts) {
    const select = element(
      "select",
      { "aria-label": "What the curves show" },
      element("option", { value: "", text: "values" }),
      element("option", { value: "mean", text: "values minus the training mean" }),
    );
    select.addEventListener("change", () => {
      for (const chart of charts) {
        chart.minus = select.value ? this.about.mean : null;
        chart.range = null;
      }
      this.settle();
    });
    document.getElementById("views").append(select);
  }

  levels() {
    if (!this.model.hasBars) return;
    const select = element(
      "select",
      {},
      ...Object.keys(this.about.quantiles).map((level) =>
        element("option", { value: level, text: `${Math.round(100 * level)} %` }),
      ),
    );
    select.value = this.state.level;
    select.addEventListener("change", () => {
      this.state.level = select.value;
      for (const pin of this.state.pins) Object.assign(pin, this.result(pin.point.y));
      this.settle();
    });
    document.getElementById("views").prepend(element("label", {}, "intervals of ", select));
  }

  // What the charts take of one setting.
  result(y) {
    const { model } = this,
      point = model.at(y);
    if (model.form.task === "classification") return { point, c: model.probabilities(point) };
    const c = model.values(point);
    if (!model.hasBars) return { point, c };
    const [lower, upper] = model.interval(point, this.about.quantiles[this.state.level]);
    return { point, c, lower, upper, std: model.std(point) };
  }

  jacobianOf(result) {
    result.jacobian ||= this.model.jacobian(result.point);
    return result.jacobian;
  }

  move(j, value) {
    this.state.y = this.domain.moved(this.state.y, j, value, this.state.held);
    this.schedule();
  }

  set(y) {
    this.state.y = Float64Array.from(y);
    this.settle();
  }

  choose(o) {
    this.state.output = o;
    this.settle();
  }

  // A change has ended: axes fit again, tables follow.
  settle() {
    this.settled = true;
    this.schedule();
  }

  schedule() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    const start = performance.now(),
      { state } = this;
    this.now = this.result(state.y);
    const outside = this.model.outside(state.y);
    const results = { now: this.now, pins: state.pins, data: state.data };
    this.controls.update(state.y, outside);
    this.warn(outside);
    for (const chart of this.charts) chart.update(results);
    this.sensitivities.update(this.now);
    this.settings.update(results);
    this.data.update();
    this.milliseconds = performance.now() - start;
  }

  // The result of the setting, also where it has changed since the last frame.
  current() {
    if (this.waiting) {
      cancelAnimationFrame(this.waiting);
      this.waiting = 0;
      this.draw();
    }
    return this.now;
  }

  warn({ parameters, offFlat }) {
    const { about, model, state } = this,
      lines = [];
    const shown = parameters.slice(0, 3).map((j) => {
      const unit = unitOf(about.y_units[j]),
        ends = `${format(model.lower[j])} to ${format(model.upper[j])}`;
      return `${about.y_names[j]} is ${format(state.y[j])}, in training it was ${ends}${unit ? ` ${unit}` : ""}`;
    });
    if (parameters.length > 3) shown.push(`and ${parameters.length - 3} more`);
    if (shown.length) lines.push(`${shown.join("; ")}.`);
    if (offFlat && !parameters.length)
      lines.push("The parameters do not satisfy the relation of the training parameters.");
    const text = lines.length
      ? `Outside the training domain: ${lines.join(" ")} Predictions are less certain than their bands say.`
      : "";
    const box = document.getElementById("warning");
    if (box.textContent !== text) box.textContent = text;
  }

  buttons() {
    const on = (id, call) => document.getElementById(id).addEventListener("click", call);
    on("pin", () => this.pin(this.state.y));
    on("reset", () => this.set(this.domain.given(new Float64Array(this.model.n_in))));
    on("random", () => this.set(this.domain.random(this.state.held, this.state.y)));
    on("copy-table", () => this.copy(this.table(), "The table"));
    on("copy-json", () => this.copy(JSON.stringify(this.values(), null, 1), "The values"));
    on("copy-link", () => {
      history.replaceState(null, "", this.fragment());
      this.copy(location.href, "The link");
    });
    on("skip", (event) => {
      event.preventDefault();
      document.getElementById("outputs-title").focus();
    });
  }

  pin(y) {
    const { pins } = this.state,
      used = new Set(pins.map(({ dash }) => dash));
    const free = [...LETTERS].findIndex((_, i) => !used.has(i));
    if (free < 0) {
      this.toast(`At most ${LETTERS.length} settings side by side: remove one first.`);
      return;
    }
    pins.push({ ...this.result(Float64Array.from(y)), letter: LETTERS[free], dash: free });
    pins.sort((a, b) => a.dash - b.dash);
    this.settle();
  }

  unpin(pin) {
    this.state.pins = this.state.pins.filter((one) => one !== pin);
    this.settle();
  }

  // The settings and their predictions, one a column.
  table() {
    const now = this.current(),
      { about, state } = this,
      all = [now, ...state.pins];
    const head = [
      "",
      "unit",
      "current",
      ...state.pins.map(({ letter }) => letter),
      ...(now.std ? ["std"] : []),
    ];
    const inputs = about.y_names.map((name, j) => [
      name,
      about.y_units[j],
      ...all.map(({ point }) => point.y[j]),
    ]);
    const outputs = about.c_names.map((name, o) => [
      name,
      about.c_units[o],
      ...all.map(({ c }) => c[o]),
      ...(now.std ? [now.std[o]] : []),
    ]);
    return tsv([head, ...inputs, ...outputs]);
  }

  values() {
    const now = this.current(),
      { about } = this,
      named = (names, values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
    const classes = this.model.form.task === "classification";
    return {
      problem: about.problem,
      parameters: named(about.y_names, now.point.y),
      [classes ? "probabilities" : "predictions"]: named(about.c_names, now.c),
      ...(now.std ? { std: named(about.c_names, now.std) } : {}),
    };
  }

  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.toast(`${what} is copied.`.replace("values is", "values are"));
    } catch {
      const area = element("textarea", { class: "away", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      this.toast(
        done
          ? `${what} is copied.`.replace("values is", "values are")
          : "The browser does not let this page copy.",
      );
    }
  }

  toast(text) {
    const box = document.getElementById("toast");
    box.textContent = text;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => {
      box.textContent = "";
    }, 4000);
  }

  // Everything that a link restores: the setting, pinned ones, the output, parameters that are held.
  fragment() {
    const { state } = this,
      list = (values) => Array.from(values, String).join(",");
    const parts = [
      `y=${list(state.y)}`,
      ...state.pins.map(({ point, dash }) => `${LETTERS[dash]}=${list(point.y)}`),
    ];
    parts.push(`c=${state.output}`, `level=${state.level}`);
    if (state.held.size) parts.push(`held=${list(state.held)}`);
    return `#${parts.join("&")}`;
  }

  restore() {
    const text = location.hash.slice(1).replace(/%2C/gi, ","); // as programs for mail write it
    if (!text) return;
    const parts = new Map(text.split("&").map((part) => part.split("=")));
    const read = (key) => (parts.get(key) || "").split(",").map((v) => (v ? Number(v) : NaN));
    const fits = (y) => y.length === this.model.n_in && y.every(Number.isFinite);
    const y = read("y");
    if (!fits(y)) {
      this.toast(`This link is not of this surrogate: it takes ${this.model.n_in} numbers.`);
      return;
    }
    const { state } = this,
      output = Number(parts.get("c"));
    state.y = Float64Array.from(y);
    if (Number.isInteger(output) && output >= 0 && output < this.model.n_out) state.output = output;
    if (parts.get("level") in this.about.quantiles) state.level = parts.get("level");
    const select = document.querySelector("#views label select");
    if (select) select.value = state.level;
    state.held = new Set(
      parts.has("held") ? read("held").filter((j) => j >= 0 && j < this.model.n_in) : [],
    );
    state.pins = [];
    for (const letter of LETTERS) {
      const pinned = read(letter);
      if (parts.has(letter) && fits(pinned)) this.pin(pinned);
    }
    this.settle();
  }

  rebuild() {
    for (const chart of this.charts) chart.build();
    this.settle();
  }
}

window.page = new Page();
