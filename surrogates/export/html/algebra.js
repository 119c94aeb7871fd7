// Small dense linear algebra: matrices by rows, in Float64Array.

// Eigenvalues and orthonormal eigenvectors of a symmetric matrix, by cyclic Jacobi rotations (Golub
// and Van Loan, "Matrix computations", section 8.5). Row i of vectors belongs to values[i].
function eigen(S, n) {
  const A = Float64Array.from(S),
    V = new Float64Array(n * n);
  for (let i = 0; i < n; i++) V[i * n + i] = 1;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0,
      all = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        all += A[i * n + j] ** 2;
        if (i !== j) off += A[i * n + j] ** 2;
      }
    }
    if (off <= 1e-30 * all) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const a = A[p * n + q];
        if (a === 0) continue;
        const theta = (A[q * n + q] - A[p * n + p]) / (2 * a);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1),
          s = t * c;
        for (let k = 0; k < n; k++) {
          const x = A[k * n + p],
            y = A[k * n + q];
          A[k * n + p] = c * x - s * y;
          A[k * n + q] = s * x + c * y;
        }
        for (let k = 0; k < n; k++) {
          const x = A[p * n + k],
            y = A[q * n + k],
            v = V[p * n + k],
            w = V[q * n + k];
          A[p * n + k] = c * x - s * y;
          A[q * n + k] = s * x + c * y;
          V[p * n + k] = c * v - s * w;
          V[q * n + k] = s * v + c * w;
        }
      }
    }
  }
  return { values: Float64Array.from({ length: n }, (_, i) => A[i * n + i]), vectors: V };
}

// x = A^+ b for a symmetric positive semidefinite A; directions below `cut` times the largest
// eigenvalue are left out. `damping` is added to the eigenvalues.
function pseudoSolve({ values, vectors }, b, n, damping = 0, cut = 1e-13) {
  const x = new Float64Array(n),
    top = Math.max(...values, 0);
  for (let i = 0; i < n; i++) {
    if (!(values[i] > cut * top)) continue;
    let along = 0;
    for (let j = 0; j < n; j++) along += vectors[i * n + j] * b[j];
    along /= values[i] + damping;
    for (let j = 0; j < n; j++) x[j] += along * vectors[i * n + j];
  }
  return x;
}

// x = A^-1 b for a positive definite A, by Cholesky; null if A is nearly singular.
function choleskySolve(A, b, n) {
  const L = new Float64Array(n * n),
    x = Float64Array.from(b);
  let top = 0;
  for (let i = 0; i < n; i++) top = Math.max(top, A[i * n + i]);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i * n + j];
      for (let l = 0; l < j; l++) sum -= L[i * n + l] * L[j * n + l];
      if (j < i) L[i * n + j] = sum / L[j * n + j];
      else if (!(sum > 1e-9 * top)) return null;
      else L[i * n + i] = Math.sqrt(sum);
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) x[i] -= L[i * n + j] * x[j];
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let j = i + 1; j < n; j++) x[i] -= L[j * n + i] * x[j];
    x[i] /= L[i * n + i];
  }
  return x;
}

// Orthonormal rows that span the complement of the k rows of N, (k, n): by Gram and Schmidt, twice.
function complement(N, k, n) {
  if (!k) return Array.from({ length: n }, (_, i) => new Float64Array(n).fill(1, i, i + 1));
  const rows = [];
  const add = (v, least) => {
    for (let pass = 0; pass < 2; pass++) {
      for (const row of rows) {
        let along = 0;
        for (let i = 0; i < n; i++) along += row[i] * v[i];
        for (let i = 0; i < n; i++) v[i] -= along * row[i];
      }
    }
    const size = Math.hypot(...v);
    if (size <= least) return;
    rows.push(v.map((entry) => entry / size));
  };
  for (let i = 0; i < k; i++) add(Float64Array.from(N.subarray(i * n, (i + 1) * n)), 1e-9);
  const first = rows.length;
  for (let least = 0.5; rows.length < n && least > 1e-6; least /= 2) {
    for (let i = 0; i < n && rows.length < n; i++) {
      const unit = new Float64Array(n);
      unit[i] = 1;
      add(unit, least);
    }
  }
  return rows.slice(first);
}
