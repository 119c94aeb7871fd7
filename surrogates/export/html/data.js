// The panel of the user's data: reading, noise, the fit and its report.

class Data {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("table");
    const { model } = page;
    if (model.form.task === "classification") {
      document.getElementById("data").hidden = true;
      return;
    }
    this.text = element("textarea", {
      rows: 3,
      spellcheck: "false",
      "aria-label": "Data as a table",
      placeholder: this.example(),
    });
    this.text.addEventListener("paste", () => setTimeout(() => this.read(this.text.value)));
    this.text.addEventListener("change", () => this.read(this.text.value));
    const file = element("input", {
      type: "file",
      accept: ".csv,.tsv,.txt,text/*",
      "aria-label": "Open a table of data",
    });
    file.addEventListener("change", async () => {
      if (file.files[0]) await this.open(file.files[0]);
      file.value = ""; // the same file, changed, can be opened again
    });
    this.noise = element("input", { type: "text", inputmode: "decimal", id: "noise" });
    this.noise.addEventListener("change", () => {
      this.result = null;
      const wrong = this.noise.value.trim() !== "" && !(real(this.noise.value) >= 0);
      this.noise.setAttribute("aria-invalid", String(wrong));
      if (wrong) page.toast(`${this.noise.value} is no noise: expected a number of 0 or more.`);
      page.settle();
    });
    this.prior = element("input", { type: "checkbox" });
    this.prior.checked = page.model.n_in > GROUP; // data rarely determine that many parameters
    this.button = element("button", {
      type: "button",
      class: "primary",
      text: "Fit the parameters",
      disabled: true,
    });
    this.button.addEventListener("click", () => {
      const { textContent } = this.button;
      [this.button.textContent, this.button.disabled] = ["Fitting \u2026", true];
      setTimeout(() => {
        // after the browser has drawn that
        this.fit();
        this.button.textContent = textContent;
      }, 40);
    });
    this.message = element("p", { class: "message", role: "status", "aria-live": "polite" });
    this.report = element("div");
    const drop = element(
      "div",
      { class: "drop" },
      this.text,
      element("div", { class: "file" }, "or drop or open a file: ", file),
    );
    const options = element(
      "div",
      { class: "options" },
      element(
        "label",
        {},
        "Noise (standard deviation) ",
        this.noise,
        element("span", { class: "unit", text: this.unit() }),
      ),
      element("label", {}, this.prior, " Prior: the training parameters' mean and spread"),
      this.button,
    );
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
    const { c_names: names, coordinates } = this.page.about,
      keys = Object.keys(coordinates);
    return keys.length
      ? `${[...keys, "value", "std"].join(",")}\n${[...keys.map((k) => coordinates[k][0]), 0.12, 0.01].join(",")}`
      : `name,value,std\n${cellOf(names[0])},0.12,0.01`;
  }

  dropping(drop) {
    for (const kind of ["dragover", "dragenter"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    document.addEventListener("dragleave", () => drop.classList.remove("over"));
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) await this.open(file);
    });
  }

  async open(file) {
    const most = 20e6;
    const text = file.size > most ? null : await file.text();
    if (text !== null) this.text.value = text.length < 1e5 ? text : "";
    this.read(text, file.name);
  }

  // Data of the field, or of a file: of a table that cannot be read there are none.
  read(text, from = "") {
    this.result = null;
    this.page.state.data = null;
    try {
      if (text === null) throw new Error(`${from} has more than 20 MB.`);
      if (!text.trim() && from) throw new Error(`${from} is empty.`);
      if (!text.trim()) {
        this.clear();
        return;
      }
      const data = readData(text, this.page.about);
      this.page.state.data = data;
      const words = [`${data.count} of ${this.page.model.n_out} observables have data.`];
      if (data.rows > 1) words.push(`The first of ${data.rows} rows is taken.`);
      if (data.ignored.length)
        words.push(`No observables: ${data.ignored.slice(0, 4).join(", ").slice(0, 120)}.`);
      this.say(words.join(" "));
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
    const { data } = this.page.state,
      all = real(this.noise.value);
    return data.sigma.map((s) => (s > 0 ? s : all > 0 ? all : NaN));
  }

  fit() {
    const { page } = this,
      { model, domain, state } = page,
      { values } = state.data;
    const rows = Array.from(values, (v, o) => o).filter((o) => !Number.isNaN(values[o]));
    this.result = fit(model, domain, state.y, {
      values,
      sigma: this.sigma(),
      rows,
      held: state.held,
      prior: this.prior.checked,
    });
    page.set(this.result.y);
    this.show();
  }

  show() {
    const r = this.result;
    if (!r) {
      this.report.replaceChildren();
      return;
    }
    const { freedom } = r,
      spread = Math.sqrt(2 * Math.max(freedom, 1));
    const verdict =
      freedom <= 0
        ? "No more data than free parameters: \u03c7\u00b2 says nothing."
        : !r.absolute
          ? "Without noise and error bars, the residuals' own scatter gives the standard errors."
          : r.chi2 > freedom + 3 * spread
            ? "The residuals are larger than noise and surrogate explain."
            : r.chi2 < freedom - 3 * spread
              ? "The residuals are smaller than the noise and the error bars say."
              : "The residuals fit noise and error bars.";
    const { model } = this.page;
    const loose = r.error.filter((e, j) => e > model.upper[j] - model.lower[j]).length;
    const words = [`\u03c7\u00b2 = ${format(r.chi2)}`];
    if (freedom > 0)
      words.push(`for ${freedom} ${freedom === 1 ? "degree" : "degrees"} of freedom`);
    words.push(`(${r.n} data), ${r.iterations} iterations. ${verdict}`);
    if (loose) {
      words.push(
        `The data do not determine ${loose === 1 ? "one parameter" : `${loose} parameters`}, whose standard errors are larger than their range in training: use the prior, or hold some.`,
      );
    }
    if (model.hasBars && !model.shared)
      words.push("The file has no covariance of its errors: they count as independent.");
    const copy = element("button", { type: "button", text: "Copy the fit" });
    copy.addEventListener("click", () => this.page.copy(this.fitted(), "The fit"));
    this.report.replaceChildren(
      element("p", { class: "hint", text: words.join(" ") }),
      this.table(),
      copy,
    );
  }

  // The fitted parameters with their 95 % intervals, as numbers and bars over the ranges in training.
  table() {
    const { about, model, state } = this.page,
      r = this.result;
    const rows = about.y_names.map((name, j) => {
      const still = state.held.has(j) ? "held" : r.still.has(j) ? "at its bound" : "";
      const error = still ? 0 : r.error[j];
      const words = Number.isFinite(error) ? `\u00b1 ${format(error, 2)}` : "not determined";
      return element(
        "tr",
        {},
        rowHead(name, about.y_units[j]),
        element("td", { text: format(r.y[j], digitsOf(r.y[j], error)) }),
        element("td", { text: still || words }),
        element("td", { class: "span" }, this.bar(j, error)),
      );
    });
    const heads = ["Parameter", "Fitted", "Standard error", "95 % in the range of training"];
    const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col", text })));
    return element(
      "div",
      { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Fitted parameters" },
      element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)),
    );
  }

  bar(j, error) {
    const { model, about } = this.page,
      r = this.result;
    const [low, high] = [model.xLower[j], model.xUpper[j]],
      x = model.logIn[j] ? Math.log(r.y[j]) : r.y[j];
    const half = (about.quantiles["0.95"] * error) / (model.logIn[j] ? r.y[j] : 1);
    const at = (v) => 100 * Math.min(Math.max((v - low) / (high - low || 1), 0), 1);
    const band = element("div", { class: "band" }),
      mark = element("div", { class: "mark" });
    [band.style.left, band.style.width] = [`${at(x - half)}%`, `${at(x + half) - at(x - half)}%`];
    mark.style.left = `${at(x)}%`;
    return element("div", { class: "track", "aria-hidden": "true" }, band, mark);
  }

  // The fit as a table: values, standard errors and their correlations.
  fitted() {
    const { about } = this.page,
      { y, error, covariance } = this.result,
      n = y.length;
    const part = (i, j) => covariance[i * n + j] / (error[i] * error[j]);
    return tsv([
      ["", "unit", "fitted", "standard error", ...about.y_names.map((name) => `correlation ${name}`)],
      ...about.y_names.map((name, i) => [
        name,
        about.y_units[i],
        y[i],
        error[i],
        ...about.y_names.map((_, j) => (error[i] > 0 && error[j] > 0 ? part(i, j) : "")),
      ]),
    ]);
  }

  update() {
    if (!this.button || !this.page.settled) return;
    const there = Boolean(this.page.state.data);
    this.button.disabled = !there;
    this.forget.hidden = !there;
    if (!this.result) this.show();
  }
}

// Digits of a value that show two of its error: 6 without one.
function digitsOf(value, error) {
  if (!(error > 0) || !Number.isFinite(error) || value === 0) return 6;
  const digits = Math.floor(Math.log10(Math.abs(value))) - Math.floor(Math.log10(error)) + 2;
  return Math.min(Math.max(digits, 2), 15);
}
