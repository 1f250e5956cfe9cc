/* inspected.h - an inspector of the arm of arm.h, and a world in which the same arm moves, and deviates. */
#ifndef TESTS_C_INSPECTED_H
#define TESTS_C_INSPECTED_H

#include "arm.h"
#include "core/status.h"
#include "inspect/inspector.h"

/* ---- an inspector of the arm */

enum { MOVING = 3, DEVIATIONS = 4 * MOVING + 3 * VIEWS, HYPOTHESES = 3 * MOVING + VIEWS };

#define DEGREE 0.017453292519943295
static const int LINK[MOVING] = {1, 2, 4};

/* Everything that a config points to. */
typedef struct {
  ek_deviation deviations[DEVIATIONS];
  ek_hypothesis hypotheses[HYPOTHESES];
  double edge_px[LINKS], prior[DEVIATIONS], mean[DEVIATIONS], bias[DEVIATIONS], frame[DEVIATIONS];
  int32_t own_axis[COORDINATES];
  float centroids[2 * COORDINATES], misfit[2], misfit_spread[2], scale[2];
  ek_inspector_config config;
} settings;

static inline void add_suspects(settings *s) {
  for (int m = 0; m < MOVING; m++) {
    int first = 4 * m, h = 3 * m;
    for (int k = 0; k < 4; k++) {
      ek_deviation *d = &s->deviations[first + k];
      d->kind = k < 3 ? EK_DEVIATION_TURN : EK_DEVIATION_STRETCH, d->of = LINK[m];
      d->axis[k == 3 ? 2 : (k + (m == 0 ? 2 : 1)) % 3] = 1; /* the joint's own first */
    }
    s->hypotheses[h] = (ek_hypothesis){3, {first, first + 1, first + 2}, EK_CLASS_BODY, m};
    s->hypotheses[h + 1] = (ek_hypothesis){1, {first, 0, 0}, EK_CLASS_BODY, m};
    s->hypotheses[h + 2] = (ek_hypothesis){1, {first + 3, 0, 0}, EK_CLASS_BODY, m};
  }
  for (int v = 0; v < VIEWS; v++) {
    int first = 4 * MOVING + 3 * v;
    for (int k = 0; k < 3; k++) {
      s->deviations[first + k].kind = EK_DEVIATION_CAMERA_TURN, s->deviations[first + k].of = v;
      s->deviations[first + k].axis[k] = 1;
    }
    s->hypotheses[3 * MOVING + v] = (ek_hypothesis){3, {first, first + 1, first + 2}, EK_CLASS_CAMERA, -1 - v};
  }
}

/* Fills s; its config points into it. */
static inline void make_settings(settings *s) {
  memset(s, 0, sizeof *s);
  add_suspects(s);
  for (int i = 0; i < DEVIATIONS; i++)
    s->prior[i] = 10 * DEGREE, s->bias[i] = 0.3 * DEGREE, s->frame[i] = 0.15 * DEGREE;
  for (int i = 0; i < LINKS; i++)
    s->edge_px[i] = 1;
  for (int r = 0; r < 2; r++)
    s->misfit[r] = 13, s->misfit_spread[r] = 3, s->scale[r] = 1;
  s->centroids[0] = 1.5f;
  s->own_axis[0] = 0, s->own_axis[1] = 4, s->own_axis[2] = -1;
  s->config = (ek_inspector_config){.n_deviations = DEVIATIONS,
                                    .n_hypotheses = HYPOTHESES,
                                    .n_links = LINKS,
                                    .n_joints = COORDINATES,
                                    .n_regions = 2,
                                    .deviations = s->deviations,
                                    .hypotheses = s->hypotheses,
                                    .edge_px = s->edge_px,
                                    .prior = s->prior,
                                    .mean = s->mean,
                                    .bias = s->bias,
                                    .frame = s->frame,
                                    .own_axis = s->own_axis,
                                    .noise_bias = 0.5,
                                    .noise_frame = 0.5,
                                    .floor = 0.1,
                                    .uncovered = 0.25,
                                    .centroids = s->centroids,
                                    .misfit = s->misfit,
                                    .misfit_spread = s->misfit_spread,
                                    .scale = s->scale,
                                    .lag_prior = 6,
                                    .cell_rad = 0.15,
                                    .threshold = 20,
                                    .found = 1,
                                    .explained = 3.5,
                                    .unexplained = 5,
                                    .unexplained_sum = 60,
                                    .rival = 3,
                                    .patience_frames = 60,
                                    .tracking_rad = {0.01, 0.01, 0.01},
                                    .stuck_rad = 0.035,
                                    .frozen_frames = 20,
                                    .stale_frames = 20,
                                    .frozen_rad = 0.15};
}

static inline ek_inspector *inspect(ek_body *b, const settings *s) {
  int status;
  ek_inspector *i = ek_inspector_create(b, &s->config, &status);
  CHECK(i && status == EK_OK);
  return i;
}

/* ---- a world in which the same arm moves, and deviates */

typedef struct {
  ek_body *body;
  int time;
  float q[COORDINATES];
  uint8_t mask[MASK];
} world;

static inline world make_world(const arm *a, const settings *s) {
  world w = {.body = open_arm(a)};
  CHECK(!ek_body_deviations(w.body, s->deviations, DEVIATIONS));
  return w;
}

/* The next picture: a thousandth of its pixels flips. */
static inline void move_on(world *w) {
  static float picture[PIXELS];
  double t = 0.02 * w->time++;
  w->q[0] = (float)(1.5 * sin(t)), w->q[1] = (float)(0.6 + 0.5 * sin(1.7 * t)), w->q[2] = (float)(0.03 * sin(2.3 * t));
  see(w->body, w->q, picture);
  mask_of(picture, 1e-3, w->mask);
}

static inline ek_finding watch(ek_inspector *i, world *w, int frames) {
  ek_finding f = {0};
  while (frames--) {
    move_on(w);
    CHECK(!ek_inspector_update(i, w->q, w->q, w->mask, &f));
  }
  return f;
}

static inline void bend(world *w, int deviation, double degrees) {
  double sizes[DEVIATIONS] = {0};
  sizes[deviation] = degrees * DEGREE;
  CHECK(!ek_body_deviate(w->body, sizes));
}

/* An inspector that watches the arm, and the world before its camera. */
typedef struct {
  settings settings;
  ek_body *body;
  ek_inspector *inspector;
  world world;
} scene;

/* Fills c, whose settings point into it. */
static inline void open_scene(scene *c) {
  arm a = make_arm();
  make_settings(&c->settings);
  c->body = open_arm(&a);
  c->inspector = inspect(c->body, &c->settings);
  c->world = make_world(&a, &c->settings);
}

static inline void close_scene(scene *c) {
  ek_inspector_destroy(c->inspector), ek_body_destroy(c->world.body), ek_body_destroy(c->body);
}

#endif
