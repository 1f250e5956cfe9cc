/* lost.c - a link that is not there: the picture is as it should be without it, and all beyond. */
#include "inspector.h"

/* A missing link is free of numbers to fit: it may explain a picture so many standard deviations of the misfit less
 * well than deviations do. */
#define SIMPLER 1.5
/* Standard deviations by which the picture is better without a link that is missing in one picture: of healthy pictures
 * that are as far off as one in hundreds of thousands, one or the other is better without some link, too. */
#define CLEAR 5.0
/* Share of a misfit beyond LARGE standard deviations, which no healthy picture has, that a lost link may leave: what it
 * uncovers no picture of the healthy robot has shown. */
#define LEFT 0.25
#define LARGE 20.0
/* A lost link shows nowhere: pixels that are on where the rest of the robot is not are at most so many standard
 * deviations of the misfit. */
#define NOWHERE 2.5

/* Whether what a lost link leaves, z standard deviations of misfit and of it `missed` of pixels that are on, is within
 * a limit, or is what so large a one uncovers. */
static int may_leave(const ek_inspector *s, double z, double missed, double limit) {
  double before = ek_misfit_z(s, s->misfit);
  int nowhere = ek_shown(s, missed) < NOWHERE * s->spread;
  return z < limit || (before > LARGE && z < LEFT * before && nowhere);
}

/* Whether the picture, of which a lost link leaves a misfit, is better without the robot: then its camera is dark. */
static int nothing_seen(ek_inspector *s, const float *q, const uint8_t *masks, double misfit, int *status) {
  double empty, missed;
  *status = ek_misfit_without(s, q, masks, 0, &empty, &missed);
  return empty < misfit - s->spread;
}

int ek_find_lost(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  const ek_inspector_config *c = &s->config;
  int best = -1;
  double least = s->z + SIMPLER, left = 0;
  for (int h = 0; h < c->n_hypotheses && !*status; h++) {
    const ek_deviation *about = &c->deviations[c->hypotheses[h].index[0]];
    double misfit, missed;
    if (about->kind != EK_DEVIATION_TURN || (h && c->hypotheses[h - 1].part == c->hypotheses[h].part))
      continue;
    *status = ek_misfit_without(s, q, masks, about->of, &misfit, &missed);
    double z = ek_misfit_z(s, misfit);
    if (!*status && z < least && s->misfit > misfit && may_leave(s, z, missed, c->explained))
      least = z, best = about->of, left = misfit, s->lost_missed = missed;
  }
  if (best >= 0 && nothing_seen(s, q, masks, left, status))
    best = -1;
  s->lost_z = least;
  return best;
}

void ek_judge_lost(ek_inspector *s, int link) {
  s->lost_run = link >= 0 && link == s->lost_link ? s->lost_run + 1 : link >= 0;
  s->lost_link = link;
  int clear = ek_misfit_z(s, s->misfit) - s->lost_z > CLEAR;
  int sure = !s->dirty && clear && may_leave(s, s->lost_z, s->lost_missed, s->config.found);
  if (!s->lost_run || s->lost_run < (sure ? 1 : EK_PROOF))
    return;
  if (!s->finding.alarm)
    s->finding.link = link;
  ek_raise(s, EK_CLASS_BODY, EK_SIGN_LOST);
}
