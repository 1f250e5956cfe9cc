/* decide.c - the verdict of a picture: which hypothesis leads, whether it leads far enough, and whether it explains the
 * picture. Damage of the body is said only of pictures that the damaged body makes. */
#include "inspector.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

/* Times the patience, after something unexplained, in which it may be there still: things that pass before the robot
 * hide links, too. */
enum { WARY = 2 };
/* Frames of the means that tell what is only missing. */
#define RECENT 8
/* Vision and encoder mean the same offset where they differ by less than this share of it. */
#define AGREES 0.5
/* What is only missing in the picture may be dark or hidden, what there is only more of may be carried: a body that has
 * moved is missing here and shows there. One-sided: pixels that are on have less than this share of the misfit beyond
 * that of healthy pictures, of which they have half, or all but this share; of a picture that has so many standard
 * deviations of it, or of a mean of pictures that has so many. */
#define ELSEWHERE 0.15
#define ONE_TELLS 5.0
#define MEAN_TELLS 0.75
/* A link that turns or shrinks by so much (rad or share) can show nowhere, and so explains what is dark or hidden, too:
 * it is believed where this share of the misfit is on. */
#define TOO_FAR 0.4
#define SHOWS 0.3
/* Share of the patience after which what is only missing is believed, what there is only more of after all of it; times
 * it, after which what leads is. */
#define PROOF 0.5
#define PATIENT 5
/* Share of its evidence by which a hypothesis must lead, too: what steps of a fit leave is not exact, the less so the
 * larger the change. Over one of another class more, over pictures that are late, which are so by other times, most. */
#define LEAD 0.005
#define LEAD_APART 0.15
#define LEAD_LAG 0.3
/* A hypothesis by itself may explain a picture so many standard deviations of the misfit less well than all deviations
 * together must. */
#define ALONE 1.5
/* A hypothesis makes a picture worse than another where its misfit is higher by so many standard deviations. */
#define WORSE 2.5
/* One explains it as well where it leaves no more of it than so many; a picture is far from healthy beyond so many. */
#define AS_WELL 1.0
#define FAR 5.0

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
  if (about->n > 1 || c->deviations[about->index[0]].kind != EK_DEVIATION_STRETCH)
    return about->kind;
  double size[3], spread[3];
  ek_estimate(s, h, size, spread);
  return size[0] > 0 ? EK_CLASS_APPEARANCE : about->kind;
}

static int rivals(const ek_inspector *s, int h, int other) {
  const ek_inspector_config *c = &s->config;
  return h != other && (class_of(s, h) != class_of(s, other) || c->hypotheses[h].part != c->hypotheses[other].part);
}

static double evidence_of(const ek_inspector *s, int h) {
  return s->leading[h] * (s->leading[h] > 0 ? s->made[h] : 1);
}

/* That anything deviates, every hypothesis being as likely as any other: the logarithm of the mean Bayes factor. */
static double evidence_of_any(const ek_inspector *s) {
  int hypotheses = s->config.n_hypotheses + 1;
  double best = evidence_of(s, 0), sum = 0;
  for (int h = 1; h < hypotheses; h++)
    best = fmax(best, evidence_of(s, h));
  for (int h = 0; h < hypotheses; h++)
    sum += exp(evidence_of(s, h) - best);
  return best + log(sum / hypotheses);
}

/* The class of an alarm stands: what leads after it, and what is held against that, is of that class. */
static int may_lead(const ek_inspector *s, int h) {
  const ek_finding *f = &s->finding;
  if (f->alarm && f->sign == EK_SIGN_LAG)
    return h == EK_LAG(&s->config);
  if (f->sign != EK_SIGN_DEVIATION || (f->alarm != EK_CLASS_BODY && f->alarm != EK_CLASS_CAMERA))
    return 1;
  return h != EK_LAG(&s->config) && s->config.hypotheses[h].kind == f->alarm;
}

static void find_leader(ek_inspector *s) {
  ek_finding *f = &s->finding;
  int hypotheses = s->config.n_hypotheses + 1;
  f->hypothesis = f->rival = -1;
  for (int h = 0; h < hypotheses; h++)
    if (may_lead(s, h) && (f->hypothesis < 0 || evidence_of(s, h) > evidence_of(s, f->hypothesis)))
      f->hypothesis = h;
  for (int h = 0; h < hypotheses; h++)
    if (may_lead(s, h) && (f->rival < 0 || evidence_of(s, h) > evidence_of(s, f->rival)) && rivals(s, f->hypothesis, h))
      f->rival = h;
  f->evidence = evidence_of_any(s);
  f->against = f->rival < 0 ? 0 : fmax(0, evidence_of(s, f->rival));
  ek_estimate(s, f->hypothesis, f->size, f->spread);
  f->lag_s = f->hypothesis == EK_LAG(&s->config) ? f->size[0] : 0;
}

/* The joint that is off its command as the leading hypothesis has it: then its encoder is wrong, not the body; or -1.
 */
static int misread(const ek_inspector *s) {
  const ek_inspector_config *c = &s->config;
  const ek_finding *f = &s->finding;
  if (f->hypothesis == EK_LAG(c))
    return -1;
  for (int j = 0; j < c->n_joints; j++)
    if (s->off[j] && c->own_axis[j] == c->hypotheses[f->hypothesis].index[0] &&
        fabs(f->size[0] + s->offset[j]) < AGREES * fabs(s->offset[j]))
      return j;
  return -1;
}

/* Whether leader and rival are of different classes. */
static int apart(const ek_inspector *s) {
  return s->finding.rival >= 0 && class_of(s, s->finding.hypothesis) != class_of(s, s->finding.rival);
}

/* Whether the leader leads the evidence by enough. */
static int leads(const ek_inspector *s) {
  const ek_finding *f = &s->finding;
  double own = evidence_of(s, f->hypothesis);
  double share = f->rival == EK_LAG(&s->config) ? LEAD_LAG : apart(s) ? LEAD_APART : LEAD;
  return own - f->against >= fmax(s->config.rival, share * own);
}

/* Fits one hypothesis by itself, and remembers what share of what deviations explain it explains. Sums over poses are
 * linear in the deviations, large changes are not: of two parts that are close in evidence it is the one that makes the
 * pictures by itself. */
static double alone(ek_inspector *s, const float *q, const uint8_t *masks, int h, int *status) {
  double misfit;
  *status = ek_fit_alone(s, q, masks, h, &misfit);
  if (*status)
    return misfit;
  double left = fmax(0, misfit - s->fitted - WORSE * s->spread) / fmax(s->misfit - s->fitted, s->spread);
  s->alone[h] += s->alone[h] < RECENT;
  s->made[h] += (fmax(0, 1 - left) - s->made[h]) / s->alone[h];
  return misfit;
}

/* What leads next by its sums alone. */
static int challenger(const ek_inspector *s) {
  int best = -1;
  for (int h = 0; h < s->config.n_hypotheses; h++)
    if (h != s->finding.hypothesis && (best < 0 || s->leading[h] > s->leading[best]))
      best = h;
  return best;
}

static int makes(const ek_inspector *s, double misfit) {
  return ek_left_z(s, misfit) <= s->config.explained + ALONE;
}

/* Whether the leading hypothesis makes the picture by itself and, where the rival is of another class, leads it or
 * makes it better. */
static int confirmed(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  const ek_finding *f = &s->finding;
  double misfit = alone(s, q, masks, f->hypothesis, status);
  int other = *status || makes(s, misfit) ? -1 : challenger(s);
  if (other >= 0) {
    misfit = alone(s, q, masks, other, status);
    find_leader(s);
  }
  if (*status || (other >= 0 && f->hypothesis != other) || !makes(s, misfit))
    return 0;
  if (!apart(s) || leads(s))
    return 1;
  double worse = alone(s, q, masks, f->rival, status);
  return !*status && worse - misfit > WORSE * s->spread;
}

/* Whether pictures are late: the healthy body of a while ago makes one that the body of now is far from making, as well
 * as all deviations together. Sums over pictures take joints to go on as they do: where they turn, bodies lead that are
 * none. For a while after it only a picture that no body of a while ago makes is believed. */
static int late(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  double misfit;
  *status = ek_fit_late(s, q, masks, &misfit);
  double left = (misfit - s->fitted) / s->spread, far = (s->misfit - s->fitted) / s->spread;
  if (far > FAR && left < AS_WELL)
    s->late = s->config.patience_frames;
  return s->late && (far <= FAR || left < WORSE);
}

/* After an alarm for a deviation one of the two that lead is fitted by itself in every picture. */
static void name_better(ek_inspector *s, const float *q, const uint8_t *masks, int *status) {
  const ek_finding *f = &s->finding;
  int h = s->finding.frames % 2 ? f->hypothesis : f->rival;
  if (f->sign == EK_SIGN_DEVIATION && h >= 0 && h != EK_LAG(&s->config))
    alone(s, q, masks, h, status);
}

static double size_of(const ek_finding *f) {
  return hypot(hypot(f->size[0], f->size[1]), f->size[2]);
}

/* Whether the leading hypothesis is so large a change that it hides what it moves. */
static int hides(const ek_inspector *s) {
  int large = s->finding.hypothesis != EK_LAG(&s->config) && size_of(&s->finding) > TOO_FAR;
  return large && s->shown < SHOWS * s->beyond;
}

/* Whether what is only missing, or only more, is as the leading hypothesis has it. */
static int believed(const ek_inspector *s) {
  int carried = class_of(s, s->finding.hypothesis) == EK_CLASS_APPEARANCE, patience = s->config.patience_frames;
  if (carried || s->shown < s->beyond / 2)
    return (carried || !s->dirty) && s->one_sided >= PROOF * patience;
  return s->waited >= patience;
}

/* The class is what an alarm says at once; which part it is may stay undecided, and is told by more poses. */
static int judge_deviation(ek_inspector *s, const float *q, const uint8_t *masks) {
  ek_finding *f = &s->finding;
  int status = EK_OK, patience = s->config.patience_frames;
  f->undecided = !leads(s);
  if (f->alarm) {
    name_better(s, q, masks, &status);
    return status;
  }
  if (f->evidence < s->config.threshold) {
    s->waited = 0;
    return status;
  }
  s->waited++;
  if (s->off_command) { /* senses.c will tell whether an encoder or a joint fails, once it moves */
    int joint = s->waited >= patience ? misread(s) : -1;
    if (joint >= 0)
      f->joint = joint, ek_raise(s, EK_CLASS_ENCODER, EK_SIGN_OFFSET);
    return status;
  }
  if (s->one_sided && !believed(s))
    return status;
  int waited = s->waited >= PATIENT * patience, sure = confirmed(s, q, masks, &status) || waited;
  if (status || !sure)
    return status;
  if (hides(s)) {
    if (waited)
      ek_raise(s, EK_CLASS_APPEARANCE, EK_SIGN_UNEXPLAINED);
    return status;
  }
  int lags = f->hypothesis == EK_LAG(&s->config), was_late = !lags && late(s, q, masks, &status);
  if (lags || (was_late && waited))
    ek_raise(s, EK_CLASS_SENSOR, EK_SIGN_LAG);
  else if (!was_late)
    ek_raise(s, class_of(s, f->hypothesis), EK_SIGN_DEVIATION);
  return status;
}

static int on_one_side(double beyond, double shown) {
  return shown < ELSEWHERE * beyond || shown > (1 - ELSEWHERE) * beyond;
}

static void judge_sides(ek_inspector *s) {
  double beyond = s->misfit - s->usual, shown = ek_shown(s, s->missed);
  s->beyond += (beyond - s->beyond) / RECENT;
  s->shown += (shown - s->shown) / RECENT;
  int one = beyond > ONE_TELLS * s->spread && on_one_side(beyond, shown);
  int mean = s->beyond > MEAN_TELLS * s->spread && on_one_side(s->beyond, s->shown);
  s->one_sided = one || mean ? s->one_sided + 1 : 0;
}

int ek_decide(ek_inspector *s, const float *q, const uint8_t *masks) {
  const ek_inspector_config *c = &s->config;
  int status = EK_OK;
  find_leader(s);
  judge_sides(s);
  s->late -= s->late > 0;
  int lost = ek_judge_lost(s, q, masks, &status);
  int explained = s->z <= c->explained;
  s->mean_z += (s->z - s->mean_z) / RECENT;
  if (!explained && !s->lost_still && s->mean_z > c->explained)
    s->dirty = WARY * c->patience_frames;
  else
    s->dirty -= s->dirty > 0;
  double z = lost ? fmin(s->z, s->lost_z) : s->z;
  s->unexplained = fmax(0, s->unexplained + fmin(z, 2 * c->unexplained) - c->unexplained);
  if (!lost && s->unexplained > c->unexplained_sum)
    ek_raise(s, EK_CLASS_APPEARANCE, EK_SIGN_UNEXPLAINED);
  if (explained && !lost && !status)
    status = judge_deviation(s, q, masks);
  s->finding.misfit = s->misfit, s->finding.fitted = s->fitted, s->finding.misfit_z = s->z;
  return status;
}
