// A slider and a number for each parameter, in groups where there are many.

const GROUP = 12; // parameters that need no groups, and the most in one group
const STEPS = 1000; // of a slider

class Controls {
  constructor(root, page) {
    Object.assign(this, { root, page });
    const { model, about } = page;
    this.ranges = about.y_names.map((_, j) => this.rangeOf(j, model, about));
    this.rows = about.y_names.map((name, j) => this.row(name, j));
    const groups = this.grouped();
    if (groups.length < 2) {
      root.append(...this.rows.map(({ box }) => box));
    } else {
      this.groups = groups.map((members, g) => {
        const names = [about.y_names[members[0]], about.y_names[members[members.length - 1]]];
        const title = members.length > 1 ? names.join(" \u2013 ") : names[0];
        const box = element(
          "details",
          { open: g === 0 },
          element(
            "summary",
            {},
            title,
            element("span", { class: "count", text: String(members.length) }),
          ),
          ...members.map((j) => this.rows[j].box),
        );
        box.addEventListener("toggle", () => page.schedule());
        root.append(box);
        return { box, members };
      });
    }
    this.searching();
    this.printing();
  }

  // On paper all groups are open.
  printing() {
    let closed = [];
    addEventListener("beforeprint", () => {
      closed = (this.groups || []).map(({ box }) => box).filter((box) => !box.open);
      for (const box of closed) box.open = true;
      this.page.draw();
    });
    addEventListener("afterprint", () => {
      for (const box of closed) box.open = false;
    });
  }

  // The box of the domain and a tenth of it on each side, but not beyond the file's bounds or 0 of a
  // logarithm, in the argument of the features.
  rangeOf(j, model, about) {
    const [low, high] = [model.xLower[j], model.xUpper[j]],
      margin = 0.1 * (high - low) || 0.1 * Math.abs(high) || 1;
    const within = (end, bound, side) => {
      const x =
        bound === null || !Number.isFinite(bound)
          ? null
          : model.logIn[j]
            ? bound > 0
              ? Math.log(bound)
              : null
            : bound;
      if (x === null) return end;
      return side < 0 ? Math.min(Math.max(end, x), low) : Math.max(Math.min(end, x), high);
    };
    return [within(low - margin, about.y_lower[j], -1), within(high + margin, about.y_upper[j], 1)];
  }

  row(name, j) {
    const { page } = this,
      { model, about } = page,
      unit = unitOf(about.y_units[j]);
    const id = `parameter-${j}`,
      [low, high] = this.ranges[j];
    const words = `${name}${unit ? `, ${unit}` : ""}`;
    const slider = element("input", {
      type: "range",
      min: 0,
      max: STEPS,
      step: 1,
      id: `${id}-slider`,
      "aria-label": words,
    });
    const number = element("input", {
      type: "text",
      inputmode: model.lower[j] < 0 ? "text" : "decimal", // some telephones' decimal keys lack a minus
      autocomplete: "off",
      spellcheck: "false",
      id,
      "aria-describedby": `${id}-range`,
    });
    const at = (x) => 100 * ((x - low) / (high - low));
    slider.style.setProperty("--from", `${at(model.xLower[j])}%`);
    slider.style.setProperty("--to", `${at(model.xUpper[j])}%`);
    slider.addEventListener("input", () => {
      const x = low + (slider.value / STEPS) * (high - low);
      page.settled = false;
      page.move(j, model.logIn[j] ? Math.exp(x) : x);
    });
    slider.addEventListener("change", () => page.settle());
    number.addEventListener("change", () => {
      const value = real(number.value);
      if (/^[-+]?[1-9]\d{0,2},\d{3}$/.test(number.value.trim()))
        page.toast(`${number.value} may be ${value} or ${number.value.replace(",", "")}: write it without the comma.`);
      else if (Number.isFinite(value)) page.move(j, value);
      else page.toast(`${name} stays as it was: expected a number, as 0.5 or 1e-3.`);
      page.settle();
    });
    number.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const x = model.seen(page.state.y)[j] + (by * (high - low)) / 100;
      page.move(j, model.logIn[j] ? Math.exp(x) : x);
      page.settle();
    });
    const hold = element("button", {
      type: "button",
      class: "hold",
      "aria-pressed": "false",
      title: "Hold: neither a relation nor a fit moves it",
      "aria-label": `Hold ${name}`,
    });
    hold.addEventListener("click", () => {
      const { held } = page.state;
      if (!held.delete(j)) held.add(j);
      hold.setAttribute("aria-pressed", String(held.has(j)));
      page.schedule();
    });
    const ends = [model.lower[j], model.upper[j]].map((v) => format(v, 3)).join(" to ");
    const box = element(
      "div",
      { class: "parameter" },
      element(
        "label",
        { for: id, title: words },
        name,
        element("span", { class: "unit", text: unit }),
      ),
      number,
      hold,
      slider,
      element("span", {
        class: "range",
        id: `${id}-range`,
        text: ends,
        title: "The range in training",
      }),
    );
    return { box, slider, number, hold, unit, name: name.toLowerCase() };
  }

  // Neighbours whose names begin alike, at most GROUP together.
  grouped() {
    const { y_names: names } = this.page.about;
    if (names.length <= GROUP) return [names.map((_, j) => j)];
    const stem = (name) => name.replace(/[\d(\[_. -].*$/, "");
    const runs = [];
    names.forEach((name, j) => {
      const last = runs[runs.length - 1];
      if (last && stem(names[last[0]]) === stem(name)) last.push(j);
      else runs.push([j]);
    });
    const alone = runs.length > names.length / 2 ? [names.map((_, j) => j)] : runs;
    return alone.flatMap((run) => {
      const parts = Math.ceil(run.length / GROUP),
        size = Math.ceil(run.length / parts);
      return Array.from({ length: parts }, (_, p) => run.slice(p * size, (p + 1) * size));
    });
  }

  searching() {
    if (!this.groups) return;
    const field = document.getElementById("search");
    field.hidden = false;
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      let any = false;
      this.rows.forEach(({ box, name }) => {
        box.hidden = wanted !== "" && !name.includes(wanted);
      });
      this.groups.forEach(({ box, members }, g) => {
        const found = members.some((j) => !this.rows[j].box.hidden);
        box.hidden = !found;
        any ||= found;
        if (wanted) box.open = found;
        else box.open = g === 0;
      });
      document.getElementById("nothing").hidden = any;
    });
  }

  // Show the setting. The field that the user writes in keeps its text.
  update(y, outside) {
    const { model } = this.page,
      x = model.seen(y);
    const closed = new Set(
      (this.groups || []).flatMap(({ box, members }) => (box.open ? [] : members)),
    );
    this.rows.forEach(({ box, slider, number, hold, unit }, j) => {
      if (closed.has(j)) return; // to open a group draws again
      const [low, high] = this.ranges[j];
      const at = Math.round(STEPS * Math.min(Math.max((x[j] - low) / (high - low), 0), 1));
      if (!(slider.matches(":active") && Number(slider.value) === at))
        slider.value = String(Number.isNaN(at) ? 0 : at);
      slider.setAttribute("aria-valuetext", `${format(y[j])} ${unit}`.trim());
      if (document.activeElement !== number || this.page.settled) {
        const size = Math.abs(y[j]),
          long = size !== 0 && (size < 1e-3 || size >= 1e9);
        const text = long ? y[j].toExponential(3) : String(Number(y[j].toPrecision(6)));
        if (number.value !== text) number.value = text;
      }
      box.classList.toggle("outside", outside.parameters.includes(j));
      number.setAttribute("aria-invalid", String(outside.parameters.includes(j)));
      hold.setAttribute("aria-pressed", String(this.page.state.held.has(j)));
    });
  }
}
