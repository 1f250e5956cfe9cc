/* fit.c - one picture: how the body would have to deviate to make it. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"
#include "../splat/body.h"
#include "gauss.h"

/* Steps a picture, and while it is not explained; longest step (rad or share); farthest that a fit goes. */
enum { STEPS = 2, MORE_STEPS = 8 };
#define LONGEST 0.15
#define FARTHEST 0.8
/* A step that made the picture worse is tried once more at this length. */
#define SHORTER 0.3

static int misfit_of(ek_inspector *s, const float *q, const uint8_t *masks, const double *sizes, double *misfit) {
  double nll;
  int status = ek_body_deviate(s->body, sizes);
  if (!status)
    status = ek_body_run(s->body, q);
  if (!status)
    ek_body_measure(s->body, masks, &nll, misfit);
  return status;
}

/* The step of Gauss and Newton from sizes, towards the healthy body where the picture says nothing. */
static int step_from(ek_inspector *s, const double *sizes, double *out) {
  int n = s->n;
  for (int i = 0; i < n; i++) {
    double pull = 1 / (s->config.prior[i] * s->config.prior[i]);
    memcpy(s->work + i * n, s->a + i * n, sizeof(double) * (size_t)n);
    s->work[i * n + i] += pull;
    out[i] = s->b[i] - pull * (sizes[i] - s->healthy[i]);
  }
  if (!ek_factor(s->work, n))
    return 0;
  ek_solve(s->work, n, out);
  for (int i = 0; i < n; i++) {
    double step = fmin(fmax(out[i], -LONGEST), LONGEST);
    out[i] = fmin(fmax(sizes[i] + step, -FARTHEST), FARTHEST);
  }
  return 1;
}

/* Takes the step where it makes the picture better; 0: it stays. */
static int advance(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  for (int attempt = 0; attempt < 2; attempt++) {
    double misfit;
    *status = misfit_of(s, q, masks, s->trial, &misfit);
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

int ek_fit(ek_inspector *s, const float *q, const uint8_t *masks) {
  int n = s->n, status = misfit_of(s, q, masks, s->healthy, &s->misfit);
  s->fitted = s->misfit;
  if (!status && memcmp(s->sizes, s->healthy, sizeof(double) * (size_t)n)) {
    status = misfit_of(s, q, masks, s->sizes, &s->fitted);
    if (!status && s->fitted >= s->misfit) { /* what the last pictures had does not explain this one: begin anew */
      memcpy(s->sizes, s->healthy, sizeof(double) * (size_t)n);
      status = misfit_of(s, q, masks, s->sizes, &s->fitted);
    }
  }
  for (int i = 0; i < MORE_STEPS && !status; i++) {
    if (i >= STEPS && ek_misfit_z(s, q, s->fitted) <= s->config.explained)
      break;
    status = ek_body_inform(s->body, masks, s->config.floor, s->a, s->b);
    if (status)
      break;
    int going = step_from(s, s->sizes, s->trial);
    for (int row = 0; row < n; row++) /* the score around the healthy body */
      for (int k = 0; k < n; k++)
        s->b[row] += s->a[row * n + k] * (s->sizes[k] - s->healthy[k]);
    if (!going || !advance(s, q, masks, &status))
      break;
  }
  return status;
}

int ek_misfit_without(ek_inspector *s, const float *q, const uint8_t *masks, int link, double *misfit) {
  int status = ek_body_hide(s->body, link);
  if (!status)
    status = misfit_of(s, q, masks, s->healthy, misfit);
  ek_body_hide(s->body, -1);
  return status;
}

double ek_misfit_z(const ek_inspector *s, const float *q, double misfit) {
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
  return (misfit - (double)c->misfit[best]) / (double)c->misfit_spread[best];
}
