// The panels below the charts: sensitivities, settings side by side, data and fit.

const SHOWN = 12; // bars before "all"

class Sensitivities {
  constructor(page) {
    Object.assign(this, { page, all: false });
    const { about, model } = page;
    this.output = document.getElementById("output");
    this.output.append(...about.c_names.map((name, o) => element("option", { value: o, text: name })));
    this.output.addEventListener("change", () => page.choose(Number(this.output.value)));
    this.measure = document.getElementById("measure");
    const kinds = [["range", "change over the parameter's range"], ["unit", "derivative"]];
    this.measure.append(...kinds.map(([value, text]) => element("option", { value, text })));
    this.measure.addEventListener("change", () => page.schedule());
    this.root = document.getElementById("bars");
    this.more = element("button", { type: "button", class: "quiet" });
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      page.schedule();
    });
    this.rows = about.y_names.map((name) => {
      const bar = element("div", { class: "bar" }), number = element("span", { class: "number" });
      const row = element("div", { class: "sensitivity" },
        element("span", { class: "name", text: name, title: name }), element("div", { class: "track" }, bar), number);
      return { row, bar, number };
    });
    const list = element("div", { role: "list" }, ...this.rows.map(({ row }) => { row.setAttribute("role", "listitem"); return row; }));
    this.list = list;
    this.root.append(list, this.more);
    this.more.hidden = model.n_in <= SHOWN;
    const hints = [model.form.task === "classification" ? "Derivatives of the class's probability." : ""];
    if (model.n_flat) hints.push("Along the relation: the other parameters follow as they do when the slider moves.");
    const hint = document.getElementById("sensitivity-hint");
    hint.textContent = hints.filter(Boolean).join(" ");
    hint.hidden = !hint.textContent;
  }

  // dc/dy of one output, at the point of a result; of the probability for a class.
  gradient({ point }, o) {
    const { model } = this.page;
    if (model.form.task !== "classification") return model.jacobian(point, [o]);
    const J = model.jacobian(point), p = model.probabilities(point), n = model.n_in;
    return Float64Array.from({ length: n }, (_, j) => {
      let mean = 0;
      for (let k = 0; k < p.length; k++) mean += p[k] * J[k * n + j];
      return p[o] * (J[o * n + j] - mean);
    });
  }

  update(now) {
    const { model, domain, state, about } = this.page, o = state.output, n = model.n_in;
    if (this.output.value !== String(o)) this.output.value = String(o);
    let g = this.gradient(now, o);
    if (model.n_flat) g = g.map((_, j) => dot(g, this.direction(now, j)));
    const range = this.measure.value === "range";
    if (range) g = g.map((v, j) => v * (model.upper[j] - model.lower[j]));
    const top = Math.max(...g.map((v) => Math.abs(v) || 0)) || 1, unit = unitOf(about.c_units[o]);
    let order = Array.from({ length: n }, (_, j) => j);
    if (n > SHOWN) {
      order.sort((a, b) => Math.abs(g[b]) - Math.abs(g[a]));
      if (!this.all) order = order.slice(0, SHOWN);
    }
    const key = order.join();
    if (key !== this.key && (this.page.settled || !this.key)) {
      this.key = key;
      this.order = order;
      this.list.replaceChildren(...order.map((j) => this.rows[j].row));
    }
    for (const j of this.order) {
      const { bar, number } = this.rows[j], part = (50 * Math.abs(g[j])) / top;
      bar.style.left = `${g[j] < 0 ? 50 - part : 50}%`;
      bar.style.width = `${part}%`;
      bar.classList.toggle("negative", g[j] < 0);
      const by = range ? unit : [unit, unitOf(about.y_units[j])].some(Boolean)
        ? `${unit || 1}${unitOf(about.y_units[j]) ? `/${unitOf(about.y_units[j])}` : ""}` : "";
      number.textContent = `${format(g[j], 3)} ${by}`;
    }
    this.more.textContent = this.all ? `The ${SHOWN} largest` : `All ${n} parameters`;
  }

  direction({ point }, j) {
    return this.page.domain.direction(point.y, j, this.page.state.held);
  }
}

class Settings {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("settings");
  }

  // Drawn anew when a change has ended.
  update({ now, pins }) {
    if (!this.page.settled) return;
    const { about, state } = this.page;
    if (!pins.length) {
      this.root.replaceChildren(element("p", { class: "empty",
        text: "Pin a setting to keep it beside the next ones: its curves stay in the charts." }));
      return;
    }
    const differs = about.y_names.map((_, j) => j)
      .filter((j) => pins.some(({ point }) => point.y[j] !== now.point.y[j]));
    const rows = differs.length ? differs : about.y_names.map((_, j) => j);
    const head = element("tr", {}, element("th", { scope: "col", text: "" }),
      element("th", { scope: "col", text: "Current" }), ...pins.map((pin) => this.heading(pin)));
    const line = (name, unit, values) => element("tr", {}, element("th", { scope: "row" }, name,
      element("span", { class: "unit", text: unitOf(unit) })), ...values.map((v) => element("td", { text: format(v) })));
    const all = [now, ...pins], o = state.output;
    const outputs = [line(about.c_names[o], about.c_units[o], all.map(({ c }) => c[o]))];
    const title = (text) => element("tr", { class: "part" }, element("th", { colspan: all.length + 1, scope: "colgroup", text }));
    const most = 15, body = rows.slice(0, most).map((j) => line(about.y_names[j], about.y_units[j], all.map(({ point }) => point.y[j])));
    const left = rows.length - most;
    this.root.replaceChildren(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Settings" },
      element("table", {}, element("thead", {}, head), element("tbody", {},
        title("Prediction"), ...outputs,
        title(differs.length ? "Parameters that differ" : "Parameters"), ...body,
        ...(left > 0 ? [title(`and ${left} more: copy as table`)] : [])))));
  }

  heading(pin) {
    const { page } = this;
    const use = element("button", { type: "button", class: "quiet", text: "Use", "aria-label": `Use setting ${pin.letter}` });
    use.addEventListener("click", () => page.set(pin.point.y));
    const remove = element("button", { type: "button", class: "quiet", text: "Remove", "aria-label": `Remove setting ${pin.letter}` });
    remove.addEventListener("click", () => page.unpin(pin));
    return element("th", { scope: "col" }, element("span", { class: `dash dash${pin.dash}` }), pin.letter, element("div", {}, use, remove));
  }
}

class Data {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("table");
    const { model } = page;
    if (model.form.task === "classification") {
      document.getElementById("data").hidden = true;
      return;
    }
    this.text = element("textarea", { rows: 3, spellcheck: "false", "aria-label": "Data as a table",
      placeholder: this.example() });
    this.text.addEventListener("paste", () => setTimeout(() => this.read(this.text.value)));
    this.text.addEventListener("change", () => this.read(this.text.value));
    const file = element("input", { type: "file", accept: ".csv,.tsv,.txt,text/*", "aria-label": "Open a table of data" });
    file.addEventListener("change", async () => { if (file.files[0]) this.read(await file.files[0].text()); });
    this.noise = element("input", { type: "number", min: 0, step: "any", id: "noise" });
    this.noise.addEventListener("change", () => { this.result = null; page.settle(); });
    this.prior = element("input", { type: "checkbox" });
    this.prior.checked = page.model.n_in > GROUP; // data rarely determine that many parameters
    this.button = element("button", { type: "button", class: "primary", text: "Fit the parameters", disabled: true });
    this.button.addEventListener("click", () => {
      const { textContent } = this.button;
      [this.button.textContent, this.button.disabled] = ["Fitting \u2026", true];
      setTimeout(() => { // after the browser has drawn that
        this.fit();
        this.button.textContent = textContent;
      }, 40);
    });
    this.message = element("p", { class: "message", role: "status", "aria-live": "polite" });
    this.report = element("div");
    const drop = element("div", { class: "drop" }, this.text, element("div", { class: "file" }, "or drop or open a file: ", file));
    const options = element("div", { class: "options" },
      element("label", {}, "Noise (standard deviation) ", this.noise, element("span", { class: "unit", text: this.unit() })),
      element("label", {}, this.prior, " Prior: the training parameters' mean and spread"), this.button);
    this.root.append(drop, this.message, options, this.report);
    this.dropping(drop);
    this.forget = document.getElementById("forget");
    this.forget.addEventListener("click", () => this.clear());
  }

  unit() {
    const units = new Set(this.page.about.c_units);
    return units.size === 1 ? unitOf([...units][0]) : "of each observable\u2019s unit";
  }

  example() {
    const { c_names: names, coordinates } = this.page.about, keys = Object.keys(coordinates);
    return keys.length ? `${[...keys, "value", "std"].join(",")}\n${[...keys.map((k) => coordinates[k][0]), 0.12, 0.01].join(",")}`
      : `name,value,std\n${names[0]},0.12,0.01`;
  }

  dropping(drop) {
    for (const kind of ["dragover", "dragenter"]) {
      document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
    }
    document.addEventListener("dragleave", () => drop.classList.remove("over"));
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) this.read(await file.text());
    });
  }

  read(text) {
    if (!text.trim()) return;
    try {
      const data = readData(text, this.page.about);
      this.page.state.data = data;
      const several = data.rows > 1 ? ` The first of ${data.rows} rows is taken.` : "";
      this.say(`${data.count} of ${this.page.model.n_out} observables have data.${several}`);
      this.result = null;
    } catch (error) {
      this.say(error.message, true);
    }
    this.page.settle();
  }

  say(text, wrong = false) {
    this.message.textContent = text;
    this.message.classList.toggle("wrong", wrong);
  }

  clear() {
    this.page.state.data = null;
    this.text.value = "";
    this.result = null;
    this.say("");
    this.page.settle();
  }

  // The noise of each observable: its own std, or the field's.
  sigma() {
    const { data } = this.page.state, all = Number(this.noise.value);
    return data.sigma.map((s) => (s > 0 ? s : all > 0 ? all : NaN));
  }

  fit() {
    const { page } = this, { model, domain, state } = page, { values } = state.data;
    const rows = Array.from(values, (v, o) => o).filter((o) => !Number.isNaN(values[o]));
    this.result = fit(model, domain, state.y, {
      values, sigma: this.sigma(), rows, held: state.held, prior: this.prior.checked,
    });
    page.set(this.result.y);
    this.show();
  }

  show() {
    const { about } = this.page, r = this.result;
    if (!r) {
      this.report.replaceChildren();
      return;
    }
    const { freedom } = r, spread = Math.sqrt(2 * Math.max(freedom, 1));
    const verdict = freedom <= 0 ? "No more data than free parameters: \u03c7\u00b2 says nothing."
      : !r.absolute ? "Without noise and error bars, the residuals' own scatter gives the standard errors."
        : r.chi2 > freedom + 3 * spread ? "The residuals are larger than noise and surrogate explain."
          : r.chi2 < freedom - 3 * spread ? "The residuals are smaller than the noise and the error bars say." : "The residuals fit noise and error bars.";
    const { model } = this.page;
    const loose = r.error.filter((e, j) => e > model.upper[j] - model.lower[j]).length;
    const words = `\u03c7\u00b2 = ${format(r.chi2)} for ${freedom} ${freedom === 1 ? "degree" : "degrees"} of freedom `
      + `(${r.n} data), ${r.iterations} iterations. ${verdict}`
      + (loose ? ` The data do not determine ${loose === 1 ? "one parameter" : `${loose} parameters`}, whose standard errors are larger than their range in training: use the prior, or hold some.` : "");
    const { held } = this.page.state;
    const rows = about.y_names.map((name, j) => element("tr", {},
      element("th", { scope: "row" }, name, element("span", { class: "unit", text: unitOf(about.y_units[j]) })),
      element("td", { text: format(r.y[j], 6) }),
      element("td", { text: held.has(j) ? "held" : r.still.has(j) ? "at its bound" : `\u00b1 ${format(r.error[j], 2)}` })));
    this.report.replaceChildren(element("p", { class: "hint", text: words }),
      element("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Fitted parameters" },
        element("table", {}, element("thead", {}, element("tr", {}, ...["Parameter", "Fitted", "Standard error"].map((text) => element("th", { scope: "col", text })))),
          element("tbody", {}, ...rows))));
  }

  update() {
    if (!this.button || !this.page.settled) return;
    const there = Boolean(this.page.state.data);
    this.button.disabled = !there;
    this.forget.hidden = !there;
    if (!this.result) this.show();
  }
}
