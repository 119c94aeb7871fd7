// Least squares within the domain: Gauss-Newton with damping, bounds and linear relations.
//
//   minimise  r^T C^-1 r  [+ ||t||^2],   r = c(y) - data,   lower <= t <= upper,  N t = 0
//
// in the scaled parameters t of `Domain`; the term in brackets is the prior. C is the covariance of
// the noise and of the surrogate's errors, at the fitted y: y is found for a fixed C, then C at this
// y, until both stay. So J^T C^-1 r = 0 where no bound or relation acts. This is the likelihood of
// surrogates.model.likelihood but for two parts: the scale of shared errors is its least one, not a
// random number, and C does not depend on y when the sum is differentiated. Each step minimises the linearised sum with a
// damping (Levenberg 1944, Marquardt 1963) by an active-set method (Nocedal and Wright 2006,
// "Numerical optimization", section 16.5).

// Minimise g.p + p.G p / 2 + damping |p|^2 / 2 over p with t + p in the box, N p = 0, p = 0 where
// fixed. Returns the step and the set of parameters that do not move or lie at a bound. `before` is
// this set of the last step: from it, few changes are left.
function boundedStep(domain, G, g, t, { fixed, before, damping }) {
  const { n, k, N, lower, upper } = domain,
    p = new Float64Array(n),
    still = new Set(fixed);
  for (const i of before) if (t[i] <= lower[i] || t[i] >= upper[i]) still.add(i);
  const slope = () => {
    const r = multiply(G, n, n, p, 1, new Float64Array(n));
    for (let i = 0; i < n; i++) r[i] += g[i] + damping * p[i];
    return r;
  };
  for (let round = 0; round < 4 * n + 10; round++) {
    const r = slope(),
      free = freeBasis(N, k, n, still);
    const m = free.length,
      b = new Float64Array(m);
    const within = between(G, n, free);
    for (let i = 0; i < m; i++) {
      b[i] = -dot(free[i], r);
      within[i * m + i] += damping;
    }
    const q = choleskySolve(within, b, m) || pseudoSolve(eigen(within, m), b, m),
      step = new Float64Array(n);
    free.forEach((z, i) =>
      z.forEach((v, j) => {
        step[j] += q[i] * v;
      }),
    );
    let share = 1,
      stop = -1;
    for (let i = 0; i < n; i++) {
      if (still.has(i) || Math.abs(step[i]) < 1e-300) continue;
      const room = ((step[i] > 0 ? upper[i] : lower[i]) - t[i] - p[i]) / step[i];
      if (room < share) [share, stop] = [Math.max(room, 0), i];
    }
    for (let i = 0; i < n; i++) p[i] += share * step[i];
    if (stop >= 0) {
      still.add(stop);
      continue;
    }
    const leaving = wrongBound(domain, slope(), t, p, still, fixed);
    if (leaving < 0) break;
    still.delete(leaving);
  }
  return { step: p, still };
}

// Z^T G Z for the directions Z, (m, m). Most have few entries that are not 0.
function between(G, n, free) {
  const m = free.length,
    H = new Float64Array(m * m);
  const entries = free.map((z) => Array.from(z.keys()).filter((i) => z[i] !== 0));
  free.forEach((z, a) => {
    const moved = new Float64Array(n);
    for (const i of entries[a]) for (let l = 0; l < n; l++) moved[l] += z[i] * G[i * n + l];
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (const l of entries[b]) sum += free[b][l] * moved[l];
      H[a * m + b] = H[b * m + a] = sum;
    }
  });
  return H;
}

// Directions of the free parameters that keep N t, orthonormal.
function freeBasis(N, k, n, still) {
  const open = [];
  for (let i = 0; i < n; i++) if (!still.has(i)) open.push(i);
  const own = new Float64Array(k * open.length);
  for (let a = 0; a < k; a++)
    open.forEach((i, j) => {
      own[a * open.length + j] = N[a * n + i];
    });
  return complement(own, k, open.length).map((z) => {
    const whole = new Float64Array(n);
    open.forEach((i, j) => {
      whole[i] = z[j];
    });
    return whole;
  });
}

// A parameter at a bound that the sum would rather move inwards; -1 if there is none.
function wrongBound({ n, k, N, lower, upper }, r, t, p, still, fixed) {
  // Multipliers of the relations: least squares over the free parameters.
  const A = new Float64Array(k * k),
    b = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    if (still.has(i)) continue;
    for (let a = 0; a < k; a++) {
      b[a] += N[a * n + i] * r[i];
      for (let c = 0; c < k; c++) A[a * k + c] += N[a * n + i] * N[c * n + i];
    }
  }
  const nu = k ? pseudoSolve(eigen(A, k), b, k) : [];
  const top = Math.max(...r.map(Math.abs), 0);
  let worst = -1,
    least = 1e-9 * top;
  for (const i of still) {
    if (fixed.has(i)) continue;
    let force = r[i];
    for (let a = 0; a < k; a++) force -= N[a * n + i] * nu[a];
    const inwards = t[i] + p[i] <= lower[i] + 1e-12 ? -force : force;
    if (upper[i] > lower[i] && inwards > least) [worst, least] = [i, inwards];
  }
  return worst;
}

const dot = (a, b) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};

const SCREENED = 200; // random settings among which a fit looks for starts
const STARTS = 3;
const APART = 0.7; // least distance of starts in a parameter, in units of which the box has 3.5

// Fit y to data. problem: {values, sigma, rows: outputs that have data, held, prior}. sigma holds
// the noise of each output, NaN where none is given. The sum may have several minima: the most
// likely of a few starts is returned, `start` and random settings of the domain.
function fit(model, domain, start, problem) {
  const found = startsOf(model, domain, start, problem).map((y) =>
    fitFrom(model, domain, y, problem),
  );
  const best = found.reduce((least, one) => (one.value < least.value ? one : least));
  const { rows, prior } = problem,
    { now, absolute, iterations } = best;
  return { ...summary(model, domain, now, { rows, prior, absolute }), iterations };
}

// The settings of least sum among `start` and random ones, which are the same at each call.
function startsOf(model, domain, start, problem) {
  const { held, values, rows, prior } = problem;
  let seed = 1;
  const uniform = () => {
    // mulberry32
    seed = (seed + 0x6d2b79f5) | 0;
    let v = Math.imul(seed ^ (seed >>> 15), seed | 1);
    v ^= v + Math.imul(v ^ (v >>> 7), v | 61);
    return ((v ^ (v >>> 14)) >>> 0) / 4294967296;
  };
  const errors = errorsOf(model, model.at(start), problem);
  const sum = (y) => {
    const point = model.at(y),
      c = model.values(point),
      t = domain.scaled(point.x);
    const r = errors.whitened(
      Float64Array.from(rows, (o) => c[o] - values[o]),
      1,
      1,
    );
    return dot(r, r) + (prior ? dot(t, t) : 0);
  };
  const all = [start];
  for (let i = 0; i < SCREENED; i++) all.push(domain.random(held, start, uniform));
  const sums = all.map((y) => [sum(y), y]).filter(([v]) => Number.isFinite(v));
  sums.sort(([a], [b]) => a - b);
  // Starts that lie close together lead to the same minimum.
  const best = [],
    places = [];
  for (const [, y] of sums) {
    const t = domain.scaled(model.seen(y));
    if (places.some((p) => p.every((v, i) => Math.abs(v - t[i]) < APART))) continue;
    places.push(t);
    if (best.push(y) === STARTS) break;
  }
  const known = best.includes(start) || !sums.some(([, y]) => y === start);
  if (best.length) return known ? best : [...best, start];
  return [domain.given(new Float64Array(domain.n))];
}

const ROUNDS = 60; // in which C and y are found in turn
const STILL = 1e-9; // a step that is none, in standard errors

function fitFrom(model, domain, start, problem) {
  const { n } = domain,
    { held, rows, sigma } = problem,
    t = domain.scaled(model.seen(start));
  for (let i = 0; i < n; i++) {
    if (!held.has(i)) t[i] = Math.min(Math.max(t[i], domain.lower[i]), domain.upper[i]);
  }
  domain.project(t, domain.others(-1, held));
  const absolute = model.hasBars || rows.some((o) => sigma[o] > 0);
  let now,
    errors,
    before = Infinity,
    stalled = 0,
    iterations = 0;
  for (let round = 0; round < ROUNDS; round++) {
    errors = errorsOf(model, model.at(domain.given(t)), problem);
    // After the first round each C is nearly the last one.
    now = minimise(model, domain, t, { ...problem, errors, last: now, most: round ? 3 : 100 });
    iterations += now.iterations;
    t.set(now.t);
    if ((now.ended && now.moved < 10 * STILL) || !model.hasBars) break;
    stalled = now.moved < 0.01 && now.moved > 0.5 * before ? stalled + 1 : 0;
    if (stalled === 3) break; // what is left is rounding
    before = now.moved;
  }
  return { now, absolute, value: now.value + errors.logdet(), iterations };
}

function linearised(model, domain, t, { values, rows, errors, prior }) {
  const { n } = domain,
    y = domain.given(t),
    point = model.at(y);
  const c = model.values(point),
    J = model.jacobian(point, rows);
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < n; j++) J[i * n + j] *= model.unit[j] * (model.logIn[j] ? y[j] : 1);
  }
  const r = errors.whitened(Float64Array.from(rows, (o) => c[o] - values[o])),
    chi2 = dot(r, r);
  return { t, y, r, J: errors.whitened(J, n), chi2, value: chi2 + (prior ? dot(t, t) : 0) };
}

function gauss(domain, { r, J, t }, prior) {
  const { n } = domain,
    G = new Float64Array(n * n),
    g = new Float64Array(n);
  for (let i = 0; i < r.length; i++) {
    const row = J.subarray(i * n, (i + 1) * n);
    for (let j = 0; j < n; j++) {
      g[j] += row[j] * r[i];
      for (let l = 0; l <= j; l++) G[j * n + l] += row[j] * row[l];
    }
  }
  for (let j = 0; j < n; j++) {
    if (prior) {
      G[j * n + j] += 1;
      g[j] += t[j];
    }
    for (let l = 0; l < j; l++) G[l * n + j] = G[j * n + l];
  }
  return { G, g };
}

// An increase of the sum that counts as rounding, for steps above and below a hundredth of a standard
// error: terms of kernels cancel, and near the least sum steps are smaller than it can tell.
const ROUNDING = [1e-12, 1e-8];

// `last` is what the last call returned, if there was one: its damping and bounds are the first ones.
function minimise(model, domain, start, { last, most, ...problem }) {
  const { n } = domain;
  let now = linearised(model, domain, start, problem),
    damping = last ? last.damping : null,
    still = last ? last.still : new Set(),
    moved = 0,
    before = Infinity,
    stalled = 0,
    ended = false,
    iterations = 0;
  for (; iterations < most && !ended; iterations++) {
    const { G, g } = gauss(domain, now, problem.prior);
    let top = 0;
    for (let j = 0; j < n; j++) top = Math.max(top, G[j * n + j]);
    damping = damping === null ? 1e-4 * top : Math.max(damping, 1e-14 * top);
    let next = null;
    for (let attempt = 0; attempt < 30 && !next; attempt++) {
      const fixed = problem.held;
      const { step, still: bound } = boundedStep(domain, G, g, now.t, {
        fixed,
        before: still,
        damping,
      });
      const size = Math.sqrt(dot(step, multiply(G, n, n, step, 1, new Float64Array(n))));
      const t = now.t.map((v, i) => v + step[i]),
        found = linearised(model, domain, t, problem);
      if (found.value <= now.value * (1 + ROUNDING[size < 0.01 ? 1 : 0])) {
        [next, still] = [found, bound];
        moved = Math.max(moved, size);
        stalled = size < 0.01 && size > 0.5 * before ? stalled + 1 : 0;
        before = size;
        // A damped step may be small for no other reason.
        const free = damping * dot(step, step) <= 0.1 * size * size;
        ended = (size < STILL || stalled === 3) && free;
      } else damping *= 5;
    }
    if (!next) break;
    now = next;
    damping /= 20;
  }
  for (const j of problem.held) still.add(j);
  return { ...now, still, moved, ended, damping, iterations };
}

// Standard errors from the curvature along the free directions, chi-squared, degrees of freedom.
function summary(model, domain, now, { rows, prior, absolute }) {
  const { n, N, k } = domain,
    { G } = gauss(domain, now, prior);
  const free = freeBasis(N, k, n, now.still),
    m = free.length;
  const { values, vectors } = eigen(between(G, n, free), m),
    top = Math.max(...values, 0);
  const freedom = rows.length - (prior ? 0 : m);
  const noise = absolute || freedom <= 0 ? 1 : now.chi2 / freedom;
  const covariance = new Float64Array(n * n),
    loose = new Float64Array(n);
  const size = (l) => model.unit[l] * (model.logIn[l] ? now.y[l] : 1);
  for (let i = 0; i < m; i++) {
    const along = new Float64Array(n);
    for (let j = 0; j < m; j++)
      free[j].forEach((v, l) => {
        along[l] += vectors[i * m + j] * v;
      });
    const determined = values[i] > 1e-12 * top;
    for (let l = 0; l < n; l++) {
      if (!determined) loose[l] += along[l] ** 2;
      for (let j = 0; determined && j < n; j++) {
        covariance[l * n + j] += (noise * along[l] * size(l) * along[j] * size(j)) / values[i];
      }
    }
  }
  const error = loose.map((v, l) => (v > 1e-6 ? Infinity : Math.sqrt(covariance[l * n + l])));
  const { y, still, chi2 } = now;
  return { y, error, covariance, still, chi2, freedom, absolute, n: rows.length };
}
