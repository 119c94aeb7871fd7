// The errors of data: independent ones of variances d, (m,), and shared ones, the columns of F.
//
//   C = diag(d) + F F^T,    F (m, k) by rows
//
// as in surrogates.model.low_rank. With v of a vector over sqrt(d), G of F likewise, and
// A = I + G^T G, the vector T v = [v - G x, x], x = A^-1 G^T v, of m + k numbers has
// (T v).(T w) = v^T C^-1 w: least squares of T v are those of C. Errors of x enter in second order.

class Errors {
  constructor(d, F) {
    const m = d.length,
      k = F.length / m;
    Object.assign(this, { m, k, root: d.map(Math.sqrt), G: Float64Array.from(F) });
    const { G, root } = this;
    for (let i = 0, p = 0; i < m; i++) for (let a = 0; a < k; a++) G[p++] /= root[i];
    this.L = choleskyOfGram(G, m, k);
  }

  // log det C.
  logdet() {
    let sum = 0;
    for (let i = 0; i < this.m; i++) sum += 2 * Math.log(this.root[i]);
    for (let a = 0; a < this.k; a++) sum += 2 * Math.log(this.L[a * this.k + a]);
    return sum;
  }

  // T of the n columns of V, (m, n) by rows: (m + k, n). One pass suffices where 1e-6 does.
  whitened(V, n = 1, passes = 2) {
    const { m, k, root, G } = this,
      all = new Float64Array((m + k) * n),
      x = all.subarray(m * n);
    for (let i = 0, p = 0; i < m; i++) for (let c = 0; c < n; c++, p++) all[p] = V[p] / root[i];
    for (let pass = 0; k && pass < passes; pass++) {
      // The second pass refines x.
      const more = x.map((v) => -v);
      for (let i = 0; i < m; i++) {
        const row = G.subarray(i * k, (i + 1) * k);
        for (let c = 0; c < n; c++) {
          const v = all[i * n + c];
          for (let a = 0, p = c; a < k; a++, p += n) more[p] += row[a] * v;
        }
      }
      this.solve(more, n);
      for (let p = 0; p < x.length; p++) x[p] += more[p];
      for (let i = 0; i < m; i++) {
        const row = G.subarray(i * k, (i + 1) * k);
        for (let c = 0; c < n; c++) {
          let sum = 0;
          for (let a = 0, p = c; a < k; a++, p += n) sum += row[a] * more[p];
          all[i * n + c] -= sum;
        }
      }
    }
    return all;
  }

  // Put A^-1 M in place of M, (k, n).
  solve(M, n) {
    const { k, L } = this;
    for (let a = 0; a < k; a++) {
      for (let c = 0; c < n; c++) {
        for (let b = 0; b < a; b++) M[a * n + c] -= L[a * k + b] * M[b * n + c];
        M[a * n + c] /= L[a * k + a];
      }
    }
    for (let a = k - 1; a >= 0; a--) {
      for (let c = 0; c < n; c++) {
        for (let b = a + 1; b < k; b++) M[a * n + c] -= L[b * k + a] * M[b * n + c];
        M[a * n + c] /= L[a * k + a];
      }
    }
  }
}

// L of L L^T = I + G^T G, (k, k), for G (m, k).
function choleskyOfGram(G, m, k) {
  const L = new Float64Array(k * k);
  for (let i = 0; i < m; i++) {
    const row = G.subarray(i * k, (i + 1) * k);
    for (let a = 0; a < k; a++) {
      const g = row[a];
      for (let b = 0; b <= a; b++) L[a * k + b] += g * row[b];
    }
  }
  for (let a = 0; a < k; a++) {
    L[a * k + a] += 1;
    for (let b = 0; b <= a; b++) {
      let sum = L[a * k + b];
      for (let c = 0; c < b; c++) sum -= L[a * k + c] * L[b * k + c];
      L[a * k + b] = b < a ? sum / L[b * k + b] : Math.sqrt(sum);
    }
  }
  return L;
}

// Errors of the data of some rows of outputs at a point: noise of standard deviations sigma (NaN for
// none) and the surrogate's own. Without both, all count alike. The surrogate's covariance has the least of
// the scales that surrogates.model.likelihood has for it.
function errorsOf(model, point, { rows, sigma }) {
  const own = model.hasBars ? model.errors(point, rows) : { d: [], F: [] };
  const d = Float64Array.from(rows, (o, i) => (sigma[o] > 0 ? sigma[o] ** 2 : 0) + model.along * (own.d[i] || 0));
  const size = Math.sqrt(model.along);
  return new Errors(
    d.map((v) => v || 1),
    own.F.map((v) => v * size),
  );
}
