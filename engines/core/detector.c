/* detector.c - from residuals to a latched verdict; edgekin/detection/detector.py is its slow twin in numpy.
 *
 * Every path that lacks good evidence leads to UNKNOWN or keeps a latched verdict; none leads to HEALTHY.
 */
#include "edgekin.h"
#include "status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* HEALTHY needs this many valid pictures in a row after start, acknowledgement or any UNKNOWN. */
#define FRAMES_TO_HEALTHY 10
/* The same picture although the joints moved by this share of frozen_motion_rad: no longer evidence about the body,
 * so the CUSUM waits until it is clear whether the camera is frozen. */
#define SUSPECT_SHARE 0.25

struct ek_detector {
  ek_detector_config config;
  float *tables; /* centroids, mean, std in one block */
  double s;
  float z;
  int32_t region, latched, reason; /* latched: 0, DAMAGED or FAULT */
  ek_finding found;                /* of an inspector */
  int32_t objection;               /* to the last frame; 0 when it was valid */
  int valid_run, bad_run;          /* pictures in a row */
  int64_t last_stamp_ns;           /* of the last valid picture */
  int seen;                        /* whether there was one */
  uint64_t sequence, alarms, rejected;
  uint64_t mask_hash;
  int same_masks;                    /* how often the last picture was repeated */
  float still_joints[EK_MAX_JOINTS]; /* joints when it was first seen */
};

static int config_valid(const ek_detector_config *c) {
  if (!c || c->n_joints < 1 || c->n_joints > EK_MAX_JOINTS || c->n_regions < 1 || c->n_regions > 65536 ||
      !c->centroids || !c->mean || !c->std)
    return 0;
  if (!isfinite(c->k) || !isfinite(c->h) || !isfinite(c->z_clip) || c->h <= 0.0 || c->z_clip <= c->k)
    return 0; /* z_clip <= k could never alarm */
  if (c->bad_frames_to_unknown < 1 || c->stale_ns < 1 || c->frozen_frames < 0 || !(c->frozen_motion_rad >= 0.0))
    return 0;
  for (int j = 0; j < c->n_joints; j++)
    if (!(c->joint_min_rad[j] <= c->joint_max_rad[j]))
      return 0;
  for (int i = 0; i < c->n_regions * c->n_joints; i++)
    if (!isfinite(c->centroids[i]))
      return 0;
  for (int r = 0; r < c->n_regions; r++)
    if (!isfinite(c->mean[r]) || !isfinite(c->std[r]) || c->std[r] <= 0.0f)
      return 0;
  return 1;
}

ek_detector *ek_detector_create(const ek_detector_config *config, int *status) {
  int ignored;
  status = status ? status : &ignored;
  *status = EK_E_ARGUMENT;
  if (!config_valid(config))
    return NULL;
  size_t regions = (size_t)config->n_regions, joints = (size_t)config->n_joints;
  ek_detector *detector = calloc(1, sizeof *detector);
  float *tables = malloc(sizeof(float) * regions * (joints + 2));
  *status = EK_E_MEMORY;
  if (!detector || !tables) {
    free(detector);
    free(tables);
    return NULL;
  }
  detector->config = *config;
  detector->tables = tables;
  detector->config.centroids = memcpy(tables, config->centroids, sizeof(float) * regions * joints);
  detector->config.mean = memcpy(tables + regions * joints, config->mean, sizeof(float) * regions);
  detector->config.std = memcpy(tables + regions * (joints + 1), config->std, sizeof(float) * regions);
  *status = EK_OK;
  return detector;
}

void ek_detector_destroy(ek_detector *detector) {
  if (!detector)
    return;
  free(detector->tables);
  free(detector);
}

void ek_detector_acknowledge(ek_detector *detector) {
  if (!detector)
    return;
  detector->latched = 0;
  detector->reason = EK_OK;
  detector->s = 0.0;
  detector->valid_run = 0;
  detector->same_masks = 0;
  memset(&detector->found, 0, sizeof detector->found);
}

static int nearest_region(const ek_detector_config *c, const float *joints) {
  int best = 0;
  double best_distance = INFINITY;
  for (int r = 0; r < c->n_regions; r++) {
    double distance = 0.0;
    for (int j = 0; j < c->n_joints; j++) {
      double d = (double)joints[j] - (double)c->centroids[r * c->n_joints + j];
      distance += d * d;
    }
    if (distance < best_distance)
      best_distance = distance, best = r;
  }
  return best;
}

/* EK_OK, or why this frame is no evidence. */
static int frame_check(const ek_detector *d, const ek_frame *frame, const ek_score *score, int64_t now_ns) {
  const ek_detector_config *c = &d->config;
  for (int j = 0; j < c->n_joints; j++) {
    if (!isfinite(frame->joints[j]))
      return EK_E_NONFINITE;
    if (frame->joints[j] < c->joint_min_rad[j] || frame->joints[j] > c->joint_max_rad[j])
      return EK_E_RANGE;
  }
  if (frame->stamp_ns > frame->publish_ns || frame->publish_ns > now_ns)
    return EK_E_CLOCK;
  if (!frame->fresh_camera)
    return EK_OK;
  if (d->seen && frame->stamp_ns <= d->last_stamp_ns)
    return EK_E_CLOCK;
  if (now_ns - frame->stamp_ns > c->stale_ns)
    return EK_E_STALE;
  if (!isfinite(score->nll) || score->nll < 0.0 || score->n_pixels < 1)
    return EK_E_NONFINITE;
  return EK_OK;
}

/* How far the joints have moved under an unchanged picture, rad; 0 when the picture is new. */
static double motion_under_same_picture(ek_detector *d, const ek_frame *frame, uint64_t mask_hash) {
  size_t bytes = sizeof(float) * (size_t)d->config.n_joints;
  if (!d->seen || mask_hash != d->mask_hash) {
    d->mask_hash = mask_hash;
    d->same_masks = 0;
    memcpy(d->still_joints, frame->joints, bytes);
    return 0.0;
  }
  d->same_masks++;
  double motion = 0.0;
  for (int j = 0; j < d->config.n_joints; j++) { /* finite by now; gcc 12 for aarch64 breaks down over fmax here */
    double moved = fabs((double)frame->joints[j] - (double)d->still_joints[j]);
    motion = moved > motion ? moved : motion;
  }
  return motion;
}

static void latch(ek_detector *d, int verdict, int reason) {
  if (d->latched)
    return; /* the first cause stands until it is acknowledged */
  d->latched = verdict;
  d->reason = reason;
  d->alarms++;
}

static void cusum(ek_detector *d, const ek_frame *frame, const ek_score *score) {
  const ek_detector_config *c = &d->config;
  int r = nearest_region(c, frame->joints);
  double z = (score->nll / score->n_pixels - (double)c->mean[r]) / (double)c->std[r];
  d->region = r;
  d->z = (float)z;
  d->s = fmax(0.0, d->s + fmin(z, c->z_clip) - c->k);
  if (d->s > c->h)
    latch(d, EK_VERDICT_DAMAGED, EK_OK);
}

static void accept(ek_detector *d, const ek_frame *frame, const ek_score *score, uint64_t mask_hash) {
  const ek_detector_config *c = &d->config;
  double motion = motion_under_same_picture(d, frame, mask_hash);
  if (c->frozen_frames && d->same_masks >= c->frozen_frames && motion >= c->frozen_motion_rad)
    latch(d, EK_VERDICT_FAULT, EK_E_FROZEN);
  if (!c->frozen_frames || d->same_masks == 0 || motion < SUSPECT_SHARE * c->frozen_motion_rad)
    cusum(d, frame, score);
  d->seen = 1;
  d->sequence = frame->sequence;
  d->last_stamp_ns = frame->stamp_ns;
  d->bad_run = 0;
  d->objection = EK_OK;
  if (d->valid_run < FRAMES_TO_HEALTHY)
    d->valid_run++;
}

static void fill_finding(const ek_finding *found, ek_verdict *verdict) {
  verdict->evidence = (float)found->evidence;
  verdict->hypothesis = found->hypothesis, verdict->rival = found->rival, verdict->undecided = found->undecided;
  verdict->alarm = found->alarm, verdict->sign = found->sign;
  verdict->part = found->sign == EK_SIGN_LOST ? found->link : found->joint;
  for (int i = 0; i < 3; i++)
    verdict->size[i] = (float)found->size[i], verdict->spread[i] = (float)found->spread[i];
}

static void fill(ek_detector *d, int64_t now_ns, ek_verdict *verdict) {
  const ek_detector_config *c = &d->config;
  int reason = d->objection;
  int stale = !d->seen || now_ns - d->last_stamp_ns > c->stale_ns;
  if (stale || d->bad_run >= c->bad_frames_to_unknown)
    d->valid_run = 0;
  memset(verdict, 0, sizeof *verdict);
  verdict->sequence = d->sequence;
  verdict->decided_ns = now_ns;
  if (d->latched) {
    verdict->verdict = d->latched;
    verdict->reason = reason ? reason : d->reason;
    verdict->expires_ns = now_ns + c->stale_ns;
  } else {
    verdict->verdict = d->valid_run >= FRAMES_TO_HEALTHY ? EK_VERDICT_HEALTHY : EK_VERDICT_UNKNOWN;
    verdict->reason = reason ? reason : d->seen && stale ? EK_E_STALE : EK_OK;
    verdict->expires_ns = (d->seen ? d->last_stamp_ns : now_ns) + c->stale_ns;
  }
  verdict->region = d->region;
  verdict->z = d->z;
  verdict->cusum = (float)d->s;
  verdict->alarms = d->alarms;
  verdict->rejected = d->rejected;
  fill_finding(&d->found, verdict);
}

int ek_detector_update(ek_detector *detector, const ek_frame *frame, const ek_score *score, uint64_t mask_hash,
                       int64_t now_ns, ek_verdict *verdict) {
  if (!detector || !frame || !score || !verdict)
    return EK_E_ARGUMENT;
  int reason = frame_check(detector, frame, score, now_ns);
  if (reason != EK_OK) {
    detector->rejected++;
    detector->bad_run++;
    detector->objection = reason;
  } else if (frame->fresh_camera) {
    accept(detector, frame, score, mask_hash);
  }
  fill(detector, now_ns, verdict);
  return EK_OK;
}

int ek_detector_find(ek_detector *detector, const ek_finding *finding, ek_verdict *verdict) {
  if (!detector || !finding || !verdict)
    return EK_E_ARGUMENT;
  detector->found = *finding;
  if (finding->alarm)
    latch(detector, finding->alarm == EK_CLASS_BODY ? EK_VERDICT_DAMAGED : EK_VERDICT_FAULT, EK_OK);
  fill(detector, verdict->decided_ns, verdict);
  return EK_OK;
}

int ek_detector_idle(ek_detector *detector, int64_t now_ns, ek_verdict *verdict) {
  if (!detector || !verdict)
    return EK_E_ARGUMENT;
  fill(detector, now_ns, verdict);
  return EK_OK;
}
