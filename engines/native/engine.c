/* engine.c - the public face of the CPU engine: open, describe, run, read, close. */
#include "engine.h"
#include "../core/joints.h"
#include "../core/status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define HUGE_PAGE (INT64_C(2) << 20)

void *ek_huge(int64_t *bytes) {
  *bytes = (*bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  void *p = aligned_alloc(HUGE_PAGE, (size_t)*bytes);
  if (!p)
    return NULL;
#ifdef MADV_HUGEPAGE
  /* A hint: after a pause the page tables are out of the caches, and walking them costs more than the data. */
  madvise(p, (size_t)*bytes, MADV_HUGEPAGE);
#endif
  memset(p, 0, (size_t)*bytes);
  return p;
}

/* A new slab that holds at least so many bytes. */
static char *slab(ek_engine *e, int64_t bytes) {
  char *p = e->n_slabs < EK_MAX_SLABS ? ek_huge(&bytes) : NULL;
  if (!p)
    return NULL;
  e->slabs[e->n_slabs++] = p;
  e->slab_left = bytes;
  return p;
}

void *ek_pool(ek_engine *e, int64_t bytes) {
  bytes = (bytes + 127) / 64 * 64; /* one spare line, so that a vector load at the end stays inside */
  if (bytes > EK_POOL_BYTES - e->pool_bytes)
    return NULL;
  if (bytes > e->slab_left && !(e->slab_next = slab(e, bytes))) {
    e->slab_left = 0;
    return NULL;
  }
  void *p = e->slab_next;
  e->slab_next += bytes;
  e->slab_left -= bytes;
  e->pool_bytes += bytes;
  return p;
}

int ek_push(ek_engine *e, void (*run)(const void *), const void *args) {
  if (!args || e->n_ops == EK_MAX_OPS)
    return EK_E_MEMORY;
  e->op_layer[e->n_ops] = (int16_t)e->planning;
  e->ops[e->n_ops++] = (ek_op){run, args, 0};
  return EK_OK;
}

ek_tap *ek_resize_taps(ek_engine *e, int size_in, int size_out) {
  ek_tap *taps = ek_pool(e, (int64_t)size_out * sizeof *taps);
  if (!taps)
    return NULL;
  for (int i = 0; i < size_out; i++) {
    double source = (i + 0.5) * ((double)size_in / size_out) - 0.5;
    source = source > 0 ? source : 0;
    int first = (int)source;
    first = first < size_in - 1 ? first : size_in - 1;
    double fraction = source - first;
    taps[i] =
        (ek_tap){first, first + 1 < size_in ? first + 1 : size_in - 1, (int32_t)rint(fraction * 256), (float)fraction};
  }
  return taps;
}

int ek_isa_supported(int isa) {
  switch (isa) {
  case EK_ISA_AUTO:
  case EK_ISA_SCALAR:
    return 1;
#if defined(__x86_64__)
  case EK_ISA_AVX2:
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  case EK_ISA_AVX512:
#ifdef EK_EMULATE_AVX512 /* avx512.c in the tests */
    return ek_isa_supported(EK_ISA_AVX2);
#else
    return ek_isa_supported(EK_ISA_AVX2) && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
#endif
#elif defined(__aarch64__)
  case EK_ISA_NEON: /* every aarch64 CPU has it */
    return 1;
#endif
  default:
    return 0;
  }
}

int ek_isa_best(void) {
  int best = EK_ISA_NEON;
  while (!ek_isa_supported(best))
    best--;
  return best;
}

int ek_has_dotprod(void) {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return 0;
#endif
}

static const ek_kernels *kernels(int isa) {
#if defined(__x86_64__)
  if (isa == EK_ISA_AVX2)
    return &ek_kernels_avx2;
  if (isa == EK_ISA_AVX512)
    return &ek_kernels_avx512;
#elif defined(__aarch64__)
  if (isa == EK_ISA_NEON)
    return ek_has_dotprod() ? &ek_kernels_dotprod : &ek_kernels_neon;
#endif
  (void)isa;
  return NULL;
}

void ek_engine_fill(ek_engine *e, const ek_model *m, int isa) {
  e->info = (ek_engine_info){.n_joints = m->n_joints,
                             .n_views = m->n_views,
                             .n_depth = m->n_depth,
                             .height = m->height,
                             .width = m->width,
                             .precision = m->precision,
                             .isa = isa,
                             .n_layers = m->n_layers,
                             .parameters = m->parameters,
                             .macs = m->macs};
  e->depth_at = (int64_t)m->n_views * m->height * m->width; /* right behind the logits */
  e->depth_offset = m->depth_offset, e->depth_unit = m->depth_unit;
  e->logit_scale = m->precision == EK_PRECISION_INT8 ? m->layers[m->n_layers - 1].out_scale : 1.0f;
}

static int plan(ek_engine *e, const ek_model *m, int isa) {
  ek_engine_fill(e, m, isa);
  if (m->layers[0].kind == EK_ELLIPSOIDS)
    return ek_plan_body(e, m, isa);
  return kernels(isa) ? ek_plan_vector(e, m, kernels(isa)) : ek_plan_scalar(e, m);
}

ek_engine *ek_engine_open(const uint8_t *blob, size_t blob_bytes, int isa, int *status) {
  int ignored;
  status = status ? status : &ignored;
  if (!ek_isa_supported(isa)) {
    *status = isa < EK_ISA_AUTO || isa > EK_ISA_NEON ? EK_E_ARGUMENT : EK_E_UNSUPPORTED;
    return NULL;
  }
  ek_model *model = malloc(sizeof *model);
  ek_engine *e = calloc(1, sizeof *e);
  *status = model && e ? ek_model_parse(blob, blob_bytes, model) : EK_E_MEMORY;
  if (*status == EK_OK)
    *status = plan(e, model, isa == EK_ISA_AUTO ? ek_isa_best() : isa);
  if (*status == EK_OK)
    ek_profile_prepare(e, model);
  free(model);
  if (*status == EK_OK)
    *status = ek_score_prepare(e);
  if (*status != EK_OK) {
    ek_engine_close(e);
    return NULL;
  }
  e->info.weight_bytes = (int64_t)blob_bytes;
  e->info.arena_bytes = e->pool_bytes;
  return e;
}

void ek_engine_close(ek_engine *e) {
  if (!e)
    return;
  if (e->device)
    e->device->close(e);
  for (int i = 0; i < e->n_slabs; i++)
    free(e->slabs[i]);
  ek_body_destroy(e->body);
  free(e);
}

int ek_engine_describe(const ek_engine *e, ek_engine_info *info) {
  if (!e || !info)
    return EK_E_ARGUMENT;
  *info = e->info;
  return EK_OK;
}

/* Runs the layer that operation i is the first of; returns the first of the next one. */
static int run_layer(ek_engine *e, int i) {
  int layer = e->op_layer[i], followed = ek_follow_layer(e, layer);
  for (; i < e->n_ops && e->op_layer[i] == layer; i++)
    if (!followed || e->ops[i].always)
      e->ops[i].run(e->ops[i].args);
  return i;
}

int ek_engine_run(ek_engine *e, const float *joints) {
  if (!e || !joints)
    return EK_E_ARGUMENT;
  int status = ek_joints_check(joints, e->info.n_joints);
  if (status)
    return status;
  memcpy(e->joints, joints, sizeof(float) * (size_t)e->info.n_joints);
  if (e->device)
    return e->device->run(e);
  for (int i = 0; i < e->n_ops;)
    i = run_layer(e, i);
  return EK_OK;
}

int ek_engine_rehearse(ek_engine *e) {
  if (!e)
    return EK_E_ARGUMENT;
  if (e->device)
    return EK_OK;
  for (int i = 0; i < e->n_ops; i++)
    e->ops[i].run(e->ops[i].args);
  return EK_OK;
}

/* Elements of the logits. */
static int64_t n_logits(const ek_engine *e) {
  return (int64_t)e->info.n_views * e->info.height * e->info.width;
}

/* So many elements from a place of the last layer's maps on. */
static int read_maps(const ek_engine *e, int64_t from, int64_t n, float *out) {
  int status = e->device ? e->device->read(e) : EK_OK;
  if (status)
    return status;
  if (e->info.precision != EK_PRECISION_INT8)
    memcpy(out, (const float *)e->logits.data + from, sizeof(float) * (size_t)n);
  else
    for (int64_t i = 0; i < n; i++)
      out[i] = (float)((const int8_t *)e->logits.data)[from + i] * e->logit_scale;
  return EK_OK;
}

int ek_engine_logits(const ek_engine *e, float *logits) {
  if (!e || !logits)
    return EK_E_ARGUMENT;
  if (e->body)
    return ek_body_logits(e->body, logits);
  return read_maps(e, 0, n_logits(e), logits);
}

int ek_engine_depth(const ek_engine *e, float *depth) {
  if (!e || !depth)
    return EK_E_ARGUMENT;
  if (!e->info.n_depth)
    return EK_E_UNSUPPORTED;
  int64_t n = n_logits(e);
  int status = read_maps(e, e->depth_at, n, depth);
  for (int64_t i = 0; !status && i < n; i++)
    depth[i] = e->depth_offset + e->depth_unit * depth[i];
  return status;
}

int ek_engine_logits_int8(const ek_engine *e, int8_t *logits, float *scale) {
  if (!e || !logits || !scale)
    return EK_E_ARGUMENT;
  if (e->info.precision != EK_PRECISION_INT8)
    return EK_E_UNSUPPORTED;
  int status = e->device ? e->device->read(e) : EK_OK;
  if (status)
    return status;
  memcpy(logits, e->logits.data, (size_t)n_logits(e));
  *scale = e->logit_scale;
  return EK_OK;
}
