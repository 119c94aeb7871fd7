// The panels below the charts: sensitivities, and settings side by side.

const SHOWN = 12; // bars before "all"

class Sensitivities {
  constructor(page) {
    Object.assign(this, { page, all: false });
    const { about, model } = page;
    this.output = document.getElementById("output");
    this.output.append(
      ...about.c_names.map((name, o) => element("option", { value: o, text: name })),
    );
    this.output.addEventListener("change", () => page.choose(Number(this.output.value)));
    this.measure = document.getElementById("measure");
    const kinds = [
      ["range", "change over the parameter's range"],
      ["unit", "derivative"],
    ];
    this.measure.append(...kinds.map(([value, text]) => element("option", { value, text })));
    this.measure.addEventListener("change", () => page.schedule());
    this.root = document.getElementById("bars");
    this.more = element("button", { type: "button", class: "quiet" });
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      page.schedule();
    });
    this.rows = about.y_names.map((name) => {
      const bar = element("div", { class: "bar" }),
        number = element("span", { class: "number" });
      const row = element(
        "div",
        { class: "sensitivity" },
        element("span", { class: "name", text: name, title: name }),
        element("div", { class: "track" }, bar),
        number,
      );
      return { row, bar, number };
    });
    const list = element(
      "div",
      { role: "list" },
      ...this.rows.map(({ row }) => {
        row.setAttribute("role", "listitem");
        return row;
      }),
    );
    this.list = list;
    this.root.append(list, this.more);
    this.more.hidden = model.n_in <= SHOWN;
    const hints = [
      model.form.task === "classification" ? "Derivatives of the class's probability." : "",
    ];
    if (model.n_flat)
      hints.push(
        "Along the relation: the other parameters follow as they do when the slider moves.",
      );
    if (model.logIn.some(Boolean))
      hints.push("The ranges of parameters that count by their logarithms are those of the logarithms.");
    const hint = document.getElementById("sensitivity-hint");
    hint.textContent = hints.filter(Boolean).join(" ");
    hint.hidden = !hint.textContent;
  }

  // dc/dy of one output, at the point of a result; of the probability for a class.
  gradient({ point }, o) {
    const { model } = this.page;
    if (model.form.task !== "classification") return model.jacobian(point, [o]);
    const J = model.jacobian(point),
      p = model.probabilities(point),
      n = model.n_in;
    return Float64Array.from({ length: n }, (_, j) => {
      let mean = 0;
      for (let k = 0; k < p.length; k++) mean += p[k] * J[k * n + j];
      return p[o] * (J[o * n + j] - mean);
    });
  }

  update(now) {
    const { model, domain, state, about } = this.page,
      o = state.output,
      n = model.n_in;
    if (this.output.value !== String(o)) this.output.value = String(o);
    let g = this.gradient(now, o);
    if (model.n_flat) g = g.map((_, j) => dot(g, this.direction(now, j)));
    const range = this.measure.value === "range";
    if (range) g = g.map((v, j) => v * this.rangeOf(j, now.point.y[j]));
    const top = Math.max(...g.map((v) => Math.abs(v) || 0)) || 1,
      unit = unitOf(about.c_units[o]);
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
      const { bar, number } = this.rows[j],
        part = (50 * Math.abs(g[j])) / top;
      bar.style.left = `${g[j] < 0 ? 50 - part : 50}%`;
      bar.style.width = `${part}%`;
      bar.classList.toggle("negative", g[j] < 0);
      const by = range
        ? unit
        : [unit, unitOf(about.y_units[j])].some(Boolean)
          ? `${unit || 1}${unitOf(about.y_units[j]) ? `/${unitOf(about.y_units[j])}` : ""}`
          : "";
      number.textContent = `${format(g[j], 3)} ${by}`;
    }
    this.more.textContent = this.all ? `The ${SHOWN} largest` : `All ${n} parameters`;
  }

  // The parameter's range in training; of a logarithm's, what moves y at its present rate.
  rangeOf(j, y) {
    const { model } = this.page;
    if (!model.logIn[j]) return model.upper[j] - model.lower[j];
    return y * (model.xUpper[j] - model.xLower[j]);
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
      this.root.replaceChildren(
        element("p", {
          class: "empty",
          text: "Pin a setting to keep it beside the next ones: its curves stay in the charts.",
        }),
      );
      return;
    }
    const differs = about.y_names
      .map((_, j) => j)
      .filter((j) => pins.some(({ point }) => point.y[j] !== now.point.y[j]));
    const rows = differs.length ? differs : about.y_names.map((_, j) => j);
    const head = element(
      "tr",
      {},
      element("th", { scope: "col", text: "" }),
      element("th", { scope: "col", text: "Current" }),
      ...pins.map((pin) => this.heading(pin)),
    );
    const line = (name, unit, values) =>
      element(
        "tr",
        {},
        rowHead(name, unit),
        ...values.map((v) => element("td", { text: format(v) })),
      );
    const all = [now, ...pins],
      o = state.output;
    const shown = about.c_names.length <= SHOWN ? about.c_names.map((_, i) => i) : [o];
    const outputs = shown.map((i) =>
      line(
        about.c_names[i],
        about.c_units[i],
        all.map(({ c }) => c[i]),
      ),
    );
    const title = (text) =>
      element(
        "tr",
        { class: "part" },
        element("th", { colspan: all.length + 1, scope: "colgroup", text }),
      );
    const most = 15,
      body = rows.slice(0, most).map((j) =>
        line(
          about.y_names[j],
          about.y_units[j],
          all.map(({ point }) => point.y[j]),
        ),
      );
    const left = rows.length - most;
    this.root.replaceChildren(
      element(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Settings" },
        element(
          "table",
          {},
          element("thead", {}, head),
          element(
            "tbody",
            {},
            title(shown.length > 1 ? "Predictions" : "Prediction"),
            ...outputs,
            title(differs.length ? "Parameters that differ" : "Parameters"),
            ...body,
            ...(left > 0 ? [title(`and ${left} more: copy as table`)] : []),
          ),
        ),
      ),
    );
  }

  heading(pin) {
    const { page } = this;
    const use = element("button", {
      type: "button",
      class: "quiet",
      text: "Use",
      "aria-label": `Use setting ${pin.letter}`,
    });
    use.addEventListener("click", () => page.set(pin.point.y));
    const remove = element("button", {
      type: "button",
      class: "quiet",
      text: "Remove",
      "aria-label": `Remove setting ${pin.letter}`,
    });
    remove.addEventListener("click", () => page.unpin(pin));
    return element(
      "th",
      { scope: "col" },
      element("span", { class: `dash dash${pin.dash}` }),
      pin.letter,
      element("div", {}, use, remove),
    );
  }
}
