/*
 * Bayesian inversion with a surrogate in C: random-walk Metropolis for the weights of CDR.
 *
 *     surrogates export cdr.pt --format c --out cdr.c
 *     cc -std=c99 -O2 -I. scripts/examples/metropolis.c cdr.c -lm -o metropolis
 *     ./metropolis [SEED [NOISE [STEPS]]]
 *
 * Prior. As for the training data: y = x / sum(x), the x_i independent and uniform in (0, 1). (On
 * the simplex its density is max(y)^-n up to a factor, which is not uniform.) The chain walks in x,
 * where the prior is constant in the cube and zero outside, and needs no density on the simplex.
 *
 * Data. d_j = c_j(y) + N(0, noise^2 + std_j(y)^2), independent, at a y drawn from the prior; std is
 * the surrogate's error, from its file, and noise the share NOISE (0.01) of the root mean square of c
 * at equal weights. The likelihood is this density, with its normalisation, as std depends on y.
 *
 * Chains. Four of STEPS (500 000) steps, each from its own draw of the prior; the first quarter is
 * left out. A step moves a random block of m = 1 to 24 of the x_i by a normal step, with 4 / m times
 * the block's covariance for fixed others. The covariance comes from the posterior linearised at equal
 * weights, by the surrogate's Jacobian. (2.38^2 / m is best without walls: Roberts, Gelman and Gilks
 * 1997, "Weak convergence and optimal scaling of random walk Metropolis algorithms".) A step out of
 * the cube is refused. Blocks and covariances do not depend on x, so that a step and its reverse are
 * equally likely.
 *
 * Checks. Split R-hat (Gelman et al. 2013, "Bayesian Data Analysis", section 11.4) over the halves of
 * all chains, and the effective sample size (ESS) from the autocorrelations, summed by pairs while
 * these are positive and do not rise (Geyer 1992, "Practical Markov chain Monte Carlo"). The exit
 * status is 1 if an R-hat is above 1.05.
 */
#include "cdr.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    N_IN = cdr_N_IN,
    N_OUT = cdr_N_OUT,
    QUANTITIES = N_OUT + N_IN, /* c, then y */
    BLOCK = N_IN < 24 ? N_IN : 24,
    CHAINS = 4,
    KEPT = 2000, /* states of each chain */
    DRAWS = CHAINS * KEPT,
    HALVES = 2 * CHAINS,
    LENGTH = KEPT / 2, /* of a half */
    SHOWN = 6
};

typedef struct {
    double d[N_OUT];
    double noise;
} Data;

typedef struct {
    double x[N_IN];
    double quantities[QUANTITIES];
    double log_likelihood;
} State;

typedef struct {
    double mean, std, r_hat, ess;
} Summary;

/* xoshiro256** (Blackman and Vigna 2021, "Scrambled linear pseudorandom number generators"). */
typedef struct {
    uint64_t s[4];
} Random;

static uint64_t rotated(uint64_t bits, int k) { return (bits << k) | (bits >> (64 - k)); }

static uint64_t next(Random *random)
{
    uint64_t *s = random->s;
    const uint64_t result = rotated(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 45);
    return result;
}

/* Makes the first state by splitmix64, as the generator's authors advise. */
static Random seeded(uint64_t seed)
{
    Random random;
    for (int i = 0; i < 4; ++i) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        random.s[i] = z ^ (z >> 31);
    }
    return random;
}

/* Uniform in (0, 1), never 0 nor 1. */
static double uniform(Random *random)
{
    return ((double)(next(random) >> 12) + 0.5) * 0x1p-52;
}

/* Standard normal, by Marsaglia's polar method; the second of each pair is dropped. */
static double normal(Random *random)
{
    double a, b, r;
    do {
        a = 2.0 * uniform(random) - 1.0;
        b = 2.0 * uniform(random) - 1.0;
        r = a * a + b * b;
    } while (r >= 1.0);
    return a * sqrt(-2.0 * log(r) / r);
}

/* Computes c and y at x. */
static void evaluate(State *state)
{
    double *c = state->quantities, *y = c + N_OUT, sum = 0.0;
    for (int i = 0; i < N_IN; ++i)
        sum += state->x[i];
    for (int i = 0; i < N_IN; ++i)
        y[i] = state->x[i] / sum;
    cdr_forward(y, c);
}

static void draw_prior(Random *random, State *state)
{
    for (int i = 0; i < N_IN; ++i)
        state->x[i] = uniform(random);
    evaluate(state);
}

/* Computes the logarithm of the likelihood of x, up to a constant, besides c and y. */
static void score(State *state, const Data *data)
{
    double std[N_OUT], misfit = 0.0, spread = 1.0;
    evaluate(state);
    cdr_predict_std(state->quantities + N_OUT, std);
    for (int j = 0; j < N_OUT; ++j) {
        const double z = (data->d[j] - state->quantities[j]) / data->noise;
        const double s = std[j] / data->noise;
        misfit += z * z / (1.0 + s * s);
        spread *= 1.0 + s * s;
    }
    state->log_likelihood = -0.5 * (misfit + log(spread));
}

/* Computes the posterior's precision P, by rows, in its linearisation at equal weights. */
static void linearise(double noise, double *P)
{
    static double J[N_OUT * N_IN];
    double y[N_IN], std[N_OUT];
    for (int i = 0; i < N_IN; ++i)
        y[i] = 1.0 / N_IN;
    cdr_jacobian(y, J);
    cdr_predict_std(y, std);
    for (int j = 0; j < N_OUT; ++j) { /* dc/dx over the standard deviation, where sum(x) = n / 2 */
        const double scale = 2.0 / N_IN / sqrt(noise * noise + std[j] * std[j]);
        double *row = J + j * N_IN, mean = 0.0;
        for (int i = 0; i < N_IN; ++i)
            mean += row[i] / N_IN;
        for (int i = 0; i < N_IN; ++i)
            row[i] = (row[i] - mean) * scale;
    }
    for (int i = 0; i < N_IN; ++i)
        for (int k = 0; k < N_IN; ++k) {
            double sum = i == k ? 12.0 : 0.0; /* 1 / 12 is the variance of the prior */
            for (int j = 0; j < N_OUT; ++j)
                sum += J[j * N_IN + i] * J[j * N_IN + k];
            P[i * N_IN + k] = sum;
        }
}

/* Moves a random block of x; returns whether x is still in the cube. */
static int propose(Random *random, const double *P, double *x)
{
    int order[N_IN], inside = 1;
    double L[BLOCK * BLOCK], step[BLOCK];
    const int m = 1 + (int)(uniform(random) * BLOCK);
    for (int i = 0; i < N_IN; ++i)
        order[i] = i;
    for (int i = 0; i < m; ++i) {
        const int other = i + (int)(uniform(random) * (N_IN - i)), index = order[other];
        order[other] = order[i];
        order[i] = index;
        step[i] = 2.0 / sqrt((double)m) * normal(random);
    }
    for (int i = 0; i < m; ++i) /* Cholesky: L L^T is the block of P */
        for (int k = 0; k <= i; ++k) {
            double sum = P[order[i] * N_IN + order[k]];
            for (int l = 0; l < k; ++l)
                sum -= L[i * BLOCK + l] * L[k * BLOCK + l];
            L[i * BLOCK + k] = i == k ? sqrt(sum) : sum / L[k * BLOCK + k];
        }
    for (int i = m - 1; i >= 0; --i) { /* L^T times the new step is the old */
        step[i] /= L[i * BLOCK + i];
        for (int k = 0; k < i; ++k)
            step[k] -= L[i * BLOCK + k] * step[i];
        x[order[i]] += step[i];
        inside = inside && x[order[i]] > 0.0 && x[order[i]] < 1.0;
    }
    return inside;
}

/* Runs a chain and keeps KEPT of its states, evenly spaced; returns the share of accepted steps. */
static double run(Random *random, const Data *data, const double *P, long steps, double *kept)
{
    const long spacing = steps / 4 * 3 / KEPT, first = steps - spacing * KEPT;
    long accepted = 0;
    State now, then;
    draw_prior(random, &now);
    score(&now, data);
    for (long step = 0; step < steps; ++step) {
        then = now;
        if (propose(random, P, then.x)) {
            score(&then, data);
            if (log(uniform(random)) < then.log_likelihood - now.log_likelihood) {
                now = then;
                accepted += step >= first;
            }
        }
        if (step >= first && (step - first) % spacing == spacing - 1) {
            for (int q = 0; q < QUANTITIES; ++q)
                kept[(long)q * DRAWS] = now.quantities[q];
            ++kept;
        }
    }
    return (double)accepted / (double)(steps - first);
}

/* Summarises the draws of one quantity, those of all chains one after the other. */
static Summary summarise(const double *draws)
{
    double gaps[DRAWS], mean = 0.0, within = 0.0, between = 0.0;
    for (long i = 0; i < DRAWS; ++i)
        mean += draws[i] / DRAWS;
    for (int h = 0; h < HALVES; ++h) {
        double *gap = gaps + h * LENGTH, centre = 0.0;
        for (int i = 0; i < LENGTH; ++i)
            centre += draws[h * LENGTH + i] / LENGTH;
        for (int i = 0; i < LENGTH; ++i) {
            gap[i] = draws[h * LENGTH + i] - centre;
            within += gap[i] * gap[i] / ((LENGTH - 1.0) * HALVES);
        }
        between += (centre - mean) * (centre - mean) / (HALVES - 1.0);
    }
    const double variance = within * (LENGTH - 1.0) / LENGTH + between;

    double time = -1.0, last = 2.0; /* the autocorrelations' sum over lags of both signs */
    for (int lag = 0; lag + 1 < LENGTH; lag += 2) {
        double pair = 0.0;
        for (int t = lag; t < lag + 2; ++t) {
            double covariance = 0.0;
            for (int h = 0; h < HALVES; ++h)
                for (int i = h * LENGTH; i + t < (h + 1) * LENGTH; ++i)
                    covariance += gaps[i] * gaps[i + t] / DRAWS;
            pair += t == 0 ? 1.0 : 1.0 - (within - covariance) / variance;
        }
        if (!(pair > 0.0))
            break;
        last = fmin(pair, last);
        time += 2.0 * last;
    }
    const Summary summary = {mean, sqrt(variance), sqrt(variance / within), DRAWS / time};
    return summary;
}

/* Counts the quantities whose true value is within two standard deviations of their mean. */
static int covered(const Summary *summaries, const double *truth, int n)
{
    int count = 0;
    for (int q = 0; q < n; ++q)
        count += fabs(summaries[q].mean - truth[q]) <= 2.0 * summaries[q].std;
    return count;
}

/* The standard deviation of a weight in the prior, the same for all. */
static double prior_std(Random *random)
{
    State state;
    double squares = 0.0;
    for (int draw = 0; draw < DRAWS; ++draw) {
        draw_prior(random, &state);
        for (int i = 0; i < N_IN; ++i) {
            const double gap = state.quantities[N_OUT + i] - 1.0 / N_IN;
            squares += gap * gap / ((double)DRAWS * N_IN);
        }
    }
    return sqrt(squares);
}

static void show(char name, int index, double truth, const double *datum, const Summary *s)
{
    char label[16], column[16] = "";
    snprintf(label, sizeof label, "%c[%d]", name, index);
    if (datum != NULL)
        snprintf(column, sizeof column, "%.6g", *datum);
    printf("%-6s %11.6g %11s %11.6g %11.4g %7.0f %7.4f\n", label, truth, column, s->mean, s->std,
        s->ess, s->r_hat);
}

int main(int argc, char **argv)
{
    char *end[3] = {"", "", ""};
    const unsigned long long seed = argc > 1 ? strtoull(argv[1], &end[0], 10) : 1;
    const double share = argc > 2 ? strtod(argv[2], &end[1]) : 0.01;
    const long steps = argc > 3 ? strtol(argv[3], &end[2], 10) : 500000;
    if (argc > 4 || *end[0] || *end[1] || *end[2] || !(share > 0.0) || steps < 2 * KEPT) {
        fprintf(stderr, "error: expected [SEED [NOISE > 0 [STEPS >= %d]]]\n", 2 * KEPT);
        return 2;
    }
    double *draws = malloc(sizeof(double) * QUANTITIES * DRAWS);
    double *P = malloc(sizeof(double) * N_IN * N_IN);
    if (draws == NULL || P == NULL) {
        fprintf(stderr, "error: not enough memory\n");
        return 1;
    }

    Random random = seeded(seed);
    State state;
    Data data;
    double std[N_OUT], squares = 0.0;
    for (int i = 0; i < N_IN; ++i)
        state.x[i] = 0.5;
    evaluate(&state);
    for (int j = 0; j < N_OUT; ++j)
        squares += state.quantities[j] * state.quantities[j];
    data.noise = share * sqrt(squares / N_OUT);
    draw_prior(&random, &state);
    const double *truth = state.quantities;
    cdr_predict_std(truth + N_OUT, std);
    for (int j = 0; j < N_OUT; ++j)
        data.d[j] = truth[j] + sqrt(data.noise * data.noise + std[j] * std[j]) * normal(&random);

    linearise(data.noise, P);
    double accepted = 0.0;
    const clock_t start = clock();
    for (int chain = 0; chain < CHAINS; ++chain)
        accepted += run(&random, &data, P, steps, draws + chain * KEPT) / CHAINS;
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("noise %.6g, %d chains of %ld steps: %.1f %% accepted, %.0f steps/s\n", data.noise,
        (int)CHAINS, steps, 100.0 * accepted, CHAINS * (double)steps / seconds);

    Summary summaries[QUANTITIES];
    double largest = 0.0, least = INFINITY;
    for (int q = 0; q < QUANTITIES; ++q) {
        summaries[q] = summarise(draws + (long)q * DRAWS);
        largest = fmax(largest, summaries[q].r_hat);
        least = fmin(least, summaries[q].ess);
    }
    printf("%-6s %11s %11s %11s %11s %7s %7s\n", "", "truth", "data", "mean", "std", "ESS", "R-hat");
    for (int s = 0; s < SHOWN && s < N_OUT; ++s) { /* evenly spaced */
        const int j = N_OUT < SHOWN ? s : s * N_OUT / SHOWN;
        show('c', j, truth[j], &data.d[j], &summaries[j]);
    }
    int taken[QUANTITIES] = {0};
    for (int s = 0; s < SHOWN && s < N_IN; ++s) { /* the best determined */
        int best = -1;
        for (int q = N_OUT; q < QUANTITIES; ++q)
            if (!taken[q] && (best < 0 || summaries[q].std < summaries[best].std))
                best = q;
        taken[best] = 1;
        show('y', best - N_OUT, truth[best], NULL, &summaries[best]);
    }
    printf("in the prior each y has mean %.4g and std %.4g\n", 1.0 / N_IN, prior_std(&random));
    printf("true value within two standard deviations: %d of %d c, %d of %d y\n",
        covered(summaries, truth, N_OUT), (int)N_OUT,
        covered(summaries + N_OUT, truth + N_OUT, N_IN), (int)N_IN);
    int inside = 0;
    for (int draw = 0; draw < DRAWS; ++draw) {
        double y[N_IN];
        for (int i = 0; i < N_IN; ++i)
            y[i] = draws[(long)(N_OUT + i) * DRAWS + draw];
        inside += cdr_in_domain(y);
    }
    printf("%.0f %% of the draws lie in the surrogate's domain\n", 100.0 * inside / DRAWS);
    printf("all c and y: R-hat at most %.4f, ESS at least %.0f\n", largest, least);
    free(draws);
    free(P);
    if (!(largest <= 1.05)) {
        printf("not converged: take more steps\n");
        return 1;
    }
    return 0;
}
