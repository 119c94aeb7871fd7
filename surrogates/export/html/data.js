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
      if (file.files[0]) this.read(await file.files[0].text());
    });
    this.noise = element("input", { type: "number", min: 0, step: "any", id: "noise" });
    this.noise.addEventListener("change", () => {
      this.result = null;
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
      : `name,value,std\n${names[0]},0.12,0.01`;
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
    const { data } = this.page.state,
      all = Number(this.noise.value);
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
    const { about } = this.page,
      r = this.result;
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
    const words =
      `\u03c7\u00b2 = ${format(r.chi2)} for ${freedom} ${freedom === 1 ? "degree" : "degrees"} of freedom ` +
      `(${r.n} data), ${r.iterations} iterations. ${verdict}` +
      (loose
        ? ` The data do not determine ${loose === 1 ? "one parameter" : `${loose} parameters`}, whose standard errors are larger than their range in training: use the prior, or hold some.`
        : "");
    const { held } = this.page.state;
    const rows = about.y_names.map((name, j) =>
      element(
        "tr",
        {},
        rowHead(name, about.y_units[j]),
        element("td", { text: format(r.y[j], 6) }),
        element("td", {
          text: held.has(j)
            ? "held"
            : r.still.has(j)
              ? "at its bound"
              : `\u00b1 ${format(r.error[j], 2)}`,
        }),
      ),
    );
    this.report.replaceChildren(
      element("p", { class: "hint", text: words }),
      element(
        "div",
        { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Fitted parameters" },
        element(
          "table",
          {},
          element(
            "thead",
            {},
            element(
              "tr",
              {},
              ...["Parameter", "Fitted", "Standard error"].map((text) =>
                element("th", { scope: "col", text }),
              ),
            ),
          ),
          element("tbody", {}, ...rows),
        ),
      ),
    );
  }

  update() {
    if (!this.button || !this.page.settled) return;
    const there = Boolean(this.page.state.data);
    this.button.disabled = !there;
    this.forget.hidden = !there;
    if (!this.result) this.show();
  }
}
