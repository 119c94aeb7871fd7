// The surrogate's numbers and formulas, in double precision.
// The text of surrogates.export.npz has the formulas; surrogates.export.html.pack wrote the arrays.

// The bytes of a text: two of 91 characters for 13 bits.
function bytesOf(text) {
  const digit = new Uint8Array(128),
    bytes = new Uint8Array(Math.floor(((text.length / 2) * 13) / 8));
  for (let c = 33, d = 0; c < 127; c++)
    if (!'"<\\'.includes(String.fromCharCode(c))) digit[c] = d++;
  for (let i = 0, at = 0, bits = 0, held = 0; i < text.length; i += 2) {
    held =
      ((held << 13) | (digit[text.charCodeAt(i)] * 91 + digit[text.charCodeAt(i + 1)])) & 0xfffff;
    for (bits += 13; bits >= 8 && at < bytes.length; at++) {
      bits -= 8;
      bytes[at] = held >> bits;
    }
  }
  return bytes;
}

// Decode the arrays: {name: {data, shape}}. A triangle has only the entries from the diagonal on. A
// graded row begins with its scale and its number of bits: 64 for float64, fewer for whole numbers,
// which the scale multiplies.
function unpack(text, listing) {
  const bytes = bytesOf(text);
  const view = new DataView(bytes.buffer),
    arrays = {};
  let at = 0;
  const real = () => {
    at += 8;
    return view.getFloat64(at - 8, true);
  };
  const row = (data, from, to) => {
    const scale = real(),
      bits = bytes[at++],
      zero = 2 ** (bits - 1);
    if (bits === 64) for (let i = from; i < to; i++) data[i] = real();
    let left = 8;
    for (let i = from; i < to && bits < 64; i++) {
      let value = 0;
      for (let wanted = bits; wanted > 0;) {
        const some = Math.min(wanted, left);
        left -= some;
        value = value * 2 ** some + ((bytes[at] >> left) & (2 ** some - 1));
        wanted -= some;
        if (!left) [left, at] = [8, at + 1];
      }
      data[i] = (value - zero) * scale;
    }
    if (left < 8) at++;
  };
  for (const [name, { shape, triangle, graded }] of Object.entries(listing)) {
    const n = shape.reduce((a, b) => a * b, 1),
      columns = shape[shape.length - 1];
    const kept = triangle ? (n + columns) / 2 : n,
      data = new Float64Array(kept);
    if (!graded) for (let i = 0; i < kept; i++) data[i] = real();
    for (let i = 0, r = 0; graded && i < kept; r++) {
      const end = i + columns - (triangle ? r : 0);
      row(data, i, end);
      i = end;
    }
    arrays[name] = { data, shape };
  }
  return arrays;
}

// result = A v, or its columns: A is (m, n), v is (n, k), result is (m, k).
function multiply(A, m, n, v, k, result) {
  if (k === 1) {
    for (let i = 0, p = 0; i < m; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += A[p++] * v[j];
      result[i] = sum;
    }
    return result;
  }
  result.fill(0, 0, m * k);
  for (let i = 0, p = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      const a = A[p++];
      if (a !== 0) for (let l = 0; l < k; l++) result[i * k + l] += a * v[j * k + l];
    }
  }
  return result;
}

const PHI = {
  sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (k) => k - k * k],
  softplus: [(x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), (k) => -Math.expm1(-k)],
  relu: [(x) => Math.max(x, 0), (k) => (k > 0 ? 1 : k)],
};

// kappa(r), and kappa'(r) / r.
const far = (r) => Math.min(Math.sqrt(5) * r, 1000);
const KAPPA = {
  gaussian: [(r) => Math.exp(-0.5 * r * r), (r) => -Math.exp(-0.5 * r * r)],
  matern52: [
    (r) => {
      const s = far(r);
      return (1 + s + (s * s) / 3) * Math.exp(-s);
    },
    (r) => {
      const s = far(r);
      return (-5 / 3) * (1 + s) * Math.exp(-s);
    },
  ],
};

// A block has its width, features(x, u, at), which writes them from u[at] on, and
// tangents(x, D, at), which writes their derivatives by x, (width, n_in), from row `at` on. The
// derivatives of a network are of the last features that were computed.
class Network {
  constructor(about, a) {
    Object.assign(this, a);
    [this.phi, this.slope] = PHI[about.phi];
    [this.width, this.n] = a.K_in.shape;
    [this.steps, this.stages] = a.A.shape;
    this.carry = a.carry.data[0];
    this.values = [];
  }

  features(x, u, at) {
    const { width: w, values } = this,
      A = this.A.data,
      b = this.b.data;
    values.length = 0;
    let now = multiply(this.K_in.data, w, this.n, x, 1, new Float64Array(w));
    for (let i = 0; i < w; i++) now[i] = this.phi(now[i] + this.b_in.data[i]);
    values.push(now);
    for (let j = 0; j < this.steps; j++) {
      const after = now.map((value) => this.carry * value);
      let k = new Float64Array(w);
      for (let i = 0; i < this.stages; i++) {
        const stage = j * this.stages + i,
          from = new Float64Array(w),
          next = new Float64Array(w);
        for (let l = 0; l < w; l++) from[l] = now[l] + this.lengths.data[i] * k[l];
        multiply(A.subarray(stage * w * w, (stage + 1) * w * w), w, w, from, 1, next);
        for (let l = 0; l < w; l++) {
          next[l] = this.phi(next[l] + b[stage * w + l]);
          after[l] += this.weights.data[i] * next[l];
        }
        values.push((k = next));
      }
      now = after;
    }
    u.set(now, at);
  }

  tangents(x, D, at) {
    const { width: w, n } = this,
      A = this.A.data,
      values = this.values[Symbol.iterator]();
    const scaled = (M) => {
      const k = values.next().value;
      for (let i = 0; i < w; i++) {
        const slope = this.slope(k[i]);
        for (let l = 0; l < n; l++) M[i * n + l] *= slope;
      }
      return M;
    };
    let d = scaled(Float64Array.from(this.K_in.data));
    for (let j = 0; j < this.steps; j++) {
      const after = d.map((value) => this.carry * value);
      let dk = new Float64Array(w * n);
      for (let i = 0; i < this.stages; i++) {
        const stage = j * this.stages + i,
          from = new Float64Array(w * n);
        for (let l = 0; l < w * n; l++) from[l] = d[l] + this.lengths.data[i] * dk[l];
        const part = A.subarray(stage * w * w, (stage + 1) * w * w);
        dk = scaled(multiply(part, w, w, from, n, new Float64Array(w * n)));
        for (let l = 0; l < w * n; l++) after[l] += this.weights.data[i] * dk[l];
      }
      d = after;
    }
    D.set(d, at * n);
  }
}

class Radial {
  constructor(about, a) {
    Object.assign(this, a);
    [this.kappa, this.slope] = KAPPA[about.kernel];
    [this.width, this.n] = a.centres.shape;
    this.scaled = new Float64Array(this.n);
  }

  // Distance of the scaled point from centre k.
  distance(k) {
    const { n, scaled } = this,
      centres = this.centres.data;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += (scaled[i] - centres[k * n + i]) ** 2;
    return Math.sqrt(sum);
  }

  scale(x) {
    for (let i = 0; i < this.n; i++)
      this.scaled[i] = (x[i] - this.shift.data[i]) * this.factor.data[i];
  }

  features(x, u, at) {
    this.scale(x);
    for (let k = 0; k < this.width; k++) u[at + k] = this.kappa(this.distance(k));
  }

  tangents(x, D, at) {
    const { n, scaled } = this,
      centres = this.centres.data;
    this.scale(x);
    for (let k = 0; k < this.width; k++) {
      const slope = this.slope(this.distance(k));
      for (let i = 0; i < n; i++) {
        D[(at + k) * n + i] = slope * (scaled[i] - centres[k * n + i]) * this.factor.data[i];
      }
    }
  }
}

class Anova {
  constructor(about, a) {
    Object.assign(this, a);
    [this.kappa, this.slope] = KAPPA[about.kernel];
    [this.width, this.n] = a.centres.shape;
  }

  // Factor i of product k, and its derivative by x_i.
  factorOf(x, k, i) {
    const share = this.shares.data[i];
    const d = (x[i] - this.shift.data[i]) * this.factor.data[i] - this.centres.data[k * this.n + i];
    const r = Math.abs(d);
    return [1 + share * (this.kappa(r) - 1), share * this.slope(r) * d * this.factor.data[i]];
  }

  features(x, u, at) {
    for (let k = 0; k < this.width; k++) {
      let product = 1;
      for (let i = 0; i < this.n; i++) product *= this.factorOf(x, k, i)[0];
      u[at + k] = product;
    }
  }

  tangents(x, D, at) {
    const { n } = this;
    for (let k = 0; k < this.width; k++) {
      const pairs = Array.from({ length: n }, (_, i) => this.factorOf(x, k, i));
      for (let i = 0; i < n; i++) {
        let product = pairs[i][1];
        for (let j = 0; j < n; j++) if (j !== i) product *= pairs[j][0];
        D[(at + k) * n + i] = product;
      }
    }
  }
}

class Polynomial {
  constructor(about, a) {
    Object.assign(this, a);
    this.n = a.shift.shape[0];
    this.width = this.n + a.first.shape[0];
  }

  entry(x, i) {
    return (x[i] - this.shift.data[i]) / this.scale.data[i];
  }

  features(x, u, at) {
    const first = this.first.data,
      second = this.second.data;
    for (let i = 0; i < this.n; i++) u[at + i] = this.entry(x, i);
    for (let p = 0; p < first.length; p++) {
      u[at + this.n + p] = u[at + first[p]] * u[at + second[p]];
    }
  }

  tangents(x, D, at) {
    const { n } = this,
      first = this.first.data,
      second = this.second.data;
    D.fill(0, at * n, (at + this.width) * n);
    for (let i = 0; i < n; i++) D[(at + i) * n + i] = 1 / this.scale.data[i];
    for (let p = 0; p < first.length; p++) {
      const row = (at + n + p) * n;
      D[row + first[p]] += this.entry(x, second[p]) / this.scale.data[first[p]];
      D[row + second[p]] += this.entry(x, first[p]) / this.scale.data[second[p]];
    }
  }
}

const BLOCKS = { network: Network, radial: Radial, anova: Anova, polynomial: Polynomial };
