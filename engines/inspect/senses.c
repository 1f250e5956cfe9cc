/* senses.c - what joint angles, commands and repetitions say without any look at the picture's content. */
#include "inspector.h"

#include <math.h>
#include <string.h>

/* Of the mean velocity where there are no commands: encoders are noisy. */
enum { SMOOTH = 32 };
/* A joint that moved less than this share of its command stands. */
#define STANDS 0.5
/* Times the limit of the mean that one frame may be off its command. */
#define ONE_FRAME 2.0
/* Frames that an offset has to stay, and times that limit by which it has to be more than a joint could fall behind,
 * for it to be the encoder's without any motion. */
enum { STAYS = 3 };
#define LEAP 4.0

void ek_senses_reset(ek_inspector *s) {
  s->off_command = s->seen = s->same_masks = s->same_joints = s->tracked = s->n_past = 0, s->late_frame = 0;
  memset(s->velocity, 0, sizeof s->velocity);
  memset(s->offset, 0, sizeof s->offset);
  memset(s->off, 0, sizeof s->off);
  for (int j = 0; j < s->config.n_joints; j++)
    s->command_good[j] = INFINITY; /* never: an arm that begins off its command may stand */
}

/* FNV-1a over whole words. */
static uint64_t hash_of(const uint8_t *masks, int bytes) {
  uint64_t hash = 14695981039346656037ull, word;
  int i = 0;
  for (; i + 8 <= bytes; i += 8) {
    memcpy(&word, masks + i, 8);
    hash = (hash ^ word) * 1099511628211ull;
  }
  for (; i < bytes; i++)
    hash = (hash ^ masks[i]) * 1099511628211ull;
  return hash;
}

static double farthest(const float *a, const float *b, int n) {
  double far = 0;
  for (int j = 0; j < n; j++) {
    double moved = fabs((double)a[j] - (double)b[j]);
    far = moved > far ? moved : far;
  }
  return far;
}

int ek_senses_picture(ek_inspector *s, const float *q, const uint8_t *masks) {
  const ek_inspector_config *c = &s->config;
  uint64_t hash = hash_of(masks, s->mask_bytes);
  if (!s->seen || hash != s->mask_hash) {
    s->mask_hash = hash, s->same_masks = 0;
    memcpy(s->still, q, sizeof *q * (size_t)c->n_joints);
    return 0;
  }
  s->same_masks++;
  if (s->same_masks >= c->frozen_frames && farthest(q, s->still, c->n_joints) >= c->frozen_rad)
    ek_raise(s, EK_CLASS_SENSOR, EK_SIGN_FROZEN);
  return 1;
}

static void find_velocity(ek_inspector *s, const float *q, const float *commanded) {
  for (int j = 0; j < s->config.n_joints; j++) {
    if (commanded)
      s->velocity[j] = (double)commanded[j] - (double)s->last_command[j];
    else
      s->velocity[j] += ((double)q[j] - (double)s->last_q[j] - s->velocity[j]) / SMOOTH;
  }
}

/* A joint that stands falls behind by as much as its command moves: an angle that is further off has leapt, which
 * encoders do and joints do not. */
static int leapt(const ek_inspector *s, int j, double q, double commanded) {
  double behind = fabs(commanded - s->command_good[j]);
  return s->off[j] >= STAYS && fabs(q - commanded) - behind > LEAP * s->config.tracking_rad[j];
}

/* An offset that stays while the command moves on is the encoder's; a joint that stays is stuck. */
static void judge_offset(ek_inspector *s, int j, double q, double commanded) {
  const ek_inspector_config *c = &s->config;
  if (fabs(q - commanded) <= c->tracking_rad[j])
    s->command_good[j] = commanded;
  if (fabs(s->offset[j]) <= c->tracking_rad[j]) {
    s->off[j] = 0;
    return;
  }
  if (!s->off[j]++)
    s->command_then[j] = commanded, s->measured_then[j] = q;
  double moved = commanded - s->command_then[j];
  int leap = leapt(s, j, q, commanded);
  if (s->finding.alarm || (!leap && fabs(moved) < c->stuck_rad))
    return;
  int stands = !leap && (q - s->measured_then[j]) / moved < STANDS;
  s->finding.joint = j;
  ek_raise(s, stands ? EK_CLASS_BODY : EK_CLASS_ENCODER, stands ? EK_SIGN_STUCK : EK_SIGN_OFFSET);
}

/* All angles repeat, to the last bit, while commands move. */
static int repeat(ek_inspector *s, const float *q, const float *commanded) {
  const ek_inspector_config *c = &s->config;
  size_t bytes = sizeof *q * (size_t)c->n_joints;
  if (!s->seen || memcmp(q, s->last_q, bytes)) {
    s->same_joints = 0;
    memcpy(s->still_command, commanded, bytes);
    return 0;
  }
  s->same_joints++;
  if (s->same_joints >= c->stale_frames && farthest(commanded, s->still_command, c->n_joints) >= c->frozen_rad)
    ek_raise(s, EK_CLASS_SENSOR, EK_SIGN_STALE);
  return s->same_joints > 2;
}

void ek_senses_joints(ek_inspector *s, const float *q, const float *commanded) {
  const ek_inspector_config *c = &s->config;
  if (s->seen)
    find_velocity(s, q, commanded);
  ek_past_add(s, commanded ? commanded : q);
  if (commanded) {
    int repeats = repeat(s, q, commanded);
    s->tracked += s->tracked < EK_TRACKED;
    s->off_command = 0;
    for (int j = 0; j < c->n_joints; j++) {
      double sent = (double)commanded[j] + s->expected[j];
      s->offset[j] += ((double)q[j] - sent - s->offset[j]) / s->tracked;
      if (s->tracked == EK_TRACKED && !repeats)
        judge_offset(s, j, (double)q[j], sent);
      s->finding.offset_rad[j] = s->offset[j];
      s->off_command |= s->off[j] || fabs((double)q[j] - sent) > ONE_FRAME * c->tracking_rad[j];
    }
    memcpy(s->last_command, commanded, sizeof *q * (size_t)c->n_joints);
  }
  memcpy(s->last_q, q, sizeof *q * (size_t)c->n_joints);
  s->seen = 1;
}
