/* gpu.c - an engine whose network runs on a GPU: it is opened, run, scored and closed as any other. */
#include "../core/status.h"
#include "../native/engine.h"
#include "grid.h"
#include "plan.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
  ek_grid grid;
  float joints[EK_GPU_JOINTS];
  int pending; /* run was asked for; it is launched together with the mask, or when the prediction is read */
} gpu;

static int gpu_run(ek_engine *e) {
  gpu *g = e->device_state;
  memcpy(g->joints, e->joints, sizeof g->joints);
  g->pending = 1;
  return EK_OK;
}

static void read_tiles(const ek_engine *e, const ek_gpu_tile *tile) {
  int64_t n = (int64_t)e->block_rows * e->block_columns;
  for (int64_t i = 0; i < n; i++, tile++) {
    if (e->info.precision == EK_PRECISION_INT8) {
      e->sums[i] = (ek_pixels){tile->sums[0], tile->sums[1]};
      continue;
    }
    int32_t counts = (int32_t)tile->real.counts;
    e->blocks[i] = (ek_block_score){tile->real.nll, tile->real.squared, tile->real.entropy,
                                    counts & 255,   counts >> 8 & 255,  counts >> 16};
  }
}

static int gpu_score(const ek_engine *e, const uint8_t *masks) {
  gpu *g = e->device_state;
  int status;
  g->pending = 0;
  const ek_gpu_tile *tiles = ek_grid_tick(&g->grid, g->joints, masks, &status);
  if (tiles)
    read_tiles(e, tiles);
  return ek_launch_passed(&g->grid.launch, status);
}

static int gpu_read(const ek_engine *e) {
  gpu *g = e->device_state;
  int int8 = e->info.precision == EK_PRECISION_INT8, status = EK_OK;
  if (g->pending)
    status = gpu_score(e, NULL);
  if (status)
    return status;
  size_t n = (size_t)(e->info.n_views + e->info.n_depth) * (size_t)e->info.height * (size_t)e->info.width;
  status = ek_grid_read(&g->grid, g->grid.program.logits, e->logits.data, int8 ? n : 4 * n);
  return ek_launch_passed(&g->grid.launch, status);
}

static void gpu_close(ek_engine *e) {
  gpu *g = e->device_state;
  ek_launch_close(&g->grid.launch);
  free(g);
}

static const ek_device cuda = {gpu_run, gpu_score, gpu_read, gpu_close};

static int check_options(const ek_cuda_options *o, const ek_model *m) {
  int int8 = m->precision == EK_PRECISION_INT8, body = m->layers[0].kind == EK_ELLIPSOIDS;
  if (!ek_launch_accepts(o) || o->blocks < 0 || o->threads < 0 || o->threads > EK_GPU_THREADS || o->threads % 32)
    return EK_E_ARGUMENT;
  if (int8 != (o->precision == EK_PRECISION_INT8) || (body && o->precision != EK_PRECISION_FP32) ||
      o->precision < EK_PRECISION_FP32 || o->precision > EK_PRECISION_FP16)
    return EK_E_UNSUPPORTED;
  return EK_OK;
}

static int plan(ek_engine *e, const ek_model *m, const ek_cuda_options *o, uint32_t **image) {
  static const int types[] = {
      [EK_PRECISION_FP32] = EK_GPU_FP32, [EK_PRECISION_INT8] = EK_GPU_INT8, [EK_PRECISION_FP16] = EK_GPU_FP16};
  ek_shape s = m->layers[m->n_layers - 1].out;
  ek_engine_fill(e, m, EK_ISA_CUDA);
  e->info.precision = o->precision;
  ek_profile_prepare(e, m);
  int status = ek_score_prepare(e);
  e->logits = (ek_map){ek_pool(e, 4 * ek_elements(s)), s, s.h * s.w, 1, s.w};
  if (status || !e->logits.data)
    return EK_E_MEMORY;
  if (m->layers[0].kind == EK_ELLIPSOIDS)
    return ek_gpu_plan_body(m, image);
  return ek_gpu_plan_decoder(m, types[o->precision], e->pixels, image);
}

/* A module is a cubin (an ELF file) or PTX, which is text and ends with a zero. */
static int check_module(const uint8_t *module, size_t bytes) {
  if (!module || bytes < 4)
    return EK_E_ARGUMENT;
  return !memcmp(module, "\177ELF", 4) || !module[bytes - 1] ? EK_OK : EK_E_FORMAT;
}

static int open_gpu(ek_engine *e, const ek_model *m, const uint8_t *module, const ek_cuda_options *o) {
  uint32_t *image = NULL;
  gpu *g = calloc(1, sizeof *g);
  int status = g ? plan(e, m, o, &image) : EK_E_MEMORY;
  if (!status) {
    status = ek_launch_passed(&g->grid.launch, ek_grid_open(&g->grid, image, module, o));
    e->info.arena_bytes = g->grid.launch.info.memory_bytes;
    e->device = &cuda, e->device_state = g;
  } else {
    free(g);
  }
  free(image);
  return status;
}

ek_engine *ek_cuda_open(const uint8_t *blob, size_t blob_bytes, const uint8_t *module, size_t module_bytes,
                        const ek_cuda_options *options, int *status) {
  int ignored;
  status = status ? status : &ignored;
  ek_launch_forget();
  *status = options ? check_module(module, module_bytes) : EK_E_ARGUMENT;
  if (*status)
    return NULL;
  ek_model *model = malloc(sizeof *model);
  ek_engine *e = calloc(1, sizeof *e);
  *status = model && e ? ek_model_parse(blob, blob_bytes, model) : EK_E_MEMORY;
  if (!*status)
    *status = check_options(options, model);
  if (!*status)
    *status = open_gpu(e, model, module, options);
  free(model);
  if (*status) {
    ek_engine_close(e);
    return NULL;
  }
  e->info.weight_bytes = (int64_t)blob_bytes;
  return e;
}

int ek_cuda_describe(const ek_engine *e, ek_cuda_info *info) {
  if (!e || !info || !e->device)
    return EK_E_ARGUMENT;
  *info = ((const ek_launch *)e->device_state)->info; /* the first member of what every device keeps */
  return EK_OK;
}

int ek_cuda_probe(const char *library, int device, ek_cuda_info *info) {
  if (!info)
    return EK_E_ARGUMENT;
  ek_launch *l = calloc(1, sizeof *l);
  if (!l)
    return EK_E_MEMORY;
  const ek_cuda_options options = {.library = library, .device = device};
  ek_launch_forget();
  int status = ek_launch_passed(l, ek_launch_open(l, NULL, &options));
  *info = l->info;
  ek_launch_close(l);
  free(l);
  return status;
}
