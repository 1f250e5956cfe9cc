/* guest.c - an engine whose network another library runs on the GPU: it is launched as our kernels are, and its picture
 * is compared with the mask on the CPU, by the code of every other FP32 picture. */
#include "../core/status.h"
#include "../native/engine.h"
#include "launch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256, MAX_SIDE = 4096, MAX_ELEMENTS = 1 << 22 };

/* Written where the last pixel of a map will be: a NaN that no arithmetic makes. */
static const uint32_t unanswered = 0x7fc0ebad;

typedef struct {
  ek_launch launch; /* the first member: a work is given this one */
  ek_cuda_guest guest;
  ek_cuda_shape shape;
  ek_cuda_frame frame;
  size_t depth_at;  /* bytes from the logits */
  size_t last_word; /* of a map */
  float joints[EK_MAX_JOINTS];
  int pending, scalar;
} guest;

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int check_shape(ek_launch *l, const ek_cuda_shape *s) {
  int sides = s->height >= 1 && s->height <= MAX_SIDE && s->width >= 1 && s->width <= MAX_SIDE;
  int counts = s->n_joints >= 1 && s->n_joints <= EK_MAX_JOINTS && s->n_views >= 1 && s->n_views <= EK_MAX_VIEWS;
  if (sides && counts && (!s->n_depth || s->n_depth == s->n_views) &&
      (int64_t)s->n_views * s->height * s->width <= MAX_ELEMENTS)
    return EK_OK;
  snprintf(l->why, sizeof l->why, "%d joints, %d pictures of %d x %d pixels and %d of depth are none of ours",
           s->n_joints, s->n_views, s->width, s->height, s->n_depth);
  return EK_E_FORMAT;
}

/* ---- the work ---------------------------------------------------------------------------------------------------- */

static int load(ek_launch *l) {
  guest *g = (guest *)l;
  if (g->guest.load(g->guest.self, &g->shape, l->why, (int)sizeof l->why))
    return EK_E_DEVICE;
  int status = check_shape(l, &g->shape);
  if (status)
    return status;
  size_t map = sizeof(float) * (size_t)g->shape.n_views * (size_t)g->shape.height * (size_t)g->shape.width;
  g->last_word = map - sizeof unanswered;
  g->depth_at = aligned(map);
  l->in_bytes = aligned(sizeof g->joints);
  l->out_bytes = g->shape.n_depth ? 2 * g->depth_at : g->depth_at;
  return EK_OK;
}

static int bind(ek_launch *l) {
  guest *g = (guest *)l;
  g->frame = (ek_cuda_frame){.joints = l->device_in, .logits = l->device_out, .stream = l->stream};
  if (g->shape.n_depth)
    g->frame.depth = l->device_out + g->depth_at;
  return EK_OK;
}

/* The last word of each map. */
static void mark(ek_launch *l) {
  guest *g = (guest *)l;
  char *out = l->out;
  memcpy(out + g->last_word, &unanswered, sizeof unanswered);
  if (g->shape.n_depth)
    memcpy(out + g->depth_at + g->last_word, &unanswered, sizeof unanswered);
}

static int answered(const ek_launch *l) {
  const guest *g = (const guest *)l;
  const char *out = l->out;
  return memcmp(out + g->last_word, &unanswered, sizeof unanswered) &&
         (!g->shape.n_depth || memcmp(out + g->depth_at + g->last_word, &unanswered, sizeof unanswered));
}

static int enqueue(ek_launch *l) {
  guest *g = (guest *)l;
  return g->guest.enqueue(g->guest.self, &g->frame, l->why, (int)sizeof l->why) ? EK_E_DEVICE : EK_OK;
}

static void release(ek_launch *l) {
  const guest *g = (const guest *)l;
  g->guest.release(g->guest.self);
}

static const ek_work work = {load, bind, mark, enqueue, answered, 0, release};

/* ---- the device -------------------------------------------------------------------------------------------------- */

static int guest_run(ek_engine *e) {
  guest *g = e->device_state;
  memcpy(g->joints, e->joints, sizeof g->joints);
  g->pending = 1;
  return EK_OK;
}

static int tick(guest *g) {
  g->pending = 0;
  memcpy(g->launch.in, g->joints, sizeof *g->joints * (size_t)g->shape.n_joints);
  return ek_launch_passed(&g->launch, ek_launch_tick(&g->launch));
}

/* Launches whether or not the picture is there already: a score that is asked for again is a rehearsal. */
static int guest_score(const ek_engine *e, const uint8_t *masks) {
  guest *g = e->device_state;
  int status = tick(g);
  if (!status)
    ek_score_picture(e, masks, g->scalar);
  return status;
}

static int guest_read(const ek_engine *e) {
  guest *g = e->device_state;
  return g->pending ? tick(g) : EK_OK;
}

static void guest_close(ek_engine *e) {
  guest *g = e->device_state;
  ek_launch_close(&g->launch);
  free(g);
}

static const ek_device device = {guest_run, guest_score, guest_read, guest_close};

static int open_guest(ek_engine *e, guest *g, const ek_cuda_options *o) {
  e->device = &device, e->device_state = g;
  int status = ek_launch_passed(&g->launch, ek_launch_open(&g->launch, &work, o));
  if (status)
    return status;
  const ek_cuda_shape *s = &g->shape;
  ek_shape shape = {s->n_views, s->height, s->width};
  e->info = (ek_engine_info){.n_joints = s->n_joints,
                             .n_views = s->n_views,
                             .n_depth = s->n_depth,
                             .height = s->height,
                             .width = s->width,
                             .precision = EK_PRECISION_FP32,
                             .isa = EK_ISA_CUDA,
                             .arena_bytes = (int64_t)(g->launch.in_bytes + g->launch.out_bytes)};
  e->logits = (ek_map){g->launch.out, shape, s->height * s->width, 1, s->width};
  e->depth_at = (int64_t)(g->depth_at / sizeof(float));
  e->logit_scale = 1, e->depth_unit = 1;
  return ek_score_prepare(e);
}

ek_engine *ek_cuda_open_guest(const ek_cuda_guest *asked, const ek_cuda_options *options, int *status) {
  int ignored;
  status = status ? status : &ignored;
  ek_launch_forget();
  if (!asked || !asked->load || !asked->enqueue || !asked->release || !options || !ek_launch_accepts(options)) {
    *status = EK_E_ARGUMENT;
    return NULL;
  }
  ek_engine *e = calloc(1, sizeof *e);
  guest *g = calloc(1, sizeof *g);
  *status = e && g ? EK_OK : EK_E_MEMORY;
  if (!*status) {
    g->guest = *asked;
    g->scalar = !ek_isa_supported(EK_ISA_AVX2);
    *status = open_guest(e, g, options);
  } else {
    free(g);
  }
  if (!*status)
    return e;
  ek_engine_close(e);
  return NULL;
}
