/* lost.c - a link that is not there: the picture is as it should be without it, and all beyond. */
#include "inspector.h"

#include <math.h>

/* A missing link is free of numbers to fit: it may explain a picture so many standard deviations of the misfit less
 * well than deviations do. */
#define SIMPLER 1.5
/* Standard deviations by which the picture is better without a link that is missing in one picture: of healthy pictures
 * that are as far off as one in hundreds of thousands, one or the other is better without some link, too. */
#define CLEAR 5.0
/* Standard deviations of a misfit that no healthy picture has. */
#define LARGE 20.0
/* A lost link shows nowhere: pixels that are on where the rest of the robot is not are at most so many standard
 * deviations of the misfit. */
#define NOWHERE 2.5
/* What pictures without a link leave on average, about midway between those of a lost one and those of one that
 * something hides, standard deviations of the misfit: what is less adds up. */
#define MIDWAY 2.75
/* Sum, over the patience in frames, at which what is not clear, or beside something unexplained, is believed. */
#define LONG 0.5
/* Share of its misfit that a picture without a link may leave to be nearly as without it, and frames after such a one
 * in which another need not be: until then nothing else is there. */
#define NEARLY 0.25
enum { STILL = 8 };

/* Standard deviations of misfit that a lost link may leave, of which `missed` has pixels that are on. */
static double may_leave(const ek_inspector *s, double missed) {
  const ek_inspector_config *c = &s->config;
  double before = ek_misfit_z(s, s->misfit);
  int uncovers = before > LARGE && ek_shown(s, missed) < NOWHERE * s->spread;
  return uncovers ? fmax(c->explained, c->uncovered * before) : c->explained;
}

/* Whether the picture, of which a lost link leaves a misfit, is better without the robot: then its camera is dark. */
static int nothing_seen(ek_inspector *s, const float *q, const uint8_t *masks, double misfit, int *status) {
  double empty, missed;
  *status = ek_misfit_without(s, q, masks, 0, &empty, &missed);
  return empty < misfit - s->spread;
}

/* The link without which the picture is best, and what that leaves (lost_z), as much as healthy pictures may have
 * where it is as much as it may leave; -1: deviations do better. */
static int find(ek_inspector *s, const float *q, const uint8_t *masks, double *left_z, int *status) {
  const ek_inspector_config *c = &s->config;
  int best = -1;
  double least = s->z + SIMPLER, misfit_of = 0, missed_of = 0;
  for (int h = 0; h < c->n_hypotheses && !*status; h++) {
    const ek_deviation *about = &c->deviations[c->hypotheses[h].index[0]];
    double misfit, missed;
    if (about->kind != EK_DEVIATION_TURN || (h && c->hypotheses[h - 1].part == c->hypotheses[h].part))
      continue;
    *status = ek_misfit_without(s, q, masks, about->of, &misfit, &missed);
    double z = ek_misfit_z(s, misfit);
    if (!*status && z < least && s->misfit > misfit)
      least = z, best = about->of, misfit_of = misfit, missed_of = missed;
  }
  if (best >= 0 && nothing_seen(s, q, masks, misfit_of, status))
    best = -1;
  s->lost_z = least, *left_z = least * c->explained / may_leave(s, missed_of);
  return best;
}

int ek_judge_lost(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  const ek_inspector_config *c = &s->config;
  double before = ek_misfit_z(s, s->misfit), left = 0;
  int link = before > c->explained ? find(s, q, masks, &left, status) : -1;
  if (link < 0 || link != s->lost_link)
    s->lost_sum = s->lost_still = 0;
  s->lost_link = link;
  if (link < 0 || *status)
    return 0;
  int lost = left < c->explained, clear = !s->dirty && before - s->lost_z > CLEAR;
  s->lost_still = lost || s->lost_z < NEARLY * before ? STILL : s->lost_still - (s->lost_still > 0);
  s->lost_sum = fmax(0, s->lost_sum + MIDWAY - left);
  if (lost && s->lost_sum >= (clear ? MIDWAY - c->found : LONG * c->patience_frames)) {
    if (!s->finding.alarm)
      s->finding.link = link;
    ek_raise(s, EK_CLASS_BODY, EK_SIGN_LOST);
  }
  return lost;
}
