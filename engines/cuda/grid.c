/* grid.c - our kernels: loaded, given their image and arena, and launched for all steps at once or for each barrier.
 * A tick carries a number that the kernel writes back last. */
#include "grid.h"
#include "../core/status.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define check ek_launch_check
enum { BLOCKS_PER_SM = 2 };

static const char *kernel_name(const ek_gpu_program *p) {
  static const char *const names[] = {
      [EK_GPU_INT8] = "ek_tick_int8", [EK_GPU_FP16] = "ek_tick_fp16", [EK_GPU_FP32] = "ek_tick_fp32"};
  return p->body ? "ek_tick_body" : names[p->type];
}

static int choose_grid(ek_grid *g) {
  ek_launch *l = &g->launch;
  int fit = 0, threads = l->options.threads ? l->options.threads : EK_GPU_THREADS;
  int status = check(l, l->driver.occupancy(&fit, g->function, threads, g->program.shared_bytes), "cuOccupancy");
  if (status)
    return status;
  int most = fit * l->info.n_sm, wanted = (fit < BLOCKS_PER_SM ? fit : BLOCKS_PER_SM) * l->info.n_sm;
  l->info.threads = threads;
  l->info.blocks = l->options.blocks ? l->options.blocks : wanted;
  if (l->info.blocks <= most)
    return EK_OK;
  snprintf(l->why, sizeof l->why, "%d blocks of %d threads do not fit this GPU at once: at most %d", l->info.blocks,
           threads, most);
  return EK_E_DEVICE;
}

static int load(ek_launch *l) {
  ek_grid *g = (ek_grid *)l;
  const ek_driver *d = &l->driver;
  int cooperative = 0;
  d->device_attribute(&cooperative, EK_CU_ATTRIBUTE_COOPERATIVE, l->device);
  g->cooperative = l->options.cooperative && cooperative;
  if (l->options.cooperative && !cooperative)
    ek_launch_note(l, "a launch for every barrier: this GPU has no cooperative launch");
  l->in_bytes = sizeof(ek_gpu_input) + (size_t)g->program.masks_bytes;
  l->out_bytes = sizeof(ek_gpu_output) + (size_t)g->program.results_bytes;
  int status = check(l, d->module_load(&g->module, g->kernels), "cuModuleLoadData");
  if (!status)
    status = check(l, d->module_function(&g->function, g->module, kernel_name(&g->program)), "cuModuleGetFunction");
  return status ? status : choose_grid(g);
}

/* Whether the grid meets at a barrier behind a step. */
static int barrier_behind(const ek_gpu_program *p, const uint32_t *image, uint32_t step) {
  if (p->body) {
    ek_gpu_body body;
    memcpy(&body, image + p->body, sizeof body);
    return !body.outlines_shared;
  }
  ek_gpu_step s;
  memcpy(&s, (const char *)image + sizeof *p + sizeof s * step, sizeof s);
  return s.after == EK_GPU_GRID;
}

/* Cuts the steps into launches: at every barrier, or not at all. */
static void cut(ek_grid *g) {
  const ek_gpu_program *p = &g->program;
  ek_gpu_args all = {(const uint32_t *)(uintptr_t)g->image,
                     (uint32_t *)(uintptr_t)g->arena,
                     (const ek_gpu_input *)(uintptr_t)g->launch.device_in,
                     (ek_gpu_output *)(uintptr_t)g->launch.device_out,
                     0,
                     (int32_t)p->n_steps};
  int barriers = 0;
  g->args[0] = all;
  for (uint32_t i = 0; i + 1 < p->n_steps; i++)
    if (barrier_behind(p, g->source, i)) {
      g->args[barriers].last = (int32_t)i + 1;
      g->args[++barriers] = all;
      g->args[barriers].first = (int32_t)i + 1;
    }
  g->n_launches = barriers + 1;
  g->cooperative = g->cooperative && barriers;
  if (g->cooperative)
    g->args[0] = all, g->n_launches = 1;
}

static int bind(ek_launch *l) {
  ek_grid *g = (ek_grid *)l;
  const ek_driver *d = &l->driver;
  size_t image_bytes = 4 * (size_t)g->program.image_words, arena_bytes = 4 * (size_t)g->program.arena_words;
  int status = check(l, d->memory_alloc(&g->image, image_bytes), "cuMemAlloc");
  if (!status)
    status = check(l, d->copy_in(g->image, g->source, image_bytes), "cuMemcpyHtoD");
  if (!status)
    status = check(l, d->memory_alloc(&g->arena, arena_bytes), "cuMemAlloc");
  if (!status)
    status = check(l, d->memory_set(g->arena, 0, arena_bytes), "cuMemsetD8");
  if (status)
    return status;
  cut(g);
  l->info.n_launches = g->n_launches, l->info.cooperative = g->cooperative;
  l->info.memory_bytes = (int64_t)(image_bytes + arena_bytes);
  return EK_OK;
}

static void mark(ek_launch *l) {
  ((ek_gpu_input *)l->in)->tick = l->tick;
}

static int answered(const ek_launch *l) {
  uint32_t tick = ((const volatile ek_gpu_output *)l->out)->tick;
  atomic_thread_fence(memory_order_acquire);
  return tick == l->tick;
}

static int enqueue(ek_launch *l) {
  ek_grid *g = (ek_grid *)l;
  const ek_driver *d = &l->driver;
  unsigned blocks = (unsigned)l->info.blocks, threads = (unsigned)l->info.threads, shared = g->program.shared_bytes;
  int status = EK_OK;
  for (int i = 0; !status && i < g->n_launches; i++) {
    void *parameters[] = {&g->args[i]};
    if (g->cooperative)
      status = check(l, d->launch_cooperative(g->function, blocks, 1, 1, threads, 1, 1, shared, l->stream, parameters),
                     "cuLaunchCooperativeKernel");
    else
      status = check(l, d->launch(g->function, blocks, 1, 1, threads, 1, 1, shared, l->stream, parameters, NULL),
                     "cuLaunchKernel");
  }
  return status;
}

static void release(ek_launch *l) {
  ek_grid *g = (ek_grid *)l;
  if (g->arena)
    l->driver.memory_free(g->arena);
  if (g->image)
    l->driver.memory_free(g->image);
  if (g->module)
    l->driver.module_unload(g->module);
}

static const ek_work work = {load, bind, mark, enqueue, answered, 1, release};

int ek_grid_open(ek_grid *g, const uint32_t *image, const void *module, const ek_cuda_options *options) {
  memcpy(&g->program, image, sizeof g->program);
  g->source = image, g->kernels = module;
  int status = ek_launch_open(&g->launch, &work, options);
  g->source = NULL, g->kernels = NULL;
  return status;
}

const ek_gpu_tile *ek_grid_tick(ek_grid *g, const float *joints, const uint8_t *masks, int *status) {
  ek_gpu_input *in = g->launch.in;
  memcpy(in->joints, joints, sizeof *joints * (size_t)g->program.n_joints);
  if (masks)
    memcpy(in + 1, masks, (size_t)g->program.masks_bytes);
  *status = ek_launch_tick(&g->launch);
  return *status ? NULL : (const ek_gpu_tile *)((const ek_gpu_output *)g->launch.out + 1);
}

int ek_grid_read(ek_grid *g, int32_t at, void *out, size_t bytes) {
  return ek_launch_read(&g->launch, g->arena + 4 * (ek_cu_pointer)at, out, bytes);
}
