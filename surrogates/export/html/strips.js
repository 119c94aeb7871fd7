// Observables one by one: a bar of its own for each, with interval, pinned settings and data. For
// classes, their probabilities.

class Strips {
  constructor(root, { indices }, page) {
    Object.assign(this, { page, indices });
    const { about, model } = page;
    this.classes = model.form.task === "classification";
    this.ends = indices.map((o) => {
      if (this.classes) return [0, 1];
      const mean = about.mean?.[o],
        spread = about.spread?.[o];
      return mean === null || mean === undefined || !spread
        ? null
        : [mean - 3 * spread, mean + 3 * spread];
    });
    this.rows = indices.map((o) => {
      const track = element("div", { class: "track" }),
        number = element("span", { class: "number" });
      const name = element("button", { type: "button", class: "name", text: about.c_names[o] });
      name.addEventListener("click", () => page.choose(o));
      const band = element("div", { class: "band" }),
        mark = element("div", { class: "mark" });
      track.append(band, mark);
      const low = element("span"),
        high = element("span");
      const row = element(
        "div",
        { class: "strip" },
        name,
        track,
        number,
        element("div", { class: "range" }, low, high),
      );
      root.append(row);
      return { row, name, track, band, mark, number, low, high, more: [] };
    });
  }

  update({ now, pins, data }) {
    this.indices.forEach((o, i) => {
      const row = this.rows[i],
        values = [now, ...pins].flatMap((one) => [
          one.c[o],
          ...(one.lower ? [one.lower[o], one.upper[o]] : []),
        ]);
      if (data && !Number.isNaN(data.values[o])) values.push(data.values[o]);
      const old = this.ends[i] || [Math.min(...values), Math.max(...values)];
      const ends = this.classes ? old : [Math.min(old[0], ...values), Math.max(old[1], ...values)];
      if (ends[0] === ends[1]) ends[1] += Math.abs(ends[0]) || 1;
      this.ends[i] = ends;
      const at = (v) => 100 * Math.min(Math.max((v - ends[0]) / (ends[1] - ends[0]), 0), 1);
      if (this.classes) {
        row.band.style.left = "0%";
        row.band.style.width = `${at(now.c[o])}%`;
      } else if (now.lower) {
        row.band.style.left = `${at(now.lower[o])}%`;
        row.band.style.width = `${at(now.upper[o]) - at(now.lower[o])}%`;
      }
      row.mark.style.left = `${at(now.c[o])}%`;
      row.name.setAttribute("aria-pressed", String(o === this.page.state.output));
      const half = now.lower ? (now.upper[o] - now.lower[o]) / 2 : null;
      row.number.textContent = this.classes
        ? `${(100 * now.c[o]).toFixed(1)} %`
        : `${format(now.c[o])}${half ? ` \u00b1 ${format(half, 2)}` : ""} ${unitOf(this.page.about.c_units[o])}`;
      [row.low.textContent, row.high.textContent] = this.classes
        ? ["", ""]
        : ends.map((v) => format(v, 3));
      this.overlay(row, o, at, pins, data);
    });
  }

  overlay(row, o, at, pins, data) {
    const wanted = pins.map(({ c, letter }) => ["pinned", letter, c[o]]);
    if (data && !Number.isNaN(data.values[o])) wanted.push(["datum", "", data.values[o]]);
    while (row.more.length > wanted.length) row.more.pop().remove();
    wanted.forEach(([kind, text, value], i) => {
      row.more[i] ||= row.track.appendChild(element("div"));
      row.more[i].className = kind;
      row.more[i].textContent = text;
      row.more[i].style.left = `${at(value)}%`;
    });
  }

  build() {}
}
