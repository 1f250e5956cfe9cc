/* evidence.c - from pictures to Bayes factors.
 *
 * A picture says about the deviations d: information A and score b = A d_hat (fit.c). A self-model's own error is a
 * deviation, too: d_hat scatters about their healthy mean with a covariance a A^-1 + C, C diagonal. So what it really
 * says is (a A^-1 + C)^-1 = S^-1 (1 - a (a + S A S)^-1) S^-1 with S = C^(1/2): evidence.c calls that white.
 *
 * The error is the same for pictures of one pose, whatever their number: their mean is one measurement, and a, C have a
 * part that many pictures do not lower. Other poses have other errors: those measurements are independent, and add.
 * What no deviation explains is no measurement of any: it says what leads now, and is forgotten with its pose. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "gauss.h"

static const int WINDOWS[EK_LEVELS] = {1, 4, 16, 64};
/* Pictures of a mean at least: of two one that is far off is half. */
enum { SEVERAL = 3 };
/* Standard deviations of the misfit by which deviations improve a picture more, or less, than those before it where a
 * change came, or went. */
#define AT_ONCE 30.0

static int count(const ek_inspector *s) {
  return s->config.n_hypotheses + 1;
}

static void forget_pose(ek_inspector *s) {
  for (int l = 0; l < EK_LEVELS; l++)
    s->levels[l].n = 0, s->levels[l].window = WINDOWS[l];
  memset(s->current, 0, sizeof *s->current * (size_t)(EK_LEVELS * count(s)));
  for (int i = 0; i < EK_LEVELS * count(s); i++)
    s->evidence[i] = -EK_NONE;
  s->in_cell = s->suspect = 0;
}

void ek_evidence_reset(ek_inspector *s) {
  int joints = s->config.n_joints;
  forget_pose(s);
  s->n_cells = s->next_cell = s->round = 0;
  memset(s->cells, 0, sizeof *s->cells * (size_t)(EK_CELLS * count(s)));
  memset(s->best, 0, sizeof *s->best * (size_t)count(s));
  memset(s->leading, 0, sizeof *s->leading * (size_t)count(s));
  memset(s->alone, 0, sizeof *s->alone * (size_t)count(s));
  for (int h = 0; h < count(s); h++)
    s->made[h] = 1;
  memset(s->drift_a, 0, sizeof *s->drift_a * (size_t)(joints * joints));
  memset(s->drift_b, 0, sizeof *s->drift_b * (size_t)joints);
}

/* Makes white what a level says: work has the inverse of a + S A S, trial S^-1 of it S b. */
static int whiten(ek_inspector *s, const ek_mean *m, double *noise) {
  const ek_inspector_config *c = &s->config;
  int n = s->n;
  double *scale = s->scale, *score = s->trial;
  *noise = s->worse * (c->noise_bias + c->noise_frame / m->n);
  for (int i = 0; i < n; i++)
    scale[i] =
        (double)c->scale[s->region] * sqrt(s->worse * (c->bias[i] * c->bias[i] + c->frame[i] * c->frame[i] / m->n));
  for (int i = 0; i < n; i++)
    for (int k = 0; k <= i; k++)
      s->work[i * n + k] = m->a[i * n + k] * scale[i] * scale[k] + (i == k ? *noise : 0);
  if (!ek_factor(s->work, n))
    return 0;
  for (int i = 0; i < n; i++)
    score[i] = m->b[i] * scale[i];
  ek_solve(s->work, n, score);
  for (int i = 0; i < n; i++)
    score[i] /= scale[i];
  ek_invert(s->work, n, s->inverse);
  return 1;
}

static double white(const ek_inspector *s, double noise, int i, int k) {
  return ((i == k) - noise * s->inverse[i * s->n + k]) / (s->scale[i] * s->scale[k]);
}

/* A block with the pull of a prior that is `width` times as wide as that of the settings, factored: l (3, 3), the
 * solution of it for b, and how much narrower it is than that prior. Returns how many are free. */
static int solve_block(const ek_inspector *s, int h, const ek_block *block, double width, double l[9], double x[3],
                       double *narrower) {
  const ek_inspector_config *c = &s->config;
  int lag = h == EK_LAG(c), n = lag ? 1 : c->hypotheses[h].n;
  double prior[3];
  for (int i = 0, at = 0; i < n; i++) {
    prior[i] = width * (lag ? c->lag_prior : c->prior[c->hypotheses[h].index[i]]);
    for (int k = 0; k <= i; k++)
      l[i * n + k] = block->a[at++];
    l[i * n + i] += 1 / (prior[i] * prior[i]);
    x[i] = block->b[i];
  }
  if (!ek_factor(l, n))
    return 0;
  ek_solve(l, n, x);
  *narrower = 1;
  for (int i = 0; i < n; i++)
    *narrower *= l[i * n + i] * prior[i];
  if (lag)
    x[0] = fmin(fmax(x[0], 0), EK_LATEST * c->lag_prior); /* early they are not */
  return n;
}

/* The likelihood ratio at the solution, nats. */
static double ratio_at(const ek_block *block, int n, const double l[9], const double x[3]) {
  double ratio = 0;
  for (int i = 0; i < n; i++) {
    double along = 0;
    for (int k = i; k < n; k++)
      along += l[k * n + i] * x[k];
    ratio += block->b[i] * x[i] - 0.5 * along * along;
  }
  return ratio;
}

/* The logarithm of a hypothesis' Bayes factor against the healthy body, nats: the likelihood ratio at the solution,
 * less by how much what is known is narrower than the prior. A picture that would have shown a deviation and does not
 * counts against it. */
static double bayes_factor(const ek_inspector *s, int h, const ek_block *block) {
  double l[9], x[3], narrower;
  int n = solve_block(s, h, block, 1, l, x, &narrower);
  return n ? ratio_at(block, n, l, x) - log(narrower) : 0;
}

/* What deviations improved the pictures by is what they are worth: information that says more, as that about large
 * changes does, is as much weaker. */
static void temper(const ek_inspector *s, int h, double improved, ek_block *block) {
  double l[9], x[3], narrower, most = 1 + improved;
  int n = solve_block(s, h, block, 1, l, x, &narrower);
  double ratio = ratio_at(block, n, l, x);
  if (ratio <= most)
    return;
  for (int i = 0; i < 6; i++)
    block->a[i] *= most / ratio;
  for (int i = 0; i < 3; i++)
    block->b[i] *= most / ratio;
}

/* Pictures that are late by one frame: every joint deviates by what it moved. One number, along the velocity. */
static void lag_block(const ek_inspector *s, const ek_mean *m, double noise, ek_block *out) {
  const ek_inspector_config *c = &s->config;
  for (int j = 0; j < c->n_joints; j++) {
    int i = c->own_axis[j];
    if (i < 0)
      continue;
    out->b[0] -= m->velocity[j] * s->trial[i];
    for (int l = 0; l < c->n_joints; l++)
      if (c->own_axis[l] >= 0)
        out->a[0] += m->velocity[j] * m->velocity[l] * white(s, noise, i, c->own_axis[l]);
  }
}

static void fill_blocks(ek_inspector *s, const ek_mean *m, double noise, ek_block *out) {
  const ek_inspector_config *c = &s->config;
  double improved = m->gain / (c->floor * noise);
  memset(out, 0, sizeof *out * (size_t)count(s));
  for (int h = 0; h < c->n_hypotheses; h++) {
    const ek_hypothesis *about = &c->hypotheses[h];
    for (int i = 0, at = 0; i < about->n; i++) {
      out[h].b[i] = s->trial[about->index[i]];
      for (int k = 0; k <= i; k++)
        out[h].a[at++] = white(s, noise, about->index[i], about->index[k]);
    }
  }
  lag_block(s, m, noise, &out[EK_LAG(c)]);
  for (int h = 0; h < count(s); h++)
    temper(s, h, improved, &out[h]);
}

static void add_block(ek_block *sum, const ek_block *more) {
  for (int i = 0; i < 6; i++)
    sum->a[i] += more->a[i];
  for (int i = 0; i < 3; i++)
    sum->b[i] += more->b[i];
}

/* The best of the present pose with any number of the poses before it. */
static void weigh(ek_inspector *s, int level) {
  int hypotheses = count(s);
  for (int h = 0; h < hypotheses; h++) {
    const ek_block *now = &s->current[level * hypotheses + h];
    double best = bayes_factor(s, h, now), handicap = s->config.handicap[level];
    ek_block best_sum = *now;
    for (int i = 0; i < s->n_cells; i++) {
      ek_block sum = s->cells[i * hypotheses + h];
      add_block(&sum, now);
      double found = bayes_factor(s, h, &sum);
      if (found > best)
        best = found, best_sum = sum;
    }
    best -= handicap;
    s->evidence[level * hypotheses + h] = best;
    int first = 1;
    for (int l = 0; l < EK_LEVELS; l++)
      first &= l == level || s->evidence[l * hypotheses + h] < best;
    if (first)
      s->best[h] = best_sum;
  }
}

static void evaluate(ek_inspector *s, int level) {
  double noise;
  if (!whiten(s, &s->levels[level], &noise))
    return;
  fill_blocks(s, &s->levels[level], noise, s->current + level * count(s));
  weigh(s, level);
}

/* Every joint's own offset, all of them together, over the poses: older ones fade. */
static void add_drift(ek_inspector *s, double noise) {
  const ek_inspector_config *c = &s->config;
  const double keep = 1 - 1.0 / EK_CELLS;
  for (int j = 0; j < c->n_joints; j++) {
    int i = c->own_axis[j];
    s->drift_b[j] = keep * s->drift_b[j] + (i < 0 ? 0 : s->trial[i]);
    for (int l = 0; l < c->n_joints; l++) {
      int k = c->own_axis[l];
      double *a = &s->drift_a[j * c->n_joints + l];
      *a = keep * *a + (i < 0 || k < 0 ? 0 : white(s, noise, i, k));
    }
  }
}

static void report_drift(ek_inspector *s) {
  const ek_inspector_config *c = &s->config;
  int n = c->n_joints;
  double a[EK_MAX_JOINTS * EK_MAX_JOINTS], inverse[EK_MAX_JOINTS * EK_MAX_JOINTS], x[EK_MAX_JOINTS];
  memcpy(a, s->drift_a, sizeof(double) * (size_t)(n * n));
  memcpy(x, s->drift_b, sizeof(double) * (size_t)n);
  for (int j = 0; j < n; j++) {
    double prior = c->own_axis[j] < 0 ? 1 : c->prior[c->own_axis[j]];
    a[j * n + j] += 1 / (prior * prior);
  }
  if (!ek_factor(a, n))
    return;
  ek_solve(a, n, x);
  ek_invert(a, n, inverse);
  for (int j = 0; j < n; j++) {
    s->finding.drift_rad[j] = -x[j]; /* the encoder reads too much where the link stands back */
    s->finding.drift_spread_rad[j] = sqrt(inverse[j * n + j]);
  }
}

/* The pose is left: its mean joins the others. */
static void close_cell(ek_inspector *s) {
  int hypotheses = count(s);
  const ek_mean *all = &s->levels[EK_LEVELS - 1];
  double noise;
  if (all->n && !s->suspect && whiten(s, all, &noise)) {
    ek_block *now = s->current; /* is forgotten in any case */
    fill_blocks(s, all, noise, now);
    add_drift(s, noise);
    report_drift(s);
    for (int i = 0; i < s->n_cells; i++)
      for (int h = 0; h < hypotheses; h++)
        add_block(&s->cells[i * hypotheses + h], &now[h]);
    memcpy(s->cells + s->next_cell * hypotheses, now, sizeof *now * (size_t)hypotheses);
    s->next_cell = (s->next_cell + 1) % EK_CELLS;
    s->n_cells += s->n_cells < EK_CELLS;
  }
  forget_pose(s);
}

static void add_picture(ek_inspector *s, ek_mean *m) {
  int n = s->n;
  m->n += m->n < m->window;
  double share = 1.0 / m->n;
  for (int i = 0; i < n * n; i++)
    m->a[i] += (s->a[i] - m->a[i]) * (m->n == 1 ? 1 : share);
  for (int i = 0; i < n; i++)
    m->b[i] += (s->b[i] - m->b[i]) * share;
  m->gain += (s->misfit - s->fitted - m->gain) * share;
  for (int j = 0; j < s->config.n_joints; j++)
    m->velocity[j] += (s->velocity[j] - m->velocity[j]) * share;
}

/* What has changed at once and far is no mean of before and after. */
static int changed(const ek_inspector *s) {
  const ek_mean *all = &s->levels[EK_LEVELS - 1];
  double now = s->misfit - s->fitted, far = AT_ONCE * s->spread;
  return all->n && (now > 2 * all->gain + far || all->gain > 2 * now + far);
}

void ek_evidence_add(ek_inspector *s, const float *q, int explained) {
  int n = s->n, hypotheses = count(s);
  double far = 0;
  for (int j = 0; j < s->config.n_joints; j++) {
    double moved = fabs((double)q[j] - (double)s->anchor[j]);
    far = moved > far ? moved : far;
  }
  if (s->in_cell && far > s->config.cell_rad)
    close_cell(s);
  if ((explained && s->suspect) || changed(s))
    forget_pose(s);
  s->suspect |= !explained;
  if (!s->in_cell)
    memcpy(s->anchor, q, sizeof *q * (size_t)s->config.n_joints);
  s->in_cell++;
  for (int i = 0; i < n; i++) /* around what healthy pictures seem to have */
    for (int k = 0; k < n; k++)
      s->b[i] -= s->a[i * n + k] * s->config.mean[k];
  for (int l = 0; l < EK_LEVELS; l++) {
    ek_mean *m = &s->levels[l];
    if (!m->n) {
      memset(m->a, 0, sizeof(double) * (size_t)(n * n)), memset(m->b, 0, sizeof(double) * (size_t)n);
      memset(m->velocity, 0, sizeof m->velocity), m->gain = 0;
    }
    add_picture(s, m);
  }
  evaluate(s, 0);
  s->round = s->round % (EK_LEVELS - 1) + 1; /* of the longer means one in every frame: they change slowly */
  if (s->levels[s->round].n >= SEVERAL && s->levels[s->round].n > WINDOWS[s->round - 1])
    evaluate(s, s->round);
  for (int h = 0; h < hypotheses; h++) {
    s->leading[h] = s->evidence[h];
    for (int l = 1; l < EK_LEVELS; l++)
      s->leading[h] = fmax(s->leading[h], s->evidence[l * hypotheses + h]);
  }
}

void ek_estimate(const ek_inspector *s, int h, double size[3], double spread[3]) {
  double l[9], x[3] = {0}, inverse[9], narrower;
  int n = solve_block(s, h, &s->best[h], EK_FREER, l, x, &narrower);
  if (n)
    ek_invert(l, n, inverse);
  for (int i = 0; i < 3; i++) {
    size[i] = i < n ? x[i] : 0;
    spread[i] = i < n ? sqrt(inverse[i * n + i]) : 0;
  }
}
