/* test_inspect.c - the inspector without Python: what it refuses, how long an alarm stands, and what it holds to be
 * healthy. */
#include "inspect/gauss.h"
#include "inspected.h"

/* ---- gauss.h */

enum { SIDE = 7 };

/* a = m m' + I, which is positive definite. */
static void positive_definite(double *a) {
  double m[SIDE * SIDE];
  for (int i = 0; i < SIDE * SIDE; i++)
    m[i] = 3 * unit();
  for (int i = 0; i < SIDE; i++)
    for (int k = 0; k < SIDE; k++) {
      a[i * SIDE + k] = i == k;
      for (int l = 0; l < SIDE; l++)
        a[i * SIDE + k] += m[i * SIDE + l] * m[k * SIDE + l];
    }
}

static void test_gauss(void) {
  double a[SIDE * SIDE], l[SIDE * SIDE], inverse[SIDE * SIDE], b[SIDE], x[SIDE];
  for (int round = 0; round < 50; round++) {
    positive_definite(a);
    for (int i = 0; i < SIDE; i++)
      x[i] = b[i] = unit();
    memcpy(l, a, sizeof l);
    for (int i = 0; i < SIDE; i++)
      for (int k = i + 1; k < SIDE; k++)
        l[i * SIDE + k] = NAN; /* above the diagonal nothing is read */
    CHECK(ek_factor(l, SIDE));
    ek_solve(l, SIDE, x);
    ek_invert(l, SIDE, inverse);
    for (int i = 0; i < SIDE; i++) {
      double back = 0;
      for (int k = 0; k < SIDE; k++) {
        double one = 0;
        back += a[i * SIDE + k] * x[k];
        for (int j = 0; j < SIDE; j++)
          one += a[i * SIDE + j] * inverse[j * SIDE + k];
        CHECK(fabs(one - (i == k)) < 1e-9 && inverse[i * SIDE + k] == inverse[k * SIDE + i]);
      }
      CHECK(fabs(back - b[i]) < 1e-9);
    }
  }
}

static void test_gauss_refuses(void) {
  double indefinite[4] = {1, 2, 2, 1}, singular[4] = {1, 1, 1, 1}, none[1] = {0}, nan[4] = {1, 0, NAN, 1};
  CHECK(!ek_factor(indefinite, 2) && !ek_factor(singular, 2) && !ek_factor(none, 1) && !ek_factor(nan, 2));
}

/* ---- what is refused */

static int is_model(ek_body *b) {
  float dq[COORDINATES] = {0};
  return ek_body_backward(b, NULL, dq) == EK_OK;
}

static void check_refused(ek_body *b, const settings *s) {
  int status = EK_OK;
  CHECK(!ek_inspector_create(b, &s->config, &status) && status < 0);
  CHECK(is_model(b)); /* nothing was borrowed */
}

/* The k-th number that must be positive, or NULL. */
static double *positive_of(settings *s, int k) {
  ek_inspector_config *c = &s->config;
  double *all[] = {&c->noise_bias,      &c->noise_frame, &c->floor,     &c->lag_prior,
                   &c->cell_rad,        &c->threshold,   &c->found,     &c->explained,
                   &c->unexplained,     &c->rival,       &c->stuck_rad, &c->frozen_rad,
                   &c->unexplained_sum, &s->prior[1],    &s->bias[2],   &s->frame[DEVIATIONS - 1],
                   &c->tracking_rad[1]};
  return k < (int)(sizeof all / sizeof *all) ? all[k] : NULL;
}

static void test_numbers_that_must_be_positive(ek_body *b) {
  const double wrong[] = {0, -1, NAN, INFINITY};
  settings s;
  make_settings(&s);
  for (int k = 0; positive_of(&s, k); k++)
    for (int i = 0; i < 4; i++) {
      make_settings(&s);
      *positive_of(&s, k) = wrong[i];
      check_refused(b, &s);
    }
}

/* Spoils one field; 0 where there is no such. */
static int spoil(settings *s, int which) {
  ek_inspector_config *c = &s->config;
  int *const counts[] = {&c->n_deviations, &c->n_hypotheses,    &c->n_links,       &c->n_joints,
                         &c->n_regions,    &c->patience_frames, &c->frozen_frames, &c->stale_frames};
  const void **const arrays[] = {
      (const void **)&c->deviations, (const void **)&c->hypotheses, (const void **)&c->edge_px,
      (const void **)&c->prior,      (const void **)&c->mean,       (const void **)&c->bias,
      (const void **)&c->frame,      (const void **)&c->own_axis,   (const void **)&c->centroids,
      (const void **)&c->misfit,     (const void **)&c->scale,      (const void **)&c->misfit_spread};
  if (which < 8)
    return *counts[which] = 0, 1;
  if (which < 20)
    return *arrays[which - 8] = NULL, 1;
  switch (which) {
  case 20:
    return c->n_deviations = EK_MAX_DEVIATIONS + 1, 1;
  case 21:
    return c->n_hypotheses = EK_MAX_HYPOTHESES + 1, 1;
  case 22:
    return c->n_links++, 1;
  case 23:
    return c->n_joints++, 1;
  case 24:
    return c->n_regions = 65537, 1;
  case 25:
    return s->hypotheses[1].n = 0, 1;
  case 26:
    return s->hypotheses[1].n = 4, 1;
  case 27:
    return s->hypotheses[0].index[2] = DEVIATIONS, 1;
  case 28:
    return s->hypotheses[0].index[0] = -1, 1;
  case 29:
    return s->hypotheses[2].kind = EK_CLASS_SENSOR, 1;
  case 30:
    return s->own_axis[2] = -2, 1;
  case 31:
    return s->own_axis[0] = DEVIATIONS, 1;
  case 32:
    return s->misfit_spread[1] = 0, 1;
  case 33:
    return s->scale[1] = 0, 1;
  case 34:
    return s->misfit[1] = NAN, 1;
  case 35:
    return s->centroids[1] = INFINITY, 1;
  case 36:
    return s->mean[3] = NAN, 1;
  case 37:
    return c->handicap[3] = NAN, 1;
  case 38:
    return s->edge_px[4] = -1, 1; /* this and the next are found by the body */
  case 39:
    return s->edge_px[0] = NAN, 1;
  case 40:
    return s->deviations[5].of = LINKS, 1;
  case 41:
    return s->deviations[3].axis[2] = 0.5, 1;
  case 42:
    return s->deviations[7].of = 1, 1; /* two stretches of one link */
  case 43:
    return s->deviations[12].of = VIEWS, 1;
  case 44:
    return s->misfit_spread[0] = INFINITY, 1;
  case 45:
    return s->scale[0] = INFINITY, 1;
  case 46:
    return c->floor = 1e3, 1;
  case 47:
    return c->uncovered = -0.1, 1;
  case 48:
    return c->uncovered = 1, 1;
  case 49:
    return c->uncovered = NAN, 1;
  case 50:
    return c->lag_prior = 1e6, 1;
  default:
    return 0;
  }
}

static void test_settings_that_cannot_be(void) {
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  const float q[COORDINATES] = {0};
  CHECK(!ek_body_run(b, q));
  settings s;
  make_settings(&s);
  CHECK(!ek_inspector_create(NULL, &s.config, NULL) && !ek_inspector_create(b, NULL, NULL));
  test_numbers_that_must_be_positive(b);
  for (int i = 0; make_settings(&s), spoil(&s, i); i++)
    check_refused(b, &s);
  make_settings(&s);
  ek_inspector *first = inspect(b, &s);
  int status;
  CHECK(!ek_inspector_create(b, &s.config, &status) && status == EK_E_BUSY); /* a body is one's own */
  ek_inspector_destroy(first);
  CHECK(is_model(b));
  ek_inspector_destroy(inspect(b, &s));
  ek_inspector_destroy(NULL);
  ek_body_destroy(b);
}

static void test_frames_that_cannot_be(void) {
  scene c;
  open_scene(&c);
  CHECK(watch(c.inspector, &c.world, 5).frames == 5);
  const float wrong[] = {NAN, INFINITY, 2e4f};
  const int says[] = {EK_E_NONFINITE, EK_E_NONFINITE, EK_E_RANGE};
  ek_finding f;
  for (int k = 0; k < 3; k++) {
    const float bad[COORDINATES] = {0, wrong[k], 0};
    CHECK(ek_inspector_update(c.inspector, bad, NULL, c.world.mask, &f) == says[k]);
    CHECK(ek_inspector_update(c.inspector, c.world.q, bad, c.world.mask, &f) == says[k]);
  }
  CHECK(ek_inspector_update(NULL, c.world.q, NULL, c.world.mask, &f) == EK_E_ARGUMENT);
  CHECK(ek_inspector_update(c.inspector, NULL, NULL, c.world.mask, &f) == EK_E_ARGUMENT);
  CHECK(ek_inspector_update(c.inspector, c.world.q, NULL, NULL, &f) == EK_E_ARGUMENT);
  CHECK(ek_inspector_update(c.inspector, c.world.q, NULL, c.world.mask, NULL) == EK_E_ARGUMENT);
  f = watch(c.inspector, &c.world, 1); /* as if they had not been */
  CHECK(f.frames == 6 && !f.alarm);
  close_scene(&c);
}

/* ---- alarms, and what is healthy */

static void test_an_alarm_stands_until_it_is_reset(void) {
  scene c;
  open_scene(&c);
  ek_finding f = watch(c.inspector, &c.world, 300);
  CHECK(!f.alarm && f.evidence < 10 && f.frames == 300 && !f.alarm_frame);
  bend(&c.world, 4, 5);
  f = watch(c.inspector, &c.world, 60);
  CHECK(f.alarm == EK_CLASS_BODY && f.sign == EK_SIGN_DEVIATION && f.alarm_frame > 300 && f.alarm_frame < 360);
  CHECK(c.settings.hypotheses[f.hypothesis].part == 1 && c.settings.hypotheses[f.hypothesis].index[0] == 4 &&
        !f.undecided);
  CHECK(fabs(f.size[0] - 5 * DEGREE) < 0.3 * DEGREE && f.evidence > f.against);
  uint64_t when = f.alarm_frame;
  bend(&c.world, 0, 0);
  CHECK(watch(c.inspector, &c.world, 100).alarm_frame == when);
  bend(&c.world, 4 * MOVING, 4); /* a camera */
  f = watch(c.inspector, &c.world, 60);
  CHECK(f.alarm == EK_CLASS_BODY && f.alarm_frame == when);
  ek_inspector_reset(c.inspector);
  f = watch(c.inspector, &c.world, 30);
  CHECK(f.alarm == EK_CLASS_CAMERA && f.alarm_frame <= 30 &&
        c.settings.hypotheses[f.hypothesis].kind == EK_CLASS_CAMERA);
  bend(&c.world, 0, 0);
  ek_inspector_reset(c.inspector);
  CHECK(!watch(c.inspector, &c.world, 300).alarm);
  ek_inspector_reset(NULL);
  close_scene(&c);
}

static void test_what_is_accepted_is_healthy(void) {
  scene c;
  open_scene(&c);
  ek_changed_body changed = {.sizes = {[4] = 8 * DEGREE, [7] = -0.1}, .worse = 1};
  CHECK(!ek_body_deviate(c.world.body, changed.sizes));
  CHECK(watch(c.inspector, &c.world, 60).alarm == EK_CLASS_BODY);
  CHECK(!ek_inspector_accept(c.inspector, &changed));
  ek_finding f = watch(c.inspector, &c.world, 300);
  CHECK(!f.alarm && f.evidence < 10 && f.frames == 300);
  const double wrong[] = {NAN, 0.81, -0.81};
  for (int k = 0; k < 3; k++) {
    changed.sizes[0] = wrong[k];
    CHECK(ek_inspector_accept(c.inspector, &changed) == EK_E_RANGE);
  }
  const double worse[] = {0, NAN, 101};
  for (int k = 0; k < 3; k++) {
    changed = (ek_changed_body){.worse = worse[k]};
    CHECK(ek_inspector_accept(c.inspector, &changed) == EK_E_RANGE);
  }
  const int32_t absent[] = {-1, LINKS};
  for (int k = 0; k < 2; k++) {
    changed = (ek_changed_body){.worse = 1, .lost = absent[k]};
    CHECK(ek_inspector_accept(c.inspector, &changed) == EK_E_RANGE);
  }
  CHECK(!watch(c.inspector, &c.world, 60).alarm); /* what was accepted before stands */
  bend(&c.world, 0, 0);
  CHECK(watch(c.inspector, &c.world, 60).alarm == EK_CLASS_BODY); /* the model is a deviation now */
  CHECK(!ek_inspector_accept(c.inspector, NULL) && !watch(c.inspector, &c.world, 300).alarm);
  CHECK(ek_inspector_accept(NULL, NULL) == EK_E_ARGUMENT);
  close_scene(&c);
}

static void test_the_body_comes_back(void) {
  static float before[PIXELS], after[PIXELS];
  arm a = make_arm();
  settings s;
  make_settings(&s);
  ek_body *b = open_arm(&a);
  world w = make_world(&a, &s);
  see(b, w.q, before);
  ek_inspector *i = inspect(b, &s);
  bend(&w, 4, 20);
  watch(i, &w, 30);
  CHECK(!is_model(b));
  ek_inspector_destroy(i);
  memset(w.q, 0, sizeof w.q);
  see(b, w.q, after);
  CHECK(is_model(b) && !memcmp(before, after, sizeof before));
  ek_body_destroy(w.body), ek_body_destroy(b);
}

/* What an inspector saw last; a repeated picture says nothing new, whatever the joints say. */
static void test_looks(void) {
  static double information[DEVIATIONS * DEVIATIONS], again[DEVIATIONS * DEVIATIONS];
  double score[DEVIATIONS], sizes[DEVIATIONS];
  scene c;
  open_scene(&c);
  CHECK(!ek_inspector_look(c.inspector, information, score, sizes) && information[0] == 0 && sizes[0] == 0);
  CHECK(ek_inspector_look(c.inspector, NULL, score, sizes) == EK_E_ARGUMENT);
  bend(&c.world, 4, 5);
  double evidence = watch(c.inspector, &c.world, 3).evidence;
  CHECK(!ek_inspector_look(c.inspector, information, score, sizes));
  CHECK(fabs(sizes[4] - 5 * DEGREE) < 2 * DEGREE);
  for (int k = 0; k < DEVIATIONS; k++)
    CHECK(information[k * DEVIATIONS + k] > 0);
  ek_finding f;
  c.world.q[0] += 0.1f;
  CHECK(!ek_inspector_update(c.inspector, c.world.q, c.world.q, c.world.mask, &f) && f.frames == 4 &&
        f.evidence == evidence);
  CHECK(!ek_inspector_look(c.inspector, again, score, sizes) && !memcmp(information, again, sizeof again));
  close_scene(&c);
}

int main(void) {
  test_gauss();
  test_gauss_refuses();
  test_settings_that_cannot_be();
  test_frames_that_cannot_be();
  test_an_alarm_stands_until_it_is_reset();
  test_what_is_accepted_is_healthy();
  test_the_body_comes_back();
  test_looks();
  return 0;
}
