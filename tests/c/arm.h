/* arm.h - an arm of ellipsoids for the C tests: a turret, a bent arm with a fixed link in it and a slide at its end,
 * seen by two cameras in pictures whose width is no multiple of eight. */
#ifndef EK_TESTS_ARM_H
#define EK_TESTS_ARM_H
#include "check.h"
#include "edgekin.h"
#include <math.h>
#include <string.h>

enum {
  LINKS = 5,
  JOINTS = LINKS - 1,
  COORDINATES = 3,
  VIEWS = 2,
  PER_LINK = 4,
  N = LINKS * PER_LINK,
  WIDTH = 61,
  HEIGHT = 46,
  ROW = 8,
  PIXELS = VIEWS * HEIGHT * WIDTH,
  MASK = VIEWS * HEIGHT * ROW,
  PARAMETERS = EK_ELLIPSOID_FLOATS * N + EK_CORRECTION_FLOATS * JOINTS + EK_CAMERA_FLOATS * VIEWS
};

static uint64_t rnd_state = 88172645463325252u;
static inline uint32_t rnd(void) { /* xorshift64* */
  rnd_state ^= rnd_state >> 12, rnd_state ^= rnd_state << 25, rnd_state ^= rnd_state >> 27;
  return (uint32_t)((rnd_state * UINT64_C(2685821657736338717)) >> 32);
}
static inline double unit(void) { /* [-1, 1) */
  return rnd() / 2147483648.0 - 1;
}

/* Everything that an arm is made of; a test may change it before it opens a body. */
typedef struct {
  ek_joint joints[JOINTS];
  ek_camera cameras[VIEWS];
  int32_t owner[N];
  float parameters[PARAMETERS];
  int n; /* ellipsoids */
  int isa;
} arm;

static const double LENGTH[LINKS] = {0.1, 0.15, 0.18, 0.12, 0.1}; /* of the links, along z, m */

static inline void place_ellipsoids(arm *a) {
  for (int i = 0; i < N; i++) {
    float *e = a->parameters + EK_ELLIPSOID_FLOATS * i;
    int link = i / PER_LINK;
    double along = (i % PER_LINK + 0.5) / PER_LINK;
    a->owner[i] = link;
    e[0] = (float)(0.015 * unit()), e[1] = (float)(0.015 * unit()), e[2] = (float)(along * LENGTH[link]);
    e[3] = (float)log(0.035), e[4] = (float)log(0.025), e[5] = (float)log(0.2 * LENGTH[link] + 0.015);
    e[6] = 1, e[7] = (float)(0.1 * unit()), e[8] = (float)(0.1 * unit()), e[9] = (float)unit();
    e[10] = 1.5f, e[11] = (float)(3 + unit());
  }
  for (int i = EK_ELLIPSOID_FLOATS * N; i < PARAMETERS; i++)
    a->parameters[i] = (float)(0.01 * unit()); /* corrections of joints and cameras */
}

static inline arm make_arm(void) {
  static const int kind[JOINTS] = {EK_JOINT_REVOLUTE, EK_JOINT_REVOLUTE, EK_JOINT_FIXED, EK_JOINT_PRISMATIC};
  static const int coordinate[JOINTS] = {0, 1, -1, 2};
  static const double axis[JOINTS][3] = {{0, 0, 1}, {0, 1, 0}, {1, 0, 0}, {0.6, 0, 0.8}};
  arm a = {.n = N, .isa = EK_ISA_AUTO};
  for (int j = 0; j < JOINTS; j++) {
    a.joints[j] = (ek_joint){.kind = kind[j], .parent = j, .child = j + 1, .coordinate = coordinate[j]};
    memcpy(a.joints[j].axis, axis[j], sizeof axis[j]);
    double lean = j == 2 ? 0.5 : 0, *o = a.joints[j].origin;
    o[0] = cos(lean), o[2] = sin(lean), o[5] = 1, o[8] = -sin(lean), o[10] = cos(lean), o[11] = LENGTH[j];
  }
  static const double seen[VIEWS][12] = {{0, 1, 0, 0, 0, 0, -1, 0.3, -1, 0, 0, 1.1},
                                         {-1, 0, 0, 0, 0, 0, -1, 0.3, 0, -1, 0, 1.1}};
  for (int v = 0; v < VIEWS; v++) {
    a.cameras[v] = (ek_camera){WIDTH, HEIGHT, 55, 54, 30.5 + v, 24, 0.01, {0}};
    memcpy(a.cameras[v].world_to_cam, seen[v], sizeof seen[v]);
  }
  place_ellipsoids(&a);
  return a;
}

static inline ek_body *open_arm(const arm *a) {
  const ek_body_layout layout = {.n_joints = JOINTS,
                                 .n_links = LINKS,
                                 .n_q = COORDINATES,
                                 .n_views = VIEWS,
                                 .n_ellipsoids = a->n,
                                 .joints = a->joints,
                                 .base = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0},
                                 .cameras = a->cameras,
                                 .link_of_ellipsoid = a->owner,
                                 .isa = a->isa,
                                 .low_pass_px2 = 0.15,
                                 .empty = 1e-3};
  int status;
  ek_body *b = ek_body_create(&layout, &status);
  float p[PARAMETERS]; /* without the ellipsoids behind the last that is there */
  size_t head = (size_t)EK_ELLIPSOID_FLOATS * (size_t)a->n, tail = PARAMETERS - EK_ELLIPSOID_FLOATS * N;
  memcpy(p, a->parameters, sizeof *p * head);
  memcpy(p + head, a->parameters + EK_ELLIPSOID_FLOATS * N, sizeof *p * tail);
  CHECK(b && ek_body_n_parameters(b) == (int64_t)(head + tail) && !ek_body_set(b, p));
  return b;
}

/* Probabilities (PIXELS) at a pose. */
static inline void see(ek_body *b, const float *q, float *probability) {
  CHECK(!ek_body_predict(b, q, 1, probability));
}

/* The mask (MASK) of what is more likely on than not, of which a share flips. */
static inline void mask_of(const float *probability, double flips, uint8_t *mask) {
  memset(mask, 0, MASK);
  for (int row = 0; row < VIEWS * HEIGHT; row++)
    for (int x = 0; x < WIDTH; x++)
      if ((probability[row * WIDTH + x] > 0.5f) != (fabs(unit()) < flips))
        mask[row * ROW + x / 8] |= (uint8_t)(0x80 >> x % 8);
}

static inline int bit(const uint8_t *mask, int pixel) {
  return mask[pixel / WIDTH * ROW + pixel % WIDTH / 8] >> (7 - pixel % WIDTH % 8) & 1;
}

#endif
