/* test_deviate.c - a body that differs from its model: drawn as one that is built so, asked with the slopes that finite
 * differences have, and no bit changed where nothing deviates. */
#include "arm.h"
#include "core/joints.h"
#include "core/pose.h"
#include "core/status.h"
#include "splat/deviate.h"

#define FLOOR 0.1

static const float Q[COORDINATES] = {0.5f, 0.7f, 0.04f};

#define DIAGONAL 0.57735026918962584

/* Every kind, turns twice, links before and behind the fixed and the sliding one. */
static const ek_deviation ALL[] = {
    {EK_DEVIATION_TURN, 1, {0, 0, 1}},         {EK_DEVIATION_TURN, 2, {0, 1, 0}},
    {EK_DEVIATION_TURN, 2, {0.6, 0.8, 0}},     {EK_DEVIATION_STRETCH, 1, {0, 0, 1}},
    {EK_DEVIATION_STRETCH, 2, {0, 0.6, 0.8}},  {EK_DEVIATION_TURN, 3, {1, 0, 0}},
    {EK_DEVIATION_TURN, 4, {0, 1, 0}},         {EK_DEVIATION_STRETCH, 4, {0, 0, 1}},
    {EK_DEVIATION_CAMERA_TURN, 0, {1, 0, 0}},  {EK_DEVIATION_CAMERA_SHIFT, 0, {0, 0, 1}},
    {EK_DEVIATION_CAMERA_TURN, 1, {0, 0, 1}},  {EK_DEVIATION_CAMERA_TURN, 0, {0, 1, 0}},
    {EK_DEVIATION_CAMERA_SHIFT, 1, {1, 0, 0}}, {EK_DEVIATION_CAMERA_TURN, 1, {DIAGONAL, DIAGONAL, DIAGONAL}},
};
enum { COUNT = sizeof ALL / sizeof *ALL };

/* Some deviation in all of them: centimetres and degrees. */
static void some_sizes(double *sizes) {
  for (int i = 0; i < COUNT; i++)
    sizes[i] = (ALL[i].kind == EK_DEVIATION_CAMERA_SHIFT ? 0.02 : 0.1) * unit();
}

static double farthest(const float *a, const float *b) {
  double far = 0;
  for (int i = 0; i < PIXELS; i++)
    far = fmax(far, fabs((double)a[i] - (double)b[i]));
  return far;
}

static void test_lists_that_cannot_be(void) {
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  const struct {
    ek_deviation d;
    int status;
  } wrong[] = {
      {{-1, 1, {0, 0, 1}}, EK_E_ARGUMENT},
      {{4, 1, {0, 0, 1}}, EK_E_ARGUMENT},
      {{EK_DEVIATION_TURN, 0, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_TURN, -1, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_TURN, LINKS, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_STRETCH, LINKS, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_CAMERA_TURN, VIEWS, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_CAMERA_SHIFT, -1, {0, 0, 1}}, EK_E_RANGE},
      {{EK_DEVIATION_TURN, 1, {0, 0, 1.01}}, EK_E_ARGUMENT},
      {{EK_DEVIATION_TURN, 1, {0, 0, 0}}, EK_E_ARGUMENT},
      {{EK_DEVIATION_CAMERA_SHIFT, 1, {0, NAN, 1}}, EK_E_ARGUMENT},
      {{EK_DEVIATION_STRETCH, 2, {1, 0, 0}}, EK_E_ARGUMENT}, /* the second of link 2 */
  };
  double sizes[COUNT];
  CHECK(ek_body_deviate(b, sizes) == EK_E_ARGUMENT); /* none are declared */
  CHECK(!ek_body_deviations(b, ALL, COUNT));
  some_sizes(sizes);
  float before[PIXELS], after[PIXELS];
  CHECK(!ek_body_deviate(b, sizes));
  see(b, Q, before);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const ek_deviation list[3] = {ALL[0], ALL[4], wrong[i].d};
    CHECK(ek_body_deviations(b, list, 3) == wrong[i].status);
  }
  ek_deviation many[EK_MAX_DEVIATIONS + 1];
  for (int i = 0; i <= EK_MAX_DEVIATIONS; i++)
    many[i] = ALL[0];
  CHECK(ek_body_deviations(b, many, EK_MAX_DEVIATIONS + 1) == EK_E_ARGUMENT);
  CHECK(ek_body_deviations(b, many, -1) == EK_E_ARGUMENT && ek_body_deviations(b, NULL, 1) == EK_E_ARGUMENT);
  CHECK(ek_body_deviations(NULL, ALL, 1) == EK_E_ARGUMENT);
  see(b, Q, after); /* refusals leave what was declared as it was */
  CHECK(!memcmp(before, after, sizeof before));
  CHECK(!ek_body_deviations(b, many, EK_MAX_DEVIATIONS));
  ek_body_destroy(b);
}

static void test_numbers_out_of_range(void) {
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  uint8_t mask[MASK] = {0};
  double sizes[COUNT] = {0}, edge[LINKS] = {0}, information[COUNT * COUNT], score[COUNT];
  CHECK(ek_body_soften(b, edge) == EK_E_ARGUMENT);
  CHECK(ek_body_inform(b, mask, FLOOR, information, score) == EK_E_ARGUMENT);
  CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_run(b, Q));
  const double wrong[] = {3, -3, NAN, INFINITY};
  for (size_t i = 0; i < 4; i++) {
    sizes[0] = wrong[i];
    CHECK(ek_body_deviate(b, sizes) == EK_E_RANGE);
  }
  sizes[0] = 2.99, sizes[3] = 0.9;
  CHECK(ek_body_deviate(b, sizes) == EK_E_RANGE);
  sizes[3] = -0.89;
  CHECK(!ek_body_deviate(b, sizes) && ek_body_deviate(b, NULL) == EK_E_ARGUMENT);
  const double blur[] = {-0.1, 100.1, NAN};
  for (size_t i = 0; i < 3; i++) {
    edge[LINKS - 1] = blur[i];
    CHECK(ek_body_soften(b, edge) == EK_E_RANGE);
  }
  const double floors[] = {0, -1, 1e3, NAN};
  for (size_t i = 0; i < 4; i++)
    CHECK(ek_body_inform(b, mask, floors[i], information, score) == EK_E_ARGUMENT);
  CHECK(ek_body_inform(b, NULL, FLOOR, information, score) == EK_E_ARGUMENT);
  CHECK(ek_body_hide(b, LINKS) == EK_E_ARGUMENT && ek_body_hide(NULL, 1) == EK_E_ARGUMENT);
  ek_body_destroy(b);
}

/* Sizes of 0, softness and what was asked change no bit of the picture; and the model's derivatives come back. */
static void test_nothing_deviates(void) {
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  static float plain[PIXELS], deviated[PIXELS], before[PARAMETERS], after[PARAMETERS];
  uint8_t mask[MASK];
  const ek_body_loss loss = {1, 1, 0};
  const double edge[LINKS] = {1, 2, 3, 0, 5};
  double value, information[COUNT * COUNT], score[COUNT];
  see(b, Q, plain);
  mask_of(plain, 0.02, mask);
  CHECK(!ek_body_learn(b, Q, mask, 1, &loss, &value, before));
  CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_soften(b, edge));
  for (int i = 0; i < 3; i++) {
    see(b, Q, deviated);
    CHECK(!memcmp(plain, deviated, sizeof plain));
    CHECK(!ek_body_inform(b, mask, FLOOR, information, score));
  }
  CHECK(ek_body_backward(b, after, NULL) == EK_E_ARGUMENT);
  CHECK(ek_body_learn(b, Q, mask, 1, &loss, &value, after) == EK_E_ARGUMENT);
  CHECK(!ek_body_deviations(b, NULL, 0));
  CHECK(!ek_body_learn(b, Q, mask, 1, &loss, &value, after));
  CHECK(!memcmp(before, after, sizeof before));
  ek_body_destroy(b);
}

/* ---- a deviated body is one that is built so */

/* No corrections, and ellipsoids along the axes of their links: such an arm is easily built otherwise. */
static arm plain_arm(void) {
  rnd_state = 77; /* the same whenever it is made */
  arm a = make_arm();
  for (int i = EK_ELLIPSOID_FLOATS * N; i < PARAMETERS; i++)
    a.parameters[i] = 0;
  for (int i = 0; i < N; i++)
    for (int k = 6; k < 10; k++)
      a.parameters[EK_ELLIPSOID_FLOATS * i + k] = k == 6;
  return a;
}

static void turned(const double *axis, double angle, double *out) {
  ek_joint about = {.kind = EK_JOINT_REVOLUTE};
  memcpy(about.axis, axis, sizeof about.axis);
  ek_joint_motion(&about, angle, out);
}

static void precede(const double *change, double *pose) {
  ek_pose all;
  ek_pose_compose(change, pose, all);
  memcpy(pose, all, sizeof all);
}

/* Turns the ellipsoids of a link, and the joint that it carries. */
static void turn_link(arm *a, int link, const double *axis, double angle) {
  ek_pose change;
  turned(axis, angle, change);
  precede(change, a->joints[link].origin);
  for (int i = link * PER_LINK; i < (link + 1) * PER_LINK; i++) {
    float *e = a->parameters + EK_ELLIPSOID_FLOATS * i, at[3] = {e[0], e[1], e[2]};
    e[6] = (float)cos(angle / 2);
    for (int r = 0; r < 3; r++) {
      e[r] = (float)(change[4 * r] * at[0] + change[4 * r + 1] * at[1] + change[4 * r + 2] * at[2]);
      e[7 + r] = (float)(sin(angle / 2) * axis[r]);
    }
  }
}

/* Whether the deviations of an arm draw the same as another arm does. */
static void check_same(const ek_deviation *list, int n, const double *sizes, const arm *built, const float *q) {
  static float expected[PIXELS], found[PIXELS], before[PIXELS];
  arm a = plain_arm();
  ek_body *model = open_arm(&a), *other = open_arm(built);
  see(other, q, expected);
  see(model, Q, before);
  CHECK(!ek_body_deviations(model, list, n) && !ek_body_deviate(model, sizes));
  see(model, Q, found);
  CHECK(farthest(before, found) > 0.3);
  CHECK(farthest(expected, found) < 1e-3);
  ek_body_destroy(model), ek_body_destroy(other);
}

static void test_turns_and_stretches(void) {
  const ek_deviation turns[2] = {ALL[1], ALL[2]}, stretch = {EK_DEVIATION_STRETCH, 1, {0, 0, 1}};
  const double sizes[2] = {0.2, -0.3}, longer = 0.25;
  arm a = plain_arm();
  turn_link(&a, 2, turns[1].axis, sizes[1]);
  const float q[COORDINATES] = {Q[0], Q[1] + (float)sizes[0], Q[2]}; /* the first turn is the joint's own */
  check_same(turns, 2, sizes, &a, q);
  a = plain_arm();
  a.joints[1].origin[11] *= 1 + longer;
  for (int i = PER_LINK; i < 2 * PER_LINK; i++) {
    a.parameters[EK_ELLIPSOID_FLOATS * i + 2] *= (float)(1 + longer);
    a.parameters[EK_ELLIPSOID_FLOATS * i + 5] += (float)log1p(longer);
  }
  check_same(&stretch, 1, &longer, &a, Q);
}

static void test_cameras_that_move(void) {
  const ek_deviation list[3] = {ALL[8], {EK_DEVIATION_CAMERA_SHIFT, 0, {0.6, 0.8, 0}}, ALL[11]};
  const double sizes[3] = {0.1, 0.05, -0.15};
  ek_pose first, last, shift = {1, 0, 0, 0.05 * 0.6, 0, 1, 0, 0.05 * 0.8, 0, 0, 1, 0};
  arm a = plain_arm();
  turned(list[0].axis, sizes[0], first), turned(list[2].axis, sizes[2], last);
  precede(last, a.cameras[0].world_to_cam);
  precede(shift, a.cameras[0].world_to_cam);
  precede(first, a.cameras[0].world_to_cam);
  check_same(list, 3, sizes, &a, Q);
}

/* ---- what pictures say */

static double small_step(const ek_deviation *d) {
  return d->kind == EK_DEVIATION_CAMERA_TURN || d->kind == EK_DEVIATION_CAMERA_SHIFT ? 1e-5 : 1e-4;
}

/* The probabilities of the soft picture where edge_px says so: the body's own memory has it after it was asked. */
static void picture_of(ek_body *b, const double *sizes, int soft, float *out) {
  static double information[COUNT * COUNT], score[COUNT];
  static const uint8_t mask[MASK];
  CHECK(!ek_body_deviate(b, sizes));
  see(b, Q, out);
  if (!soft)
    return;
  CHECK(!ek_body_inform(b, mask, FLOOR, information, score));
  for (int row = 0; row < VIEWS * HEIGHT; row++)
    for (int x = 0; x < WIDTH; x++)
      out[row * WIDTH + x] = 1 - b->deviator->light[row * b->stride + x];
}

/* Central differences (COUNT, PIXELS) of a picture that is smooth in the sizes. */
static void differences(ek_body *b, const double *sizes, int soft, float *slopes) {
  static float up[PIXELS], down[PIXELS];
  double at[COUNT];
  for (int i = 0; i < COUNT; i++) {
    double step = small_step(&ALL[i]);
    memcpy(at, sizes, sizeof at);
    at[i] = sizes[i] + step;
    picture_of(b, at, soft, up);
    at[i] = sizes[i] - step;
    picture_of(b, at, soft, down);
    for (int p = 0; p < PIXELS; p++)
      slopes[i * PIXELS + p] = (float)(((double)up[p] - (double)down[p]) / (2 * step));
  }
}

/* The same by the formula: J' w J and J' w (mask - p). rest: the root of r' w r. */
static void expect(const float *slopes, const float *soft, const float *sharp, const uint8_t *mask, double *information,
                   double *score, double *rest) {
  memset(information, 0, sizeof *information * COUNT * COUNT), memset(score, 0, sizeof *score * COUNT), *rest = 0;
  for (int p = 0; p < PIXELS; p++) {
    double s = soft[p], w = 1 / (s * (1 - s) + FLOOR), r = bit(mask, p) - (double)sharp[p];
    *rest += w * r * r;
    for (int i = 0; i < COUNT; i++) {
      double j = slopes[i * PIXELS + p];
      score[i] += j * w * r;
      for (int k = 0; k < COUNT; k++)
        information[i * COUNT + k] += j * w * (double)slopes[k * PIXELS + p];
    }
  }
  *rest = sqrt(*rest);
}

/* To a share of what the deviations of a pair have together. */
static void check_slopes(double edge_px, int deviated, double share) {
  static float slopes[COUNT * PIXELS], soft[PIXELS], sharp[PIXELS];
  double want[COUNT * COUNT], want_score[COUNT], found[COUNT * COUNT], score[COUNT], sizes[COUNT] = {0}, rest;
  double edge[LINKS];
  uint8_t mask[MASK];
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  for (int i = 0; i < LINKS; i++)
    edge[i] = edge_px;
  if (deviated)
    some_sizes(sizes);
  CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_soften(b, edge));
  differences(b, sizes, 1, slopes);
  picture_of(b, sizes, 1, soft);
  picture_of(b, sizes, 0, sharp);
  mask_of(sharp, 0.05, mask);
  CHECK(!ek_body_inform(b, mask, FLOOR, found, score));
  expect(slopes, soft, sharp, mask, want, want_score, &rest);
  for (int i = 0; i < COUNT; i++) {
    double own = sqrt(want[i * COUNT + i]);
    CHECK(own > 1);
    CHECK(fabs(score[i] - want_score[i]) < share * own * rest);
    for (int k = 0; k < COUNT; k++) {
      CHECK(fabs(found[i * COUNT + k] - want[i * COUNT + k]) < share * own * sqrt(want[k * COUNT + k]));
      CHECK(found[i * COUNT + k] == found[k * COUNT + i]);
    }
  }
  CHECK(edge_px > 0 ? farthest(soft, sharp) > 0.05 : !memcmp(soft, sharp, sizeof soft));
  ek_body_destroy(b);
}

/* Pixels that answer little are left out; and that a soft edge, so many pixels wide, is a smaller share of an outline
 * that grows is not in the slopes. */
static void test_slopes(void) {
  check_slopes(0, 0, 0.01);
  check_slopes(0, 1, 0.01);
  check_slopes(1.5, 1, 0.04);
}

static void test_instruction_sets_agree(void) {
  static float pictures[2][PIXELS];
  static double information[2][COUNT * COUNT], score[2][COUNT];
  const double edge[LINKS] = {1, 1, 0, 2, 1};
  const int isa[2] = {EK_ISA_SCALAR, ek_isa_best()};
  double sizes[COUNT];
  uint8_t mask[MASK];
  for (int round = 0; round < 5; round++) {
    float q[COORDINATES] = {(float)(2 * unit()), (float)unit(), (float)(0.05 * unit())};
    some_sizes(sizes);
    for (int i = 0; i < 2; i++) {
      rnd_state = 77; /* of the arm's ellipsoids */
      arm a = make_arm();
      a.isa = isa[i];
      ek_body *b = open_arm(&a);
      CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_soften(b, edge) && !ek_body_deviate(b, sizes));
      see(b, q, pictures[i]);
      if (!i)
        mask_of(pictures[i], 0.1, mask);
      CHECK(!ek_body_inform(b, mask, FLOOR, information[i], score[i]));
      ek_body_destroy(b);
    }
    CHECK(!memcmp(pictures[0], pictures[1], sizeof *pictures));
    CHECK(!memcmp(information[0], information[1], sizeof *information) && !memcmp(score[0], score[1], sizeof *score));
    rnd_state = 1000 + (uint64_t)round;
  }
}

/* Of a camera only its own pictures say anything, of a link all; and the pictures of all views add. */
static void test_views_add(void) {
  static float picture[PIXELS];
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  uint8_t mask[MASK];
  double information[COUNT * COUNT], score[COUNT], other[COUNT * COUNT], other_score[COUNT];
  CHECK(!ek_body_deviations(b, ALL, COUNT));
  see(b, Q, picture);
  mask_of(picture, 0.05, mask);
  CHECK(!ek_body_inform(b, mask, FLOOR, information, score));
  for (int i = 0; i < COUNT; i++)
    for (int k = 0; k < COUNT; k++)
      if (ALL[i].kind >= EK_DEVIATION_CAMERA_TURN && ALL[k].kind >= EK_DEVIATION_CAMERA_TURN && ALL[i].of != ALL[k].of)
        CHECK(information[i * COUNT + k] == 0);
  for (int i = HEIGHT * ROW; i < MASK; i++)
    mask[i] ^= 0x5a; /* of the second camera alone */
  CHECK(!ek_body_inform(b, mask, FLOOR, other, other_score));
  CHECK(!memcmp(information, other, sizeof other)); /* masks change scores alone */
  for (int i = 0; i < COUNT; i++)
    CHECK((score[i] != other_score[i]) != (ALL[i].kind >= EK_DEVIATION_CAMERA_TURN && ALL[i].of == 0));
  ek_body_destroy(b);
}

/* Without a link and all beyond: as a body that never had their ellipsoids. */
static void test_hidden_links(void) {
  static float whole[PIXELS], found[PIXELS], expected[PIXELS];
  for (int link = 1; link < LINKS; link++) {
    arm a = make_arm(), less = a;
    less.n = link * PER_LINK;
    ek_body *b = open_arm(&a), *without = open_arm(&less);
    see(b, Q, whole);
    CHECK(!ek_body_hide(b, link));
    see(b, Q, found), see(without, Q, expected);
    CHECK(!memcmp(found, expected, sizeof found) && farthest(whole, found) > 0.5);
    CHECK(!ek_body_hide(b, -1));
    see(b, Q, found);
    CHECK(!memcmp(found, whole, sizeof found));
    ek_body_destroy(b), ek_body_destroy(without);
  }
}

/* Whatever the parameters, sizes and edges are, what comes out are numbers, and nothing is read or written astray. */
static void test_wild_bodies(void) {
  for (int round = 0; round < 200; round++) {
    arm a = make_arm();
    for (int i = 0; i < EK_ELLIPSOID_FLOATS * N; i++)
      a.parameters[i] += (float)((round % 3 ? 0.3 : 6) * unit() * unit() * unit());
    ek_body *b = open_arm(&a);
    double sizes[COUNT], edge[LINKS], information[COUNT * COUNT], score[COUNT];
    const float q[COORDINATES] = {(float)(3 * unit()), (float)(3 * unit()), (float)unit()};
    uint8_t mask[MASK];
    for (int i = 0; i < COUNT; i++)
      sizes[i] = (ALL[i].kind == EK_DEVIATION_STRETCH ? 0.89 : 2.9) * unit() * unit();
    for (int i = 0; i < LINKS; i++)
      edge[i] = round % 2 ? 0 : 50 + 50 * unit();
    for (int i = 0; i < MASK; i++)
      mask[i] = (uint8_t)rnd();
    CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_soften(b, edge) && !ek_body_deviate(b, sizes));
    CHECK(!ek_body_hide(b, (int)(rnd() % (LINKS + 2)) - 2) && !ek_body_run(b, q));
    CHECK(!ek_body_inform(b, mask, 1e-3, information, score));
    for (int i = 0; i < COUNT; i++) {
      CHECK(isfinite(score[i]) && information[i * COUNT + i] >= 0);
      for (int k = 0; k < COUNT; k++)
        CHECK(isfinite(information[i * COUNT + k]));
    }
    ek_body_destroy(b);
  }
}

/* Before a pose was drawn there is nothing to ask about. */
static void test_no_picture_yet(void) {
  arm a = make_arm();
  ek_body *b = open_arm(&a);
  uint8_t mask[MASK] = {0};
  double information[COUNT * COUNT], score[COUNT];
  CHECK(!ek_body_deviations(b, ALL, COUNT) && !ek_body_inform(b, mask, FLOOR, information, score));
  for (int i = 0; i < COUNT * COUNT; i++)
    CHECK(information[i] == 0 && score[i % COUNT] == 0);
  ek_body_destroy(b);
}

int main(void) {
  test_lists_that_cannot_be();
  test_numbers_out_of_range();
  test_nothing_deviates();
  test_turns_and_stretches();
  test_cameras_that_move();
  test_slopes();
  test_instruction_sets_agree();
  test_views_add();
  test_hidden_links();
  test_wild_bodies();
  test_no_picture_yet();
  return 0;
}
