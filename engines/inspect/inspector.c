/* inspector.c - the public face of the inspector: create, update, look, accept. */
#include "inspector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/joints.h"
#include "../core/status.h"
#include "../splat/body.h"

/* Times as high as of the model a body's misfit may be. */
#define WORST 100.0
/* Frames that pictures may lag at most, whatever the settings: what is remembered of the past. */
#define LONGEST_LAG 1e5
/* Times the width of edges: where a fit begins that has to go far. */
#define WIDER 5.0
/* Share of the misfit that may be left unexplained in what counts as evidence while something unexplained is near. */
#define DOUBT 0.75

static int positive(const double *values, int n) {
  for (int i = 0; i < n; i++)
    if (!(values[i] > 0 && values[i] < 1e9))
      return 0;
  return 1;
}

static int all_finite(const double *values, int n) {
  for (int i = 0; i < n; i++)
    if (!(fabs(values[i]) < 1e9))
      return 0;
  return 1;
}

static int sizes_valid(const ek_body *b, const ek_inspector_config *c) {
  return b && c && c->n_deviations >= 1 && c->n_deviations <= EK_MAX_DEVIATIONS && c->n_hypotheses >= 1 &&
         c->n_hypotheses <= EK_MAX_HYPOTHESES && c->n_links == b->layout.n_links && c->n_joints == b->layout.n_q &&
         c->n_regions >= 1 && c->n_regions <= 65536 && c->deviations && c->hypotheses && c->edge_px && c->prior &&
         c->mean && c->bias && c->frame && c->own_axis && c->centroids && c->misfit && c->misfit_spread && c->scale;
}

static int config_valid(const ek_body *b, const ek_inspector_config *c) {
  if (!sizes_valid(b, c))
    return 0;
  const double scalars[] = {c->noise_bias, c->lag_prior,  c->found,     c->noise_frame,     c->floor,
                            c->cell_rad,   c->threshold,  c->explained, c->unexplained_sum, c->unexplained,
                            c->rival,      c->frozen_rad, c->stuck_rad};
  int n = c->n_deviations, ok = positive(scalars, (int)(sizeof scalars / sizeof *scalars));
  ok = ok && positive(c->prior, n) && positive(c->bias, n) && positive(c->frame, n) && all_finite(c->mean, n) &&
       all_finite(c->handicap, EK_LEVELS);
  ok = ok && positive(c->tracking_rad, c->n_joints) && c->patience_frames >= 1 && c->frozen_frames >= 1 &&
       c->stale_frames >= 1 && c->floor < 1e3 && c->uncovered >= 0 && c->uncovered < 1 && c->lag_prior <= LONGEST_LAG;
  for (int h = 0; h < c->n_hypotheses && ok; h++) {
    const ek_hypothesis *about = &c->hypotheses[h];
    ok = about->n >= 1 && about->n <= 3 && (about->kind == EK_CLASS_BODY || about->kind == EK_CLASS_CAMERA);
    for (int i = 0; i < about->n && ok; i++)
      ok = about->index[i] >= 0 && about->index[i] < n;
  }
  for (int j = 0; j < c->n_joints && ok; j++)
    ok = c->own_axis[j] >= -1 && c->own_axis[j] < n;
  for (int r = 0; r < c->n_regions && ok; r++)
    ok = isfinite(c->misfit[r]) && c->misfit_spread[r] > 0 && isfinite(c->misfit_spread[r]) && c->scale[r] > 0 &&
         isfinite(c->scale[r]);
  for (int i = 0; i < c->n_regions * c->n_joints && ok; i++)
    ok = isfinite(c->centroids[i]);
  return ok;
}

/* Memory is handed out twice over the same code: once to count it, once to give it. */
typedef struct {
  uint8_t *base;
  size_t used;
} arena;

static void *take(arena *a, size_t bytes) {
  void *at = a->base ? a->base + a->used : NULL;
  a->used += (bytes + 15) / 16 * 16;
  return at;
}

static void *take_copy(arena *a, const void *from, size_t bytes) {
  void *at = take(a, bytes);
  return at ? memcpy(at, from, bytes) : NULL;
}

static void lay_out(ek_inspector *s, const ek_inspector_config *from, arena *a) {
  ek_inspector_config *c = &s->config;
  size_t n = (size_t)from->n_deviations, h = (size_t)from->n_hypotheses, joints = (size_t)from->n_joints;
  size_t regions = (size_t)from->n_regions, d = sizeof(double), f = sizeof(float);
  c->deviations = take_copy(a, from->deviations, sizeof *from->deviations * n);
  c->hypotheses = take_copy(a, from->hypotheses, sizeof *from->hypotheses * h);
  c->edge_px = take_copy(a, from->edge_px, d * (size_t)from->n_links);
  c->prior = take_copy(a, from->prior, d * n), c->mean = take_copy(a, from->mean, d * n);
  c->bias = take_copy(a, from->bias, d * n), c->frame = take_copy(a, from->frame, d * n);
  c->own_axis = take_copy(a, from->own_axis, sizeof(int32_t) * joints);
  c->centroids = take_copy(a, from->centroids, f * regions * joints);
  c->misfit = take_copy(a, from->misfit, f * regions);
  c->misfit_spread = take_copy(a, from->misfit_spread, f * regions);
  c->scale = take_copy(a, from->scale, f * regions);
  s->wide_px = take(a, d * (size_t)from->n_links);
  s->healthy = take(a, d * n), s->sizes = take(a, d * n);
  s->a = take(a, d * n * n), s->b = take(a, d * n);
  s->work = take(a, d * n * n), s->inverse = take(a, d * n * n);
  s->trial = take(a, d * n), s->scale = take(a, d * n);
  for (int l = 0; l < EK_LEVELS; l++)
    s->levels[l].a = take(a, d * n * n), s->levels[l].b = take(a, d * n);
  s->cells = take(a, sizeof(ek_block) * EK_CELLS * (h + 1)),
  s->current = take(a, sizeof(ek_block) * EK_LEVELS * (h + 1));
  s->evidence = take(a, d * EK_LEVELS * (h + 1)), s->best = take(a, sizeof(ek_block) * (h + 1));
  s->leading = take(a, d * (h + 1));
  s->made = take(a, d * (h + 1)), s->alone = take(a, sizeof *s->alone * (h + 1));
  s->past = take(a, f * joints * (size_t)ek_past_frames(from));
  s->drift_a = take(a, d * joints * joints), s->drift_b = take(a, d * joints);
}

ek_inspector *ek_inspector_create(ek_body *body, const ek_inspector_config *config, int *status) {
  int ignored;
  status = status ? status : &ignored;
  *status = EK_E_ARGUMENT;
  if (!config_valid(body, config))
    return NULL;
  *status = EK_E_BUSY;
  if (body->deviator)
    return NULL;
  *status = ek_body_deviations(body, config->deviations, config->n_deviations);
  if (!*status)
    *status = ek_body_soften(body, config->edge_px);
  ek_inspector *s = *status ? NULL : calloc(1, sizeof *s);
  arena count = {0};
  if (s)
    lay_out(s, config, &count);
  arena all = {s ? calloc(1, count.used) : NULL, 0};
  if (!all.base) {
    free(s);
    ek_body_deviations(body, NULL, 0);
    *status = *status ? *status : EK_E_MEMORY;
    return NULL;
  }
  s->config = *config;
  lay_out(s, config, &all);
  s->tables = all.base, s->body = body, s->n = config->n_deviations, s->worse = 1;
  s->mask_bytes = body->layout.n_views * body->height * ((body->width + 7) / 8);
  for (int i = 0; i < config->n_links; i++)
    s->wide_px[i] = fmin(WIDER * config->edge_px[i], 100);
  ek_inspector_reset(s);
  return s;
}

void ek_inspector_destroy(ek_inspector *s) {
  if (!s)
    return;
  ek_body_deviations(s->body, NULL, 0);
  ek_body_lose(s->body, 0);
  free(s->tables);
  free(s);
}

void ek_inspector_reset(ek_inspector *s) {
  if (!s)
    return;
  memcpy(s->sizes, s->healthy, sizeof(double) * (size_t)s->n);
  ek_evidence_reset(s);
  ek_senses_reset(s);
  s->freer = 1;
  s->unexplained = s->z = s->mean_z = s->beyond = s->shown = s->lost_sum = 0;
  s->probed = s->asked = s->one_sided = s->waited = s->lost_still = s->dirty = s->late = 0, s->lost_link = -1;
  memset(&s->finding, 0, sizeof s->finding);
  s->finding.hypothesis = s->finding.rival = s->finding.link = s->finding.joint = -1;
}

int ek_inspector_update(ek_inspector *s, const float *q, const float *commanded, const uint8_t *masks,
                        ek_finding *finding) {
  if (!s || !q || !masks || !finding)
    return EK_E_ARGUMENT;
  int status = ek_joints_check(q, s->config.n_joints);
  if (!status && commanded)
    status = ek_joints_check(commanded, s->config.n_joints);
  if (status)
    return status;
  s->finding.frames++;
  int repeated = ek_senses_picture(s, q, masks);
  ek_senses_joints(s, q, commanded);
  if (!repeated) {
    s->region = ek_region(s, q);
    s->usual = s->worse * (double)s->config.misfit[s->region];
    s->spread = s->worse * (double)s->config.misfit_spread[s->region];
    status = ek_fit(s, q, masks);
    if (!status) {
      s->z = ek_left_z(s, s->fitted);
      ek_evidence_add(s, q, s->z <= s->config.explained * (s->dirty ? DOUBT : 1));
      status = ek_decide(s, q, masks);
    }
  }
  ek_body_deviate(s->body, s->healthy); /* what is predicted next is the healthy body */
  *finding = s->finding;
  return status;
}

int ek_inspector_found(const ek_inspector *s, ek_finding *finding) {
  if (!s || !finding)
    return EK_E_ARGUMENT;
  *finding = s->finding;
  return EK_OK;
}

static int none_far(const double *values, int n) {
  for (int i = 0; i < n; i++)
    if (!(fabs(values[i]) <= EK_FARTHEST))
      return 0;
  return 1;
}

/* The body as it is held to be. */
static int restore(ek_inspector *s) {
  int status = ek_body_lose(s->body, s->lost);
  return status ? status : ek_body_deviate(s->body, s->healthy);
}

int ek_inspector_accept(ek_inspector *s, const ek_changed_body *body) {
  static const ek_changed_body model = {.worse = 1};
  if (!s)
    return EK_E_ARGUMENT;
  body = body ? body : &model;
  if (!none_far(body->sizes, s->n) || !none_far(body->offsets, s->config.n_joints) || body->lost < 0 ||
      body->lost >= s->config.n_links || !(body->worse >= 1 && body->worse <= WORST))
    return EK_E_RANGE;
  memcpy(s->healthy, body->sizes, sizeof(double) * (size_t)s->n);
  memcpy(s->expected, body->offsets, sizeof(double) * (size_t)s->config.n_joints);
  s->lost = body->lost, s->worse = body->worse;
  ek_inspector_reset(s);
  return restore(s); /* what is predicted next, too */
}

int ek_inspector_look(const ek_inspector *s, double *information, double *score, double *sizes) {
  if (!s || !information || !score || !sizes)
    return EK_E_ARGUMENT;
  memcpy(information, s->a, sizeof(double) * (size_t)(s->n * s->n));
  memcpy(score, s->b, sizeof(double) * (size_t)s->n);
  for (int i = 0; i < s->n; i++) /* evidence.c took the mean off */
    for (int k = 0; k < s->n; k++)
      score[i] += s->a[i * s->n + k] * s->config.mean[k];
  memcpy(sizes, s->sizes, sizeof(double) * (size_t)s->n);
  return EK_OK;
}

int ek_inspector_measure(ek_inspector *s, const float *q, const uint8_t *masks, const ek_changed_body *body,
                         double *information, double *score, double *misfit) {
  if (!s || !q || !masks || !body || !misfit || !information != !score)
    return EK_E_ARGUMENT;
  int status = ek_joints_check(q, s->config.n_joints);
  double nll;
  if (!status)
    status = ek_body_lose(s->body, body->lost);
  if (!status)
    status = ek_body_deviate(s->body, body->sizes);
  if (!status)
    status = ek_body_run(s->body, q);
  if (!status)
    ek_body_measure(s->body, masks, &nll, misfit);
  if (!status && information)
    status = ek_body_inform(s->body, masks, s->config.floor, information, score);
  restore(s);
  return status;
}
