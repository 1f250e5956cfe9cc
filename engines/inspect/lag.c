/* lag.c - pictures that are late: the robot as it stood a while ago, along the way that its joints have gone. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

/* Of a golden section: each leaves 0.62 of the time in which the picture may have been taken. */
enum { SECTIONS = 8 };
#define GOLDEN 0.6180339887498949

int ek_past_frames(const ek_inspector_config *c) {
  return 2 + (int)ceil(EK_LATEST * c->lag_prior);
}

void ek_past_add(ek_inspector *s, const float *joints) {
  size_t n = (size_t)s->config.n_joints;
  int frames = ek_past_frames(&s->config);
  s->now = (s->now + 1) % frames;
  s->n_past += s->n_past < frames;
  memcpy(s->past + (size_t)s->now * n, joints, sizeof *joints * n);
}

/* A joint so many frames ago. */
static double ago(const ek_inspector *s, int joint, double late) {
  int frames = ek_past_frames(&s->config), whole = (int)late, n = s->config.n_joints;
  int after = (s->now - whole + frames) % frames, before = (after - 1 + frames) % frames;
  double share = late - whole;
  return (1 - share) * (double)s->past[after * n + joint] + share * (double)s->past[before * n + joint];
}

/* Misfit of the healthy body where its joints were so many frames ago. */
static int misfit_late(ek_inspector *s, const float *q, const uint8_t *masks, double late, double *misfit) {
  float then[EK_MAX_JOINTS];
  for (int j = 0; j < s->config.n_joints; j++)
    then[j] = (float)((double)q[j] + ago(s, j, late) - ago(s, j, 0));
  return ek_misfit_of(s, then, masks, s->healthy, misfit);
}

static int fit_late(ek_inspector *s, const float *q, const uint8_t *masks, double *misfit) {
  double from = 0, to = fmin(s->n_past - 2, EK_LATEST * s->config.lag_prior), at[2], of[2];
  int status = EK_OK;
  *misfit = s->misfit;
  if (to <= 0)
    return status;
  for (int side = 0; side < 2 && !status; side++) {
    at[side] = from + (to - from) * (side ? GOLDEN : 1 - GOLDEN);
    status = misfit_late(s, q, masks, at[side], &of[side]);
  }
  for (int i = 0; i < SECTIONS && !status; i++) {
    int worse = of[0] < of[1]; /* which side falls away: beyond the second, or before the first */
    if (worse)
      to = at[1];
    else
      from = at[0];
    at[worse] = at[!worse], of[worse] = of[!worse];
    at[!worse] = from + (to - from) * (worse ? 1 - GOLDEN : GOLDEN);
    status = misfit_late(s, q, masks, at[!worse], &of[!worse]);
  }
  if (!status)
    *misfit = fmin(s->misfit, fmin(of[0], of[1]));
  return status;
}

int ek_fit_late(ek_inspector *s, const float *q, const uint8_t *masks, double *misfit) {
  int status = s->late_frame == s->finding.frames ? EK_OK : fit_late(s, q, masks, &s->late_misfit);
  if (!status) /* a verdict may ask twice */
    s->late_frame = s->finding.frames;
  *misfit = s->late_misfit;
  return status;
}
