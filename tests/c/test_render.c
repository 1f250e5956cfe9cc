/* test_render.c - the renderer from C: known pictures, both conventions, the near plane, hostile arguments. */
#define _GNU_SOURCE
#include "check.h"
#include "edgekin.h"
#include "core/status.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One metre in front of the camera a metre is 10 px; the picture is 16 x 8 px. */
static ek_camera camera_of(int width, int height) {
  ek_camera camera = {width, height, 10, 10, width / 2.0, height / 2.0, 0.01, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}};
  return camera;
}

static const double IDENTITY[12] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};

/* A square of 4 x 2 px, corners at pixel corners: x 6..10, y 3..5 of 16 x 8; seen by the camera from its front. */
static ek_scene *square(void) {
  float v[12] = {-0.2f, -0.1f, 1, 0.2f, -0.1f, 1, 0.2f, 0.1f, 1, -0.2f, 0.1f, 1};
  int32_t t[6] = {0, 2, 1, 0, 3, 2}, link[2] = {0, 0};
  int status;
  ek_scene *scene = ek_scene_create(v, 4, t, link, 2, 1, &status);
  CHECK(scene && status == EK_OK);
  return scene;
}

static int count_bits(const uint8_t *mask, int n) {
  int bits = 0;
  for (int i = 0; i < n; i++)
    bits += __builtin_popcount(mask[i]);
  return bits;
}

static void pixel_centres_inside_are_set(void) {
  ek_scene *scene = square();
  ek_camera camera = camera_of(16, 8);
  uint8_t mask[16];
  CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_CENTER, IDENTITY, mask) == EK_OK);
  for (int y = 0; y < 8; y++) {
    int inside = y == 3 || y == 4;
    CHECK(mask[2 * y] == (inside ? 0x03 : 0) && mask[2 * y + 1] == (inside ? 0xc0 : 0));
  }
  float depth[128];
  CHECK(ek_render_depth(scene, &camera, EK_CONVENTION_CENTER, IDENTITY, depth) == EK_OK);
  CHECK(fabsf(depth[3 * 16 + 7] - 1.0f) < 1e-6f && isinf(depth[0]));
  ek_scene_destroy(scene);
}

/* A square of 4 x 2 px has 8 pixels at its outline inside and 12 beside it. */
static void noise_flips_outlines_or_anything(void) {
  uint8_t clean[16] = {0, 0, 0, 0, 0, 0, 0x03, 0xc0, 0x03, 0xc0}, mask[32], again[16];
  memcpy(mask, clean, 16);
  CHECK(ek_mask_noise(mask, 1, 16, 8, 0, 0, 1, 0) == EK_OK && memcmp(mask, clean, 16) == 0);
  CHECK(ek_mask_noise(mask, 1, 16, 8, 1, 0, 1, 0) == EK_OK);
  for (int i = 0; i < 16; i++)
    mask[i] ^= clean[i];
  CHECK(count_bits(mask, 16) == 20 && mask[4] == 0x03 && mask[6] == 0x07 && mask[7] == 0xe0);
  memcpy(mask, clean, 16);
  CHECK(ek_mask_noise(mask, 1, 13, 8, 0, 1, 1, 0) == EK_OK); /* what lies beyond the width stays */
  CHECK(mask[0] == 0xff && mask[1] == 0xf8 && mask[6] == 0xfc && mask[7] == 0x38);
  memset(mask, 0, 32);
  memset(again, 0, 16);
  CHECK(ek_mask_noise(mask, 2, 16, 8, 0, 0.3, 9, 4) == EK_OK && ek_mask_noise(again, 1, 16, 8, 0, 0.3, 9, 5) == EK_OK);
  CHECK(memcmp(mask + 16, again, 16) == 0 && memcmp(mask, again, 16) != 0); /* each mask has a stream of its own */
  CHECK(ek_mask_noise(mask, 1, 16, 8, 1.5, 0, 1, 0) == EK_E_RANGE && ek_mask_noise(mask, 1, 0, 8, 0, 0, 1, 0) < 0);
  CHECK(ek_mask_noise(NULL, 1, 16, 8, 0, 0, 1, 0) == EK_E_ARGUMENT && ek_mask_noise(mask, 1, 16, 8, NAN, 0, 1, 0) < 0);
}

static void tinyrenderer_samples_corners_and_shows_fronts_only(void) {
  ek_scene *scene = square();
  ek_camera camera = camera_of(16, 8);
  camera.cx += 0.25; /* off the corners, so that no sample lies on an edge */
  camera.cy += 0.25;
  uint8_t mask[16];
  CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_TINYRENDERER, IDENTITY, mask) == EK_OK);
  /* x 6.25..10.25 holds the corners 7..10; y 3.25..5.25 the lower corners 4 and 5, of the rows 3 and 4. */
  CHECK(mask[6] == 0x01 && mask[7] == 0xe0 && mask[8] == 0x01 && mask[9] == 0xe0 && count_bits(mask, 16) == 8);
  double behind[12] = {-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 2};
  CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_TINYRENDERER, behind, mask) == EK_OK);
  CHECK(count_bits(mask, 16) == 0);
  CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_CENTER, behind, mask) == EK_OK);
  CHECK(count_bits(mask, 16) == 8);
  ek_scene_destroy(scene);
}

static void the_near_plane_cuts_what_reaches_behind_the_camera(void) {
  float v[9] = {0, 0.5f, -1, 0.05f, 0.5f, 4, -0.05f, 0.5f, 4}; /* a strip below the camera, from behind it forwards */
  int32_t t[3] = {0, 1, 2}, link[1] = {0};
  ek_scene *scene = ek_scene_create(v, 3, t, link, 1, 1, NULL);
  ek_camera camera = camera_of(64, 64);
  uint8_t mask[512];
  float depth[4096];
  CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_CENTER, IDENTITY, mask) == EK_OK);
  CHECK(mask[63 * 8 + 3] | mask[63 * 8 + 4]); /* it leaves the picture at the bottom */
  CHECK(ek_render_depth(scene, &camera, EK_CONVENTION_CENTER, IDENTITY, depth) == EK_OK);
  for (int i = 0; i < 4096; i++)
    CHECK(isinf(depth[i]) || (depth[i] > 0.009f && depth[i] < 4.001f));
  ek_scene_destroy(scene);
}

/* Random soups at every width class: depth and mask agree on where the robot is, and nothing is written outside. */
static void mask_and_depth_cover_the_same_pixels(void) {
  static const int sizes[][2] = {{1, 1}, {13, 9}, {64, 64}, {100, 100}, {129, 33}, {1024, 20}};
  float v[3 * 300];
  int32_t t[3 * 200], link[200];
  srand(1);
  for (int i = 0; i < 900; i++)
    v[i] = (float)rand() / (float)RAND_MAX * 2 - 1 + (i % 3 == 2 ? 2 : 0);
  for (int i = 0; i < 600; i++)
    t[i] = rand() % 300;
  for (int i = 0; i < 200; i++)
    link[i] = i % 2;
  ek_scene *scene = ek_scene_create(v, 300, t, link, 200, 2, NULL);
  double poses[24];
  memcpy(poses, IDENTITY, sizeof IDENTITY);
  memcpy(poses + 12, IDENTITY, sizeof IDENTITY);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int width = sizes[s][0], height = sizes[s][1], row_bytes = (width + 7) / 8, differ = 0;
    ek_camera camera = camera_of(width, height);
    uint8_t *mask = malloc((size_t)(row_bytes * height) + 1);
    float *depth = malloc(sizeof(float) * (size_t)(width * height));
    mask[row_bytes * height] = 0xa5;
    CHECK(ek_render_mask(scene, &camera, EK_CONVENTION_CENTER, poses, mask) == EK_OK);
    CHECK(ek_render_depth(scene, &camera, EK_CONVENTION_CENTER, poses, depth) == EK_OK);
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++)
        differ += ((mask[y * row_bytes + x / 8] >> (7 - x % 8)) & 1) != !isinf(depth[y * width + x]);
    }
    CHECK(differ <= width * height / 1000 && mask[row_bytes * height] == 0xa5);
    free(mask);
    free(depth);
  }
  ek_scene_destroy(scene);
}

static void hostile_arguments_are_refused(void) {
  float v[9] = {0}, bad[9] = {0, NAN};
  int32_t t[3] = {0, 1, 2}, out_of_range[3] = {0, 1, 3}, link[1] = {0}, no_link[1] = {1};
  int status;
  CHECK(!ek_scene_create(v, 3, out_of_range, link, 1, 1, &status) && status == EK_E_RANGE);
  CHECK(!ek_scene_create(v, 3, t, no_link, 1, 1, &status) && status == EK_E_RANGE);
  CHECK(!ek_scene_create(bad, 3, t, link, 1, 1, &status) && status == EK_E_NONFINITE);
  CHECK(!ek_scene_create(v, 3, t, link, 1, 0, &status) && status == EK_E_ARGUMENT);
  CHECK(!ek_scene_create(NULL, 3, t, link, 1, 1, &status) && status == EK_E_ARGUMENT);
  ek_scene *empty = ek_scene_create(v, 0, t, link, 0, 1, &status);
  ek_camera camera = camera_of(16, 8), wide = camera_of(2000, 8), flat = camera_of(16, 8);
  flat.near_m = 0;
  uint8_t mask[16] = {1};
  double poses[12];
  memcpy(poses, IDENTITY, sizeof poses);
  CHECK(ek_render_mask(empty, &camera, EK_CONVENTION_CENTER, poses, mask) == EK_OK && count_bits(mask, 16) == 0);
  CHECK(ek_render_mask(empty, &wide, EK_CONVENTION_CENTER, poses, mask) == EK_E_ARGUMENT);
  CHECK(ek_render_mask(empty, &flat, EK_CONVENTION_CENTER, poses, mask) == EK_E_ARGUMENT);
  CHECK(ek_render_mask(empty, &camera, 7, poses, mask) == EK_E_ARGUMENT);
  CHECK(ek_render_mask(NULL, &camera, EK_CONVENTION_CENTER, poses, mask) == EK_E_ARGUMENT);
  poses[3] = INFINITY;
  CHECK(ek_render_mask(empty, &camera, EK_CONVENTION_CENTER, poses, mask) == EK_E_NONFINITE);
  ek_scene_destroy(empty);
  ek_scene_destroy(NULL);
}

static void a_joint_turns_its_link_about_its_axis(void) {
  ek_joint joint = {EK_JOINT_REVOLUTE, 0, 1, 0, 0, {0, 0, 1}, {1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 1, 0}};
  double q = 1.5707963267948966, poses[24], nan_q = NAN;
  CHECK(ek_forward_kinematics(&joint, 1, IDENTITY, &q, 1, poses, 2) == EK_OK);
  CHECK(fabs(poses[12 + 3] - 2) < 1e-12 && fabs(poses[12 + 4] - 1) < 1e-12 && fabs(poses[12]) < 1e-12);
  CHECK(ek_forward_kinematics(&joint, 1, IDENTITY, &nan_q, 1, poses, 2) == EK_E_NONFINITE);
  joint.child = 2;
  CHECK(ek_forward_kinematics(&joint, 1, IDENTITY, &q, 1, poses, 2) == EK_E_RANGE);
  CHECK(ek_forward_kinematics(&joint, 1, IDENTITY, &q, 1, poses, 3) == EK_E_ARGUMENT);
}

int main(void) {
  pixel_centres_inside_are_set();
  tinyrenderer_samples_corners_and_shows_fronts_only();
  noise_flips_outlines_or_anything();
  the_near_plane_cuts_what_reaches_behind_the_camera();
  mask_and_depth_cover_the_same_pixels();
  hostile_arguments_are_refused();
  a_joint_turns_its_link_about_its_axis();
  puts("test_render: ok");
  return 0;
}
