/* decide.c - the verdict of a picture: which hypothesis leads, whether it leads far enough, and whether it explains the
 * picture. Damage of the body is said only of pictures that the damaged body makes. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

/* Frames after something unexplained in which a missing link must show for so many frames to be believed: things that
 * pass before the robot hide links, too. */
enum { WARY = 120, PROOF = 30 };
/* A missing link explains a picture better than any deviation by this many standard deviations of the misfit. */
#define CLEARER 1.0

void ek_raise(ek_inspector *s, int kind, int sign) {
  if (s->finding.alarm)
    return; /* the first cause stands until the inspector is reset */
  s->finding.alarm = kind, s->finding.sign = sign, s->finding.alarm_frame = s->finding.frames;
}

/* A link does not grow: what lengthens it is something that it carries. */
static int class_of(const ek_inspector *s, int h) {
  const ek_inspector_config *c = &s->config;
  if (h == EK_LAG(c))
    return EK_CLASS_SENSOR;
  const ek_hypothesis *about = &c->hypotheses[h];
  int grows = about->n == 1 && c->deviations[about->index[0]].kind == EK_DEVIATION_STRETCH && s->finding.size[0] > 0;
  return grows ? EK_CLASS_APPEARANCE : about->kind;
}

static int rivals(const ek_inspector *s, int h, int other) {
  const ek_inspector_config *c = &s->config;
  if (h == EK_LAG(c) || other == EK_LAG(c))
    return h != other;
  return c->hypotheses[h].kind != c->hypotheses[other].kind || c->hypotheses[h].part != c->hypotheses[other].part;
}

static void find_leader(ek_inspector *s) {
  ek_finding *f = &s->finding;
  int hypotheses = s->config.n_hypotheses + 1;
  f->hypothesis = 0, f->rival = -1;
  for (int h = 1; h < hypotheses; h++)
    if (s->leading[h] > s->leading[f->hypothesis])
      f->hypothesis = h;
  for (int h = 0; h < hypotheses; h++)
    if (rivals(s, f->hypothesis, h) && (f->rival < 0 || s->leading[h] > s->leading[f->rival]))
      f->rival = h;
  f->evidence = s->leading[f->hypothesis];
  f->against = f->rival < 0 ? 0 : s->leading[f->rival];
  ek_estimate(s, f->hypothesis, f->size, f->spread);
  f->lag_s = f->hypothesis == EK_LAG(&s->config) ? f->size[0] : 0;
}

/* The link without which the picture is as it should be; -1: none, or deviations do as well. */
static int find_lost(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  const ek_inspector_config *c = &s->config;
  int best = -1;
  double least = s->z - CLEARER;
  for (int h = 0; h < c->n_hypotheses && !*status; h++) {
    const ek_deviation *about = &c->deviations[c->hypotheses[h].index[0]];
    double misfit;
    if (about->kind != EK_DEVIATION_TURN || (h && c->hypotheses[h - 1].part == c->hypotheses[h].part))
      continue;
    *status = ek_misfit_without(s, q, masks, about->of, &misfit);
    double z = ek_misfit_z(s, q, misfit);
    if (!*status && z < least && s->misfit > misfit)
      least = z, best = about->of;
  }
  s->lost_z = least;
  return least < c->explained ? best : -1;
}

static void judge_lost(ek_inspector *s, int link) {
  s->lost_run = link >= 0 && link == s->lost_link ? s->lost_run + 1 : link >= 0;
  s->lost_link = link;
  int sure = !s->dirty && s->lost_z < s->config.found;
  if (!s->lost_run || s->lost_run < (sure ? 1 : PROOF))
    return;
  if (!s->finding.alarm)
    s->finding.link = link;
  ek_raise(s, EK_CLASS_BODY, EK_SIGN_LOST);
}

static void judge_deviation(ek_inspector *s) {
  const ek_inspector_config *c = &s->config;
  ek_finding *f = &s->finding;
  if (f->evidence < c->threshold) {
    s->waited = 0;
    return;
  }
  int clear = f->evidence - f->against >= c->rival;
  s->waited++;
  if (s->off_command && s->waited < c->patience_frames)
    return; /* senses.c will tell whether an encoder or a joint fails */
  if (f->alarm || (!clear && s->waited < c->patience_frames))
    return;
  f->undecided = !clear;
  ek_raise(s, class_of(s, f->hypothesis), f->hypothesis == EK_LAG(c) ? EK_SIGN_LAG : EK_SIGN_DEVIATION);
}

int ek_decide(ek_inspector *s, const float *q, const uint8_t *masks) {
  const ek_inspector_config *c = &s->config;
  int status = EK_OK, link = -1;
  double modelled = ek_misfit_z(s, q, s->misfit);
  s->z = ek_misfit_z(s, q, s->fitted);
  find_leader(s);
  if (modelled > c->explained)
    link = find_lost(s, q, masks, &status);
  judge_lost(s, link);
  int explained = s->z <= c->explained;
  s->dirty = explained || link >= 0 ? s->dirty - (s->dirty > 0) : WARY;
  s->unexplained = fmax(0, s->unexplained + fmin(s->z, 2 * c->unexplained) - c->unexplained);
  if (link < 0 && s->unexplained > c->unexplained_sum)
    ek_raise(s, EK_CLASS_APPEARANCE, EK_SIGN_UNEXPLAINED);
  if (explained && link < 0)
    judge_deviation(s);
  s->finding.misfit = s->misfit, s->finding.fitted = s->fitted, s->finding.misfit_z = s->z;
  return status;
}
