/* fit.c - one picture: how the body would have to deviate to make it. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"
#include "../splat/body.h"
#include "gauss.h"

/* Steps a picture, and while it is not explained; longest step (rad or share). */
enum { STEPS = 2, MORE_STEPS = 7, ATTEMPTS = 3 };
#define LONGEST 0.15
/* Share of the misfit that a perfect fit may leave: a self-model is made for its pixels, and moved by parts of one its
 * edges are not as sharp. */
#define LEFT 0.06
/* Turn of a link from which a fit may begin. */
#define FAR_RAD 0.3
/* Turn of a camera that tells how far its picture moves. */
#define AIM_RAD 0.01
/* A step that made the picture worse is tried again at this length. */
#define SHORTER 0.3

static double within(double size, double most) {
  return fmin(fmax(size, -most), most);
}

int ek_misfit_of(ek_inspector *s, const float *q, const uint8_t *masks, const double *sizes, double *misfit) {
  double nll;
  int status = ek_body_deviate(s->body, sizes);
  if (!status)
    status = ek_body_run(s->body, q);
  if (!status)
    ek_body_measure(s->body, masks, &nll, misfit);
  return status;
}

/* The step of Gauss and Newton from sizes, towards the healthy body where the picture says nothing; only deviations of
 * `free`, or all where that is NULL, with priors so many times as wide. 0: there is none. */
static int step_from(ek_inspector *s, const ek_hypothesis *free, double freer) {
  int n = free ? free->n : s->n;
  double step[EK_MAX_DEVIATIONS];
  for (int i = 0; i < n; i++) {
    int at = free ? free->index[i] : i;
    double wide = freer * s->config.prior[at], pull = 1 / (wide * wide);
    for (int k = 0; k < n; k++)
      s->work[i * n + k] = s->a[at * s->n + (free ? free->index[k] : k)] + (i == k ? pull : 0);
    step[i] = s->b[at] - pull * (s->sizes[at] - s->healthy[at]);
  }
  if (!ek_factor(s->work, n))
    return 0;
  ek_solve(s->work, n, step);
  memcpy(s->trial, s->sizes, sizeof(double) * (size_t)s->n);
  for (int i = 0; i < n; i++) {
    int at = free ? free->index[i] : i;
    s->trial[at] = within(s->sizes[at] + within(step[i], LONGEST), EK_FARTHEST);
  }
  return 1;
}

/* Takes the step where it makes the picture better; 0: it stays. */
static int advance(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    double misfit;
    *status = ek_misfit_of(s, q, masks, s->trial, &misfit);
    if (*status)
      return 0;
    if (misfit < s->fitted) {
      memcpy(s->sizes, s->trial, sizeof(double) * (size_t)s->n);
      s->fitted = misfit;
      return 1;
    }
    for (int i = 0; i < s->n; i++)
      s->trial[i] = s->sizes[i] + SHORTER * (s->trial[i] - s->sizes[i]);
  }
  return 0;
}

/* Steps from sizes, of which the body is the last run. */
static int descend(ek_inspector *s, const float *q, const uint8_t *masks, const ek_hypothesis *free) {
  int n = s->n, status = EK_OK;
  for (int i = 0; i < MORE_STEPS && !status; i++) {
    if (i >= STEPS && ek_left_z(s, s->fitted) <= s->config.explained)
      break;
    if (i >= STEPS)
      s->freer = EK_FREER;
    status = ek_body_inform(s->body, masks, s->config.floor, s->a, s->b);
    if (status)
      break;
    int going = step_from(s, free, free ? EK_FREER : s->freer);
    for (int row = 0; row < n; row++) /* the score around the healthy body */
      for (int k = 0; k < n; k++)
        s->b[row] += s->a[row * n + k] * (s->sizes[k] - s->healthy[k]);
    if (!going || !advance(s, q, masks, &status))
      break;
  }
  return status;
}

static int begin_healthy(ek_inspector *s, const float *q, const uint8_t *masks) {
  memcpy(s->sizes, s->healthy, sizeof(double) * (size_t)s->n);
  return ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
}

/* A camera that was knocked may show the robot where none of its pixels was, and no pixel tells the way: the fit begins
 * where the middle of what is seen is that of what is drawn. */
static int aim(ek_inspector *s, const float *q, const uint8_t *masks, const ek_hypothesis *camera) {
  int view = s->config.deviations[camera->index[0]].of, status = EK_OK;
  double from[2], by[3][2], jj[3] = {0}, misfit; /* jj: of the derivative with its transpose, xx xy yy */
  if (!ek_body_shift(s->body, view, masks, from))
    return EK_OK;
  for (int i = 0; i < camera->n; i++) {
    double *size = &s->sizes[camera->index[i]], kept = *size;
    *size += AIM_RAD;
    status = ek_misfit_of(s, q, masks, s->sizes, &misfit);
    *size = kept;
    if (status || !ek_body_shift(s->body, view, masks, by[i]))
      return status ? status : begin_healthy(s, q, masks);
    for (int axis = 0; axis < 2; axis++)
      by[i][axis] = (from[axis] - by[i][axis]) / AIM_RAD; /* px a radian */
    jj[0] += by[i][0] * by[i][0], jj[1] += by[i][0] * by[i][1], jj[2] += by[i][1] * by[i][1];
  }
  double det = jj[0] * jj[2] - jj[1] * jj[1];
  if (det > 1e-6 * jj[0] * jj[2]) {
    double x = (jj[2] * from[0] - jj[1] * from[1]) / det, y = (jj[0] * from[1] - jj[1] * from[0]) / det;
    for (int i = 0; i < camera->n; i++)
      s->sizes[camera->index[i]] = within(s->sizes[camera->index[i]] + by[i][0] * x + by[i][1] * y, EK_FARTHEST);
  }
  return ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
}

/* One after the other, but second of all a camera: one that was knocked moves everything, and should not wait for every
 * link to be asked. */
static const ek_hypothesis *next_probe(ek_inspector *s) {
  const ek_hypothesis *all = s->config.hypotheses;
  s->asked = s->dirty ? s->asked + 1 : 1;
  for (int h = 0; s->asked == 2 && h < s->config.n_hypotheses; h++)
    if (all[h].kind == EK_CLASS_CAMERA)
      return &all[h];
  const ek_hypothesis *next = &all[s->probed];
  s->probed = (s->probed + 1) % s->config.n_hypotheses;
  return next;
}

/* A fit that has to go far ends beside the goal where the way leads past what looks worse: it begins where a turn of
 * FAR_RAD about one of the axes looks best. */
static int begin_far(ek_inspector *s, const float *q, const uint8_t *masks, const ek_hypothesis *free) {
  int status = EK_OK, best = -1;
  double least = s->fitted, size = 0, misfit;
  for (int i = 0; i < 2 * free->n && !status; i++) {
    double *one = &s->sizes[free->index[i / 2]], kept = *one;
    if (s->config.deviations[free->index[i / 2]].kind != EK_DEVIATION_TURN)
      continue;
    *one = kept + (i % 2 ? -FAR_RAD : FAR_RAD);
    status = ek_misfit_of(s, q, masks, s->sizes, &misfit);
    if (!status && misfit < least)
      least = misfit, best = free->index[i / 2], size = *one;
    *one = kept;
  }
  if (status)
    return status;
  if (best >= 0)
    s->sizes[best] = size;
  return ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
}

/* All deviations at once can end where a single one, further away, would explain the picture: another of them is tried
 * with every such picture, first with edges that are felt from far. */
static int probe(ek_inspector *s, const float *q, const uint8_t *masks) {
  double before = s->fitted, kept[EK_MAX_DEVIATIONS];
  memcpy(kept, s->sizes, sizeof(double) * (size_t)s->n);
  const ek_hypothesis *free = next_probe(s);
  int status = begin_healthy(s, q, masks);
  if (!status && free->kind == EK_CLASS_CAMERA)
    status = aim(s, q, masks, free);
  else if (!status)
    status = begin_far(s, q, masks, free);
  if (!status)
    status = ek_body_soften(s->body, s->wide_px);
  if (!status)
    status = descend(s, q, masks, free);
  ek_body_soften(s->body, s->config.edge_px);
  if (!status)
    status = descend(s, q, masks, free);
  if (status || s->fitted < before)
    return status;
  memcpy(s->sizes, kept, sizeof(double) * (size_t)s->n);
  status = ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
  return status ? status : descend(s, q, masks, NULL);
}

int ek_fit(ek_inspector *s, const float *q, const uint8_t *masks) {
  int status = ek_misfit_of(s, q, masks, s->healthy, &s->misfit);
  s->fitted = s->misfit;
  if (!status)
    s->missed = ek_body_missed(s->body, masks);
  if (!status && ek_misfit_z(s, s->misfit) <= s->config.explained)
    s->freer = 1; /* from a picture that is as it should be until one that needs more than usual */
  if (!status && memcmp(s->sizes, s->healthy, sizeof(double) * (size_t)s->n)) {
    status = ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
    if (!status && s->fitted >= s->misfit) /* what the last pictures had does not explain this one */
      status = begin_healthy(s, q, masks);
  }
  if (!status)
    status = descend(s, q, masks, NULL);
  if (!status && ek_left_z(s, s->fitted) > s->config.explained)
    status = probe(s, q, masks);
  return status;
}

/* What the leading sums say of one hypothesis, on top of the healthy body. */
static void set_alone(ek_inspector *s, int hypothesis) {
  const ek_hypothesis *free = &s->config.hypotheses[hypothesis];
  double size[3], spread[3];
  memcpy(s->sizes, s->healthy, sizeof(double) * (size_t)s->n);
  ek_estimate(s, hypothesis, size, spread);
  for (int i = 0; i < free->n; i++)
    s->sizes[free->index[i]] = within(s->sizes[free->index[i]] + size[i], EK_FARTHEST);
}

int ek_fit_alone(ek_inspector *s, const float *q, const uint8_t *masks, int hypothesis, double *misfit) {
  if (hypothesis == EK_LAG(&s->config))
    return ek_fit_late(s, q, masks, misfit);
  double kept[EK_MAX_DEVIATIONS], fitted = s->fitted;
  memcpy(kept, s->sizes, sizeof(double) * (size_t)s->n);
  set_alone(s, hypothesis);
  int status = ek_misfit_of(s, q, masks, s->sizes, &s->fitted);
  if (!status)
    status = descend(s, q, masks, &s->config.hypotheses[hypothesis]);
  *misfit = s->fitted, s->fitted = fitted;
  memcpy(s->sizes, kept, sizeof(double) * (size_t)s->n);
  return status;
}

int ek_misfit_without(ek_inspector *s, const float *q, const uint8_t *masks, int link, double *misfit, double *missed) {
  int status = ek_body_hide(s->body, link);
  if (!status)
    status = ek_misfit_of(s, q, masks, s->healthy, misfit);
  if (!status)
    *missed = ek_body_missed(s->body, masks);
  ek_body_hide(s->body, -1);
  return status;
}

int ek_region(const ek_inspector *s, const float *q) {
  const ek_inspector_config *c = &s->config;
  int best = 0;
  double nearest = INFINITY;
  for (int r = 0; r < c->n_regions; r++) {
    double distance = 0;
    for (int j = 0; j < c->n_joints; j++) {
      double d = (double)q[j] - (double)c->centroids[r * c->n_joints + j];
      distance += d * d;
    }
    if (distance < nearest)
      nearest = distance, best = r;
  }
  return best;
}

double ek_left_z(const ek_inspector *s, double misfit) {
  double beyond = s->misfit - s->usual;
  return ek_misfit_z(s, misfit - LEFT * fmax(beyond, 0));
}

double ek_misfit_z(const ek_inspector *s, double misfit) {
  return (misfit - s->usual) / s->spread;
}

double ek_shown(const ek_inspector *s, double missed) {
  return missed - s->usual / 2;
}
