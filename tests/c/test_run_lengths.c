/* test_run_lengths.c - the detector's CUSUM against published run lengths: one-sided, known sigma, k = 0.5, h = 5, so
 * many frames on average until it alarms, for a residual that is standard normal and for one that has shifted by one
 * standard deviation (Montgomery, Introduction to Statistical Quality Control, chapter 9: 465 of two sides, 10.4). */
#include "check.h"
#include "core/status.h"
#include "edgekin.h"
#include <math.h>
#include <string.h>

#define ARL0 930.0
#define ARL1 10.4
/* The residual's mean, nats a pixel: far enough from 0, below which none is. */
#define MEAN 100.0

static uint64_t state = 88172645463325252u;
static double uniform(void) { /* (0, 1) */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return ((double)((state * UINT64_C(2685821657736338717)) >> 11) + 0.5) / 9007199254740992.0;
}
static double normal(void) { /* Box and Muller */
  return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static ek_detector *make_detector(void) {
  static const float centroid = 0, mean = (float)MEAN, std = 1;
  const ek_detector_config config = {.n_regions = 1,
                                     .n_joints = 1,
                                     .centroids = &centroid,
                                     .mean = &mean,
                                     .std = &std,
                                     .k = 0.5,
                                     .h = 5,
                                     .z_clip = 1e6,
                                     .joint_min_rad = {-1},
                                     .joint_max_rad = {1},
                                     .bad_frames_to_unknown = 1,
                                     .stale_ns = 1000};
  int status;
  ek_detector *d = ek_detector_create(&config, &status);
  CHECK(d && status == EK_OK);
  return d;
}

static double mean_run(double shift, int runs) {
  ek_detector *d = make_detector();
  int64_t now = 0, frames = 0;
  for (int run = 0; run < runs; run++) {
    ek_verdict verdict = {0};
    while (verdict.verdict != EK_VERDICT_DAMAGED) {
      now += 10, frames++;
      const ek_frame frame = {.sequence = (uint64_t)frames, .stamp_ns = now, .publish_ns = now, .fresh_camera = 1};
      const ek_score score = {.nll = MEAN + shift + normal(), .n_pixels = 1};
      CHECK(!ek_detector_update(d, &frame, &score, (uint64_t)frames, now, &verdict) && !verdict.rejected);
    }
    ek_detector_acknowledge(d);
  }
  ek_detector_destroy(d);
  return (double)frames / runs;
}

int main(void) {
  /* The mean of so many runs is within 1% and 0.3% itself (a standard deviation). */
  CHECK(fabs(mean_run(0, 10000) / ARL0 - 1) < 0.05);
  CHECK(fabs(mean_run(1, 40000) / ARL1 - 1) < 0.05);
  return 0;
}
