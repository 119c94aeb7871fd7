// The surrogate: values, Jacobian, error bars, domain. One sample at a time, in the units of its file.

class Model {
  // form: what `pack` describes; arrays: what `unpack` returns.
  constructor(form, arrays) {
    this.form = form;
    const data = (name) => (arrays[name] ? arrays[name].data : null);
    for (const name of ["lower", "upper", "unit", "centre", "normals", "c_0", "sigma", "tail"]) {
      this[name] = data(name);
    }
    [this.n_in, this.n_out] = [this.lower.length, this.c_0.length];
    this.n_flat = this.normals.length / this.n_in;
    this.logIn = marks(form.log_inputs, this.n_in);
    this.logOut = marks(form.log_outputs, this.n_out);
    this.blocks = form.blocks.map((about, i) => {
      const prefix = `block${i}_`,
        own = {};
      for (const [name, array] of Object.entries(arrays)) {
        if (name.startsWith(prefix)) own[name.slice(prefix.length)] = array;
      }
      return new BLOCKS[about.kind](about, own);
    });
    this.width = this.blocks.reduce((sum, block) => sum + block.width, 0);
    this.members = form.members ? new Members(form, arrays, this.n_out, this.width) : null;
    this.factors = linearFactors(arrays, this.members);
    this.whitening = form.kernel ? new Whitening(form.kernel, this.blocks[0]) : null;
    if (this.whitening) {
      for (const name of ["inner", "form0"])
        if (arrays[name]) this.whitening.solveRows(arrays[name]);
    }
    this.forms = form.forms.map((about, i) => ({
      sign: about.sign,
      square: rowsForm(about, arrays[`form${i}`]),
    }));
    if (this.whitening) this.forms.push({ sign: -1, square: (u) => this.whitening.square(u) });
    this.hasBars = form.floor !== null && form.task === "regression";
    this.unique = data("unique");
    this.shared = arrays.unique ? this.sharedOf(arrays) : null;
    this.along = form.along || 1;
    this.ends = data("ends");
    this.sizes = this.ends ? [arrays.size0.data, arrays.size1.data] : null;
    this.xLower = this.seen(this.lower);
    this.xUpper = this.seen(this.upper);
    this.xCentre = this.centre;
  }

  // The argument of the features: y, with logarithms for the marked inputs; NaN for y <= 0 there.
  seen(y) {
    return Float64Array.from(y, (v, i) => (this.logIn[i] ? (v > 0 ? Math.log(v) : NaN) : v));
  }

  // The inverse of `seen`.
  given(x) {
    return Float64Array.from(x, (v, i) => (this.logIn[i] ? Math.exp(v) : v));
  }

  features(x) {
    const u = new Float64Array(this.width);
    let row = 0;
    for (const block of this.blocks) {
      block.features(x, u, row);
      row += block.width;
    }
    return u;
  }

  // Features and linear layer at y: what the other methods take.
  at(y) {
    const x = this.seen(y),
      u = this.features(x);
    this.whitening?.solve(u, 1);
    let linear = u;
    for (const { data, shape } of this.factors) {
      linear = multiply(data, shape[0], shape[1], linear, 1, new Float64Array(shape[0]));
    }
    const out = Float64Array.from(linear, (v, i) => v + this.c_0[i]);
    return { y, x, u, linear: out };
  }

  // The prediction c; logits for a classifier.
  values({ linear }) {
    return Float64Array.from(linear, (v, i) => (this.logOut[i] ? Math.exp(v) : v));
  }

  probabilities({ linear }) {
    const top = Math.max(...linear),
      p = linear.map((v) => Math.exp(v - top));
    const sum = p.reduce((a, b) => a + b, 0);
    return p.map((v) => v / sum);
  }

  // dc/dy, (n_out, n_in) in one array; of the logits for a classifier. With rows, of these outputs.
  jacobian(point, rows = null) {
    const { n_in: n } = this;
    this.features(point.x); // the networks keep the values of their last call
    let D = new Float64Array(this.width * n),
      row = 0;
    for (const block of this.blocks) {
      block.tangents(point.x, D, row);
      row += block.width;
    }
    this.whitening?.solve(D, n);
    this.factors.forEach(({ data, shape }, i) => {
      const last = i === this.factors.length - 1,
        m = last && rows ? rows.length : shape[0];
      const A = last && rows ? pick(data, shape[1], rows) : data;
      D = multiply(A, m, shape[1], D, n, new Float64Array(m * n));
    });
    const outputs = rows || Array.from({ length: this.n_out }, (_, i) => i);
    outputs.forEach((o, i) => {
      const factor = this.logOut[o] ? Math.exp(point.linear[o]) : 1;
      for (let j = 0; j < n; j++) {
        D[i * n + j] *= factor / (this.logIn[j] ? (point.y[j] > 0 ? point.y[j] : NaN) : 1);
      }
    });
    return D;
  }

  // S L of the covariance of errors, (n_out, k): whole, or as a product with the last factor of the
  // linear layer, in whose span it lies.
  sharedOf({ loadings, shared }) {
    if (loadings) {
      const k = loadings.shape[1];
      return { k, data: loadings.data.map((v, p) => v * this.sigma[Math.floor(p / k)]) };
    }
    const { data, shape } = this.factors[this.factors.length - 1],
      k = shared.shape[1];
    const product = new Float64Array(this.n_out * k);
    return { k, data: multiply(data, this.n_out, shape[1], shared.data, k, product) };
  }

  // h and h' of the covariance of errors: exponentials of quadratic polynomials, between two ends, in
  // the point of the box next to x.
  sizesAt(x) {
    if (!this.sizes) return [1, 1];
    const a = [1];
    x.forEach((v, i) => {
      const inside = Math.min(Math.max(v, this.xLower[i]), this.xUpper[i]);
      a.push((inside - this.xCentre[i]) / this.unit[i]);
    });
    return this.sizes.map((M, part) => {
      let log = 0;
      for (let i = 0, p = 0; p < M.length; i++) {
        for (let j = i; j < a.length; j++) log += M[p++] * a[i] * a[j];
      }
      return Math.exp(Math.min(Math.max(log, this.ends[part]), this.ends[2 + part]));
    });
  }

  // The square of the deviations over sigma.
  share({ x, u }) {
    let share = this.form.floor;
    for (const { sign, square } of this.forms) share += sign * square(u);
    for (let i = 0; i < this.n_in; i++) {
      const beyond = Math.max(0, this.xLower[i] - x[i], x[i] - this.xUpper[i]) / this.unit[i];
      share += beyond * beyond;
    }
    for (const off of this.off(x)) share += off * off;
    return share > 1e-12 || Number.isNaN(share) ? share : 1e-12;
  }

  // Standard deviations of the linear layer's output; those of the logarithms where they are marked.
  deviations(point) {
    point.deviations ||= this.deviationsAt(point);
    return point.deviations;
  }

  deviationsAt(point) {
    const share = this.share(point);
    const more = this.members ? this.members.variance(point.u, point.linear) : null;
    return Float64Array.from(this.sigma, (s, o) => Math.sqrt(share * s * s + (more ? more[o] : 0)));
  }

  // The covariance of the errors of some outputs, diag(d) + F F^T: {d, (m,); F, (m, k) by rows}, as
  // surrogates.model.covariance has it. Errors count as independent if the file has no covariance.
  errors(point, rows) {
    const { shared, unique, members } = this,
      share = this.share(point);
    const factor = (o) => (this.logOut[o] ? Math.exp(point.linear[o]) : 1);
    if (!shared) {
      const std = this.deviations(point);
      return { d: Float64Array.from(rows, (o) => (std[o] * factor(o)) ** 2), F: [] };
    }
    const more = members ? members.columns(point.u, point.linear) : null;
    const k = shared.k + (members ? members.widths.length : 0),
      F = new Float64Array(rows.length * k);
    const [h, own] = this.sizesAt(point.x).map((size) => size * share);
    const d = Float64Array.from(rows, (o) => own * this.sigma[o] ** 2 * unique[o] * factor(o) ** 2);
    rows.forEach((o, i) => {
      const [size, by] = [Math.sqrt(h) * factor(o), factor(o)];
      for (let a = 0; a < shared.k; a++) F[i * k + a] = size * shared.data[o * shared.k + a];
      for (let a = shared.k; a < k; a++) {
        F[i * k + a] = by * more[o * (k - shared.k) + a - shared.k];
      }
    });
    return { d, F };
  }

  // Standard deviations of the prediction's error.
  std(point) {
    return this.deviations(point).map((s, o) =>
      this.logOut[o] ? s * Math.exp(point.linear[o]) : s,
    );
  }

  // Ends of the intervals of the level whose normal quantile is q: [lower, upper].
  interval(point, q) {
    const half = this.deviations(point).map(
      (s, o) => q * Math.exp(0.5 * this.tail[o] * (q * q - this.form.middle)) * s,
    );
    return [-1, 1].map((side) =>
      half.map((h, o) => {
        const end = point.linear[o] + side * h;
        return this.logOut[o] ? Math.exp(end) : end;
      }),
    );
  }

  // normals (x - centre) / unit: 0 in the flat of the training parameters.
  off(x) {
    const scaled = Float64Array.from(x, (v, i) => (v - this.xCentre[i]) / this.unit[i]);
    return multiply(this.normals, this.n_flat, this.n_in, scaled, 1, new Float64Array(this.n_flat));
  }

  // What is outside the domain: indices of the parameters that are, and whether y is off the flat.
  outside(y) {
    const x = this.seen(y),
      parameters = [];
    for (let i = 0; i < this.n_in; i++) {
      const [lower, upper] = [this.xLower[i], this.xUpper[i]];
      const slack = 1e-9 * (upper - lower) + (this.logIn[i] ? 1e-12 : 0);
      if (!(lower - slack <= x[i] && x[i] <= upper + slack)) parameters.push(i);
    }
    return { parameters, offFlat: !this.off(x).every((v) => Math.abs(v) <= 1e-4) };
  }
}

class Members {
  constructor({ widths, spread }, arrays, n_out, width) {
    Object.assign(this, { widths, spread, n_out, width });
    [this.biases, this.weights] = ["biases", "weights"].map(
      (name) => arrays[`member_${name}`].data,
    );
    this.W = arrays.member_W ? arrays.member_W.data : this.product(arrays);
  }

  // The members' layers from their two factors.
  product(arrays) {
    const [inner, outer] = factorsOf(arrays, "member_"),
      [n_out, rank] = outer.shape;
    return multiply(
      outer.data,
      n_out,
      rank,
      inner.data,
      this.width,
      new Float64Array(n_out * this.width),
    );
  }

  // The linear layer of the weighted mean.
  mean() {
    const data = new Float64Array(this.n_out * this.width);
    for (let o = 0, p = 0; o < this.n_out; o++) {
      this.widths.forEach((columns, m) => {
        for (let j = 0; j < columns; j++, p++)
          data[p] = this.weights[m * this.n_out + o] * this.W[p];
      });
    }
    return { data, shape: [this.n_out, this.width] };
  }

  // sqrt(spread weights_m) (c_m - c), (n_out, n_members).
  columns(u, c) {
    const n = this.widths.length,
      found = new Float64Array(this.n_out * n);
    for (let o = 0, p = 0; o < this.n_out; o++) {
      let j = 0;
      this.widths.forEach((columns, m) => {
        let own = 0;
        for (let l = 0; l < columns; l++) own += this.W[p++] * u[j++];
        own += this.biases[m * this.n_out + o];
        found[o * n + m] = Math.sqrt(this.spread * this.weights[m * this.n_out + o]) * (own - c[o]);
      });
    }
    return found;
  }

  // The sums of their squares, (n_out,).
  variance(u, c) {
    const columns = this.columns(u, c),
      n = this.widths.length,
      total = new Float64Array(this.n_out);
    columns.forEach((v, p) => {
      total[Math.floor(p / n)] += v * v;
    });
    return total;
  }
}

// The linear layer as a product of matrices, applied from the first to the last.
function linearFactors(arrays, members) {
  if (arrays.W) return [arrays.W];
  return arrays.inner ? factorsOf(arrays, "") : [members.mean()];
}

// inner, and outer for the outputs' units and as rows of outputs.
function factorsOf(arrays, prefix) {
  const {
    data: outer,
    shape: [rank, n_out],
  } = arrays[`${prefix}outer`];
  const spread = arrays[`${prefix}spread`].data,
    data = new Float64Array(rank * n_out);
  for (let k = 0, p = 0; k < rank; k++) {
    for (let o = 0; o < n_out; o++) data[o * rank + k] = outer[p++] * spread[o];
  }
  return [arrays[`${prefix}inner`], { data, shape: [n_out, rank] }];
}

// || R [u, 1] ||^2, R by rows; those of a triangle begin at the diagonal.
function rowsForm({ kind, rows, columns }, { data: R }) {
  return (u) => {
    let sum = 0;
    for (let i = 0, p = 0; i < rows; i++) {
      let z = 0;
      for (let j = kind === "triangle" ? i : 0; j < columns; j++) {
        z += R[p++] * (j < u.length ? u[j] : 1);
      }
      sum += z * z;
    }
    return sum;
  };
}

// L of L L^T = K = kappa(centres) + nugget I, by rows, for the first block. L^-1 k takes the place of
// its features k, and W K L^-T that of W.
class Whitening {
  constructor({ s, nugget, width: n }, block) {
    Object.assign(this, { s, n, L: new Float64Array((n * (n + 1)) / 2) });
    const { L } = this,
      { centres, factor, shift } = block,
      row = new Float64Array(n);
    for (let i = 0, start = 0; i < n; start += ++i) {
      const own = centres.data.subarray(i * block.n, (i + 1) * block.n);
      block.features(
        own.map((v, l) => v / factor.data[l] + shift.data[l]),
        row,
        0,
      );
      row[i] += nugget;
      for (let j = 0, other = 0; j <= i; other += ++j) {
        let sum = row[j];
        for (let l = 0; l < j; l++) sum -= L[start + l] * L[other + l];
        L[start + j] = j < i ? sum / L[other + j] : Math.sqrt(sum);
      }
    }
  }

  // Put L^-1 M in place of the first n rows of M, which has k columns.
  solve(M, k) {
    const column = k === 1 ? M : new Float64Array(this.n);
    for (let c = 0; c < k; c++) {
      if (k > 1) for (let i = 0; i < this.n; i++) column[i] = M[i * k + c];
      this.solveColumn(column);
      if (k > 1) for (let i = 0; i < this.n; i++) M[i * k + c] = column[i];
    }
  }

  solveColumn(v) {
    const { L, n } = this;
    for (let i = 0, p = 0; i < n; i++, p++) {
      let sum = v[i];
      for (let j = 0; j < i; j++, p++) sum -= L[p] * v[j];
      v[i] = sum / L[p];
    }
  }

  // Put (L^-1 r)^T in place of the first n entries r^T of each row.
  solveRows({ data, shape }) {
    const columns = shape[1];
    for (let at = 0; at < data.length; at += columns) this.solve(data.subarray(at, at + this.n), 1);
  }

  // s ||L^-1 k||^2.
  square(u) {
    let sum = 0;
    for (let i = 0; i < this.n; i++) sum += u[i] * u[i];
    return this.s * sum;
  }
}

const marks = (indices, n) => {
  const found = new Array(n).fill(false);
  for (const i of indices) found[i] = true;
  return found;
};

const pick = (A, n, rows) => {
  const picked = new Float64Array(rows.length * n);
  rows.forEach((row, i) => picked.set(A.subarray(row * n, (row + 1) * n), i * n));
  return picked;
};
