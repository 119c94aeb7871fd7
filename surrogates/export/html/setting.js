// Settings of the parameters: how they move within the domain.
//
// Scaled parameters t = (x - centre) / unit have zero N t in the flat of the training parameters.
// When one parameter moves, the others that are free follow by the least change (in these units)
// that keeps N t = 0, and stop at the bounds of the box.

class Domain {
  constructor(model) {
    Object.assign(this, { model, n: model.n_in, k: model.n_flat, N: model.normals });
    this.lower = this.scaled(model.xLower);
    this.upper = this.scaled(model.xUpper);
  }

  // t of x.
  scaled(x) {
    const { xCentre, unit } = this.model;
    return Float64Array.from(x, (v, i) => (v - xCentre[i]) / unit[i]);
  }

  // y of t.
  given(t) {
    const { xCentre, unit } = this.model;
    return this.model.given(t.map((v, i) => xCentre[i] + v * unit[i]));
  }

  off(t) {
    return multiply(this.N, this.k, this.n, t, 1, new Float64Array(this.k));
  }

  // Change the free entries of t by the least amount to N t = 0, within the box. Entries that are
  // outside it already may stay there. Returns the largest |N t| that is left.
  project(t, free) {
    let open = [...free];
    const ends = Array.from(t, (v, i) => [Math.min(this.lower[i], v), Math.max(this.upper[i], v)]);
    for (let round = 0; round <= this.n && this.k && open.length; round++) {
      const off = this.off(t),
        G = new Float64Array(this.k * this.k);
      if (Math.max(...off.map(Math.abs)) < 1e-13) break;
      for (let a = 0; a < this.k; a++) {
        for (let b = 0; b < this.k; b++) {
          let sum = 0;
          for (const i of open) sum += this.N[a * this.n + i] * this.N[b * this.n + i];
          G[a * this.k + b] = sum;
        }
      }
      const by = pseudoSolve(eigen(G, this.k), off, this.k);
      const stopped = new Set();
      for (const i of open) {
        let change = 0;
        for (let a = 0; a < this.k; a++) change += this.N[a * this.n + i] * by[a];
        const to = t[i] - change,
          [low, high] = ends[i];
        if (to <= low || to >= high) stopped.add(i);
        t[i] = Math.min(Math.max(to, low), high);
      }
      open = open.filter((i) => !stopped.has(i));
    }
    return this.k ? Math.max(...this.off(t).map(Math.abs)) : 0;
  }

  // y after parameter j has moved to a value, or as near to it as the relation allows.
  moved(y, j, value, held) {
    const { model } = this,
      target = Float64Array.from(y);
    target[j] = value;
    if (!this.k || (model.logIn[j] && !(value > 0))) return target;
    const from = this.scaled(model.seen(y)),
      to = this.scaled(model.seen(target))[j];
    const free = this.others(j, held);
    const attempt = (share) => {
      const t = Float64Array.from(from);
      t[j] = from[j] + share * (to - from[j]);
      return [t, this.project(t, free)];
    };
    const small = 1e-9;
    let [t, left] = attempt(1),
      share = 1;
    if (left > small && this.project(Float64Array.from(from), free) <= small) {
      let [low, high] = [0, 1];
      for (let i = 0; i < 40; i++) {
        const middle = (low + high) / 2,
          [, rest] = attempt(middle);
        if (rest > small) high = middle;
        else low = middle;
      }
      [[t], share] = [attempt(low), low];
    }
    const found = this.given(t);
    if (share === 1) found[j] = value;
    for (let i = 0; i < this.n; i++) if (t[i] === from[i]) found[i] = y[i];
    return found;
  }

  // Parameters that follow when j moves: all that are not held and that a relation has.
  others(j, held) {
    const found = [];
    for (let i = 0; i < this.n; i++) {
      let has = false;
      for (let a = 0; a < this.k; a++) has ||= Math.abs(this.N[a * this.n + i]) > 1e-9;
      if (i !== j && has && !held.has(i)) found.push(i);
    }
    return found;
  }

  // The direction dy in which y moves with parameter j, dy_j = 1, away from the bounds.
  direction(y, j, held) {
    const { model } = this,
      d = new Float64Array(this.n);
    d[j] = 1 / model.unit[j];
    if (this.k) {
      const free = this.others(j, held),
        off = this.off(d),
        G = new Float64Array(this.k ** 2);
      for (let a = 0; a < this.k; a++) {
        for (let b = 0; b < this.k; b++) {
          for (const i of free)
            G[a * this.k + b] += this.N[a * this.n + i] * this.N[b * this.n + i];
        }
      }
      const by = pseudoSolve(eigen(G, this.k), off, this.k);
      for (const i of free) {
        for (let a = 0; a < this.k; a++) d[i] -= this.N[a * this.n + i] * by[a];
      }
    }
    const dx = d.map((v, i) => v * model.unit[i]);
    const factor = (i) => (model.logIn[i] ? y[i] : 1);
    return dx.map((v, i) => (v * factor(i)) / factor(j));
  }

  // A random setting of the domain: uniform in the box, moved to the flat, and drawn towards the
  // centre until it is in the box again. Held parameters stay.
  random(held, y, uniform = Math.random) {
    const { model } = this,
      now = this.scaled(model.seen(y)),
      free = this.others(-1, held);
    const draw = Float64Array.from(now, (v, i) =>
      held.has(i) ? v : this.lower[i] + uniform() * (this.upper[i] - this.lower[i]),
    );
    if (!this.k) return this.given(draw);
    const off = this.off(draw);
    for (const i of free) {
      for (let a = 0; a < this.k; a++) draw[i] -= off[a] * this.N[a * this.n + i];
    }
    let share = 1;
    draw.forEach((v, i) => {
      const end = v > 0 ? this.upper[i] : this.lower[i];
      if (!held.has(i) && v / end > 1) share = Math.min(share, end / v);
    });
    const t = draw.map((v, i) => (held.has(i) ? v : share * v));
    return this.project(t, free) < 1e-9 ? this.given(t) : Float64Array.from(y);
  }

  // The relation in words; empty if there is none.
  words(names, format) {
    if (!this.k) return "";
    if (this.k > 1) return `The training parameters satisfy ${this.k} linear relations.`;
    const { unit, xCentre, logIn } = this.model;
    const a = Array.from(this.N, (v, i) => v / unit[i]);
    const top = a.reduce((m, v) => (Math.abs(v) > Math.abs(m) ? v : m), 0);
    const used = a.map((v, i) => [v / top, i]).filter(([v]) => Math.abs(v) > 1e-6);
    const total = used.reduce((sum, [v, i]) => sum + v * xCentre[i], 0);
    const same = used.every(([v]) => Math.abs(v - 1) < 1e-6);
    const logs = used.some(([, i]) => logIn[i]);
    if (same && used.length > 4) {
      const which = used.length === this.n ? "the parameters" : `${used.length} parameters`;
      return `The ${logs ? "logarithms of " : ""}${which} add up to ${format(total)}.`.replace(
        "The the",
        "The",
      );
    }
    if (used.length > 4) return "The training parameters satisfy one linear relation.";
    const text = used.map(([v, i], at) => {
      const size = Math.abs(v),
        name = logIn[i] ? `log(${names[i]})` : names[i];
      const sign = v < 0 ? (at ? " \u2212 " : "\u2212") : at ? " + " : "";
      return sign + (Math.abs(size - 1) < 1e-6 ? name : `${format(size)} ${name}`);
    });
    return `The training parameters satisfy ${text.join("")} = ${format(total)}.`;
  }
}
