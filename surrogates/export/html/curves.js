// Curves of observables over a coordinate, with bands, pinned settings and data: one uPlot chart.

const COLOURS = 6; // of style.css: --c0 to --c5
const DASHES = [
  [6, 4],
  [2, 3],
  [9, 3, 2, 3],
  [1, 2],
  [12, 4],
];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key === "on")
      for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A colour with an opacity; colours of style.css have the form #rrggbb.
const faint = (colour, opacity) =>
  colour +
  Math.round(opacity * 255)
    .toString(16)
    .padStart(2, "0");

class Curves {
  constructor(root, panel, page, { height = 300, chips = true } = {}) {
    Object.assign(this, { root, page, height, withChips: chips });
    this.box = element("div", { class: "chart", role: "img" });
    this.tip = element("div", { class: "tip", hidden: true });
    this.chips = element("div", { class: "chips", role: "group", "aria-label": "Curves" });
    root.append(this.chips, this.box);
    this.setPanel(panel);
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  setPanel(panel) {
    this.panel = panel;
    const xs = new Set();
    for (const { x } of panel.groups) for (const v of x) xs.add(v);
    this.x = Float64Array.from(xs).sort();
    const position = new Map([...this.x].map((v, i) => [v, i]));
    this.at = panel.groups.map(({ x }) => Array.from(x, (v) => position.get(v)));
    this.shown ||= panel.groups.map((_, g) => g < 12);
    this.range = null;
    this.drawChips();
    this.build();
  }

  drawChips() {
    const { groups } = this.panel;
    this.chips.hidden = !this.withChips || groups.length < 2;
    if (this.chips.hidden) return;
    this.chips.replaceChildren(
      ...groups.map(({ name }, g) => {
        const chip = element(
          "button",
          { type: "button", class: "chip", "aria-pressed": String(this.shown[g]) },
          element("span", { class: `swatch colour${g % COLOURS}` }),
          name,
        );
        chip.addEventListener("click", () => {
          this.shown[g] = !this.shown[g];
          chip.setAttribute("aria-pressed", String(this.shown[g]));
          this.range = null;
          this.page.schedule();
        });
        return chip;
      }),
    );
  }

  // The chart anew: after a change of colours, groups or size of type.
  build() {
    this.plot?.destroy();
    const { groups, label, unit } = this.panel;
    // Read here, as each later question would make the browser compute styles anew.
    this.colours = groups.map((_, g) => css(`--c${(this.panel.colour ?? g) % COLOURS}`));
    this.card = css("--card");
    this.font = css("--font");
    const line = css("--line"),
      soft = css("--soft");
    const axis = {
      stroke: soft,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
    };
    const font = `12px ${this.font}`;
    const series = [{}],
      bands = [];
    groups.forEach((_, g) => {
      const colour = this.colours[g],
        at = series.length;
      series.push(
        { width: 0, points: { show: false }, spanGaps: true },
        { width: 0, points: { show: false }, spanGaps: true },
        {
          stroke: colour,
          width: 2,
          spanGaps: true,
          points: { show: this.x.length < 40, size: 4, fill: colour, width: 0 },
        },
      );
      bands.push({ series: [at, at + 1], fill: faint(colour, 0.16) });
    });
    const values = (_, ticks) => ticks.map((v) => format(v, 6));
    const axes = [
      { ...axis, font, label, labelFont: font, labelSize: 20, size: 34, values },
      {
        ...axis,
        font,
        size: (u, ticks) => 18 + 7 * Math.max(3, ...(ticks || []).map((t) => t.length)),
        label: unitOf(unit) || undefined,
        labelFont: font,
        labelSize: 20,
        values,
      },
    ];
    this.plot = new uPlot(
      {
        width: this.box.clientWidth || 600,
        height: this.height,
        series,
        bands,
        axes,
        legend: { show: false },
        scales: {
          x: { time: false, range: (u, low, high) => this.span(low, high) },
          y: { range: () => this.range || [0, 1] },
        },
        cursor: { drag: { x: false, y: false }, points: { show: false } },
        hooks: { draw: [(u) => this.drawMore(u)], setCursor: [(u) => this.showTip(u)] },
      },
      [this.x, ...series.slice(1).map(() => new Array(this.x.length).fill(null))],
      this.box,
    );
    this.plot.over.append(this.tip);
    this.plot.over.addEventListener("click", () => {
      if (this.near !== null) this.page.choose(this.near);
    });
    if (this.given) this.update(this.given);
  }

  span(low, high) {
    const margin = 0.03 * (high - low) || 1;
    return [low - margin, high + margin];
  }

  resize() {
    const width = this.box.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }

  // results: {now, pins, data}; of `now` and each pin the arrays c, lower, upper.
  update(given) {
    const results = (this.results = this.shifted(given));
    const { now } = results,
      columns = [this.x];
    this.panel.groups.forEach(({ indices }, g) => {
      for (const part of ["lower", "upper", "c"]) {
        const column = new Array(this.x.length).fill(null),
          from = now[part];
        if (this.shown[g] && from)
          indices.forEach((o, i) => {
            column[this.at[g][i]] = Number.isNaN(from[o]) ? null : from[o];
          });
        columns.push(column);
      }
    });
    this.widen(results);
    this.plot.setData(columns);
    if (this.page.settled || !this.box.hasAttribute("aria-label")) this.describe(now);
  }

  // The chart in words, for those who do not see it.
  describe({ c }) {
    const { groups, label, unit } = this.panel,
      shown = groups.filter((_, g) => this.shown[g]);
    const ends = shown.map(({ name, indices }) => {
      const values = indices.map((o) => c[o]);
      return `${name} ${format(Math.min(...values), 3)} to ${format(Math.max(...values), 3)}`;
    });
    const words = ends.slice(0, 6).join(", ") + (ends.length > 6 ? ", and more" : "");
    this.box.setAttribute("aria-label", `Curves over ${label}: ${words} ${unitOf(unit)}`.trim());
  }

  // The results minus the mean, where the chart shows that.
  shifted({ now, pins, data }) {
    this.given = { now, pins, data };
    if (!this.minus) return this.given;
    const less = (values) => values && values.map((v, o) => v - this.minus[o]);
    const all = (one) => ({
      ...one,
      c: less(one.c),
      lower: less(one.lower),
      upper: less(one.upper),
    });
    return {
      now: all(now),
      pins: pins.map(all),
      data: data && { ...data, values: less(data.values) },
    };
  }

  // The y axis grows when it must, and fits again after a change has ended (page.settled).
  widen({ now, pins, data }) {
    let low = Infinity,
      high = -Infinity;
    const see = (v) => {
      if (v < low) low = v;
      if (v > high) high = v;
    };
    this.panel.groups.forEach(({ indices }, g) => {
      if (!this.shown[g]) return;
      for (const o of indices) {
        for (const { c, lower, upper } of [now, ...pins]) {
          see(c[o]);
          if (lower) {
            see(lower[o]);
            see(upper[o]);
          }
        }
        if (data && !Number.isNaN(data.values[o])) see(data.values[o]);
      }
    });
    if (!(high >= low)) return;
    const margin = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1,
      old = this.range;
    if (!old || this.page.settled || low < old[0] || high > old[1]) {
      const fits = [low - margin, high + margin];
      this.range =
        old && !this.page.settled ? [Math.min(fits[0], old[0]), Math.max(fits[1], old[1])] : fits;
    }
  }

  // Pinned settings as dashed lines, data as circles with whiskers of one standard deviation.
  drawMore(u) {
    if (!this.results) return;
    const { pins, data } = this.results,
      { ctx } = u,
      ratio = devicePixelRatio;
    const X = (v) => u.valToPos(v, "x", true),
      Y = (v) => u.valToPos(v, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    this.panel.groups.forEach(({ x, indices }, g) => {
      if (!this.shown[g]) return;
      ctx.strokeStyle = this.colours[g];
      ctx.lineWidth = 1.5 * ratio;
      [ctx.fillStyle, ctx.font] = [this.colours[g], `${11 * ratio}px ${this.font}`];
      [ctx.textAlign, ctx.textBaseline] = ["left", "middle"];
      pins.forEach(({ c, dash, letter }) => {
        ctx.setLineDash(DASHES[dash % DASHES.length].map((d) => d * ratio));
        ctx.beginPath();
        indices.forEach((o, i) => ctx[i ? "lineTo" : "moveTo"](X(x[i]), Y(c[o])));
        ctx.stroke();
        const end = indices.length - 1;
        ctx.fillText(letter, X(x[end]) + 3 * ratio, Y(c[indices[end]]));
      });
      ctx.setLineDash([]);
      if (!data) return;
      ctx.fillStyle = this.card;
      indices.forEach((o, i) => {
        const value = data.values[o],
          s = data.sigma[o];
        if (Number.isNaN(value)) return;
        ctx.beginPath();
        if (s > 0) {
          ctx.moveTo(X(x[i]), Y(value - s));
          ctx.lineTo(X(x[i]), Y(value + s));
        }
        ctx.stroke();
        ctx.beginPath();
        ctx.arc(X(x[i]), Y(value), 3.5 * ratio, 0, 2 * Math.PI);
        ctx.fill();
        ctx.stroke();
      });
    });
    ctx.restore();
  }

  // The observable nearest to the pointer.
  showTip(u) {
    const { left, top, idx } = u.cursor;
    this.near = null;
    if (left < 0 || idx === null || idx === undefined || !this.results) {
      this.tip.hidden = true;
      return;
    }
    const { now } = this.results;
    let best = Infinity,
      group = 0;
    this.panel.groups.forEach(({ indices }, g) => {
      const i = this.at[g].indexOf(idx);
      if (i < 0 || !this.shown[g]) return;
      const off = Math.abs(u.valToPos(now.c[indices[i]], "y") - top);
      if (off < best) [best, group, this.near] = [off, g, indices[i]];
    });
    if (this.near === null) return;
    const o = this.near,
      half = now.lower ? (now.upper[o] - now.lower[o]) / 2 : null;
    const { about } = this.page;
    this.tip.textContent =
      `${about.c_names[o]}: ${format(now.c[o])}` +
      (half ? ` \u00b1 ${format(half, 2)}` : "") +
      ` ${unitOf(about.c_units[o])}`;
    this.tip.style.borderLeftColor = this.colours[group];
    this.tip.hidden = false;
    const room = u.over.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.transform = `translate(${Math.max(0, Math.min(left + 12, room))}px, ${Math.max(0, top - 40)}px)`;
  }
}
