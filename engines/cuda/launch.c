/* launch.c - the driver's side of a tick: joints and mask into pinned memory, one graph launch, a few bytes back.
 *
 * The first tick is enqueued and waited for, then the same is captured into a graph. Whatever stands in the way of a
 * graph is said in info.note, and every tick is enqueued instead. A tick carries a number that the kernel writes back
 * last, so results that are not its own are never taken for it. */
#include "launch.h"
#include "../core/status.h"
#include "../core/thread.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_NS INT64_C(2000000000)
enum { POLLS = 256 /* of memory between two questions to the driver */, BLOCKS_PER_SM = 2 };

static int check(ek_launch *l, int result, const char *what) {
  return ek_driver_check(&l->driver, result, what, l->why, sizeof l->why);
}

static void note(ek_launch *l, const char *what) {
  size_t used = strlen(l->info.note);
  snprintf(l->info.note + used, sizeof l->info.note - used, "%s%s", used ? "; " : "", what);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static int alloc(ek_launch *l, ek_cu_pointer *p, size_t bytes) {
  int status = check(l, l->driver.memory_alloc(p, bytes), "cuMemAlloc");
  return status ? status : check(l, l->driver.memory_set(*p, 0, bytes), "cuMemsetD8");
}

/* A buffer that both sides see, or one for each. */
static int share(ek_launch *l, void **host, ek_cu_pointer *device, size_t bytes) {
  const ek_driver *d = &l->driver;
  int status;
  if (l->options.io == EK_CUDA_IO_MANAGED) {
    status = check(l, d->memory_managed(device, bytes, EK_CU_ATTACH_GLOBAL), "cuMemAllocManaged");
    *host = (void *)(uintptr_t)*device;
  } else {
    status = check(l, d->host_alloc(host, bytes, EK_CU_HOST_DEVICEMAP), "cuMemHostAlloc");
    if (!status && l->options.io == EK_CUDA_IO_MAPPED)
      status = check(l, d->host_pointer(device, *host, 0), "cuMemHostGetDevicePointer");
    else if (!status)
      status = alloc(l, device, bytes);
  }
  if (!status)
    memset(*host, 0, bytes);
  return status;
}

static int allocate(ek_launch *l, const uint32_t *image) {
  size_t image_bytes = 4 * (size_t)l->program.image_words;
  l->in_bytes = sizeof *l->in + (size_t)l->program.masks_bytes;
  l->out_bytes = sizeof *l->out + (size_t)l->program.results_bytes;
  void *in = NULL, *out = NULL;
  int status = check(l, l->driver.memory_alloc(&l->image, image_bytes), "cuMemAlloc");
  if (!status)
    status = check(l, l->driver.copy_in(l->image, image, image_bytes), "cuMemcpyHtoD");
  if (!status)
    status = alloc(l, &l->arena, 4 * (size_t)l->program.arena_words);
  if (!status)
    status = share(l, &in, &l->device_in, l->in_bytes);
  if (!status)
    status = share(l, &out, &l->device_out, l->out_bytes);
  l->in = in, l->out = out;
  /* What was copied and cleared went through the default stream, which a non-blocking one does not wait for. */
  return status ? status : check(l, l->driver.stream_synchronize(NULL), "cuStreamSynchronize");
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static const char *kernel_name(const ek_gpu_program *p) {
  static const char *const names[] = {
      [EK_GPU_INT8] = "ek_tick_int8", [EK_GPU_FP16] = "ek_tick_fp16", [EK_GPU_FP32] = "ek_tick_fp32"};
  return p->body ? "ek_tick_body" : names[p->type];
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
static void cut(ek_launch *l, const uint32_t *image) {
  const ek_gpu_program *p = &l->program;
  ek_gpu_args all = {(const uint32_t *)(uintptr_t)l->image,
                     (uint32_t *)(uintptr_t)l->arena,
                     (const ek_gpu_input *)(uintptr_t)l->device_in,
                     (ek_gpu_output *)(uintptr_t)l->device_out,
                     0,
                     (int32_t)p->n_steps};
  int barriers = 0;
  l->n_launches = 0;
  l->args[0] = all;
  for (uint32_t i = 0; i + 1 < p->n_steps; i++)
    if (barrier_behind(p, image, i)) {
      l->args[barriers].last = (int32_t)i + 1;
      l->args[++barriers] = all;
      l->args[barriers].first = (int32_t)i + 1;
    }
  l->n_launches = barriers + 1;
  l->cooperative = l->cooperative && barriers;
  if (l->cooperative)
    l->args[0] = all, l->n_launches = 1;
}

static int choose_grid(ek_launch *l) {
  int fit = 0, threads = l->options.threads ? l->options.threads : EK_GPU_THREADS;
  int status = check(l, l->driver.occupancy(&fit, l->function, threads, l->program.shared_bytes), "cuOccupancy");
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

static int enqueue(ek_launch *l) {
  const ek_driver *d = &l->driver;
  unsigned blocks = (unsigned)l->info.blocks, threads = (unsigned)l->info.threads, shared = l->program.shared_bytes;
  int copy = l->options.io == EK_CUDA_IO_COPY, status = EK_OK;
  if (copy)
    status = check(l, d->enqueue_in(l->device_in, l->in, l->in_bytes, l->stream), "cuMemcpyHtoDAsync");
  for (int i = 0; !status && i < l->n_launches; i++) {
    void *parameters[] = {&l->args[i]};
    if (l->cooperative)
      status = check(l, d->launch_cooperative(l->function, blocks, 1, 1, threads, 1, 1, shared, l->stream, parameters),
                     "cuLaunchCooperativeKernel");
    else
      status = check(l, d->launch(l->function, blocks, 1, 1, threads, 1, 1, shared, l->stream, parameters, NULL),
                     "cuLaunchKernel");
  }
  if (!status && copy)
    status = check(l, d->enqueue_out(l->out, l->device_out, l->out_bytes, l->stream), "cuMemcpyDtoHAsync");
  return status;
}

/* ---- a tick ------------------------------------------------------------------------------------------------------ */

/* 1: the kernel has written this tick's number. */
static int answered(const ek_launch *l) {
  uint32_t tick = *(const volatile uint32_t *)&l->out->tick;
  atomic_thread_fence(memory_order_acquire);
  return tick == l->tick;
}

static int await(ek_launch *l) {
  const ek_driver *d = &l->driver;
  if (l->options.wait == EK_CUDA_WAIT_BLOCK) {
    int status = check(l, d->event_record(l->event, l->stream), "cuEventRecord");
    return status ? status : check(l, d->event_synchronize(l->event), "cuEventSynchronize");
  }
  int mapped = l->options.io == EK_CUDA_IO_MAPPED;
  for (int64_t begin_ns = ek_clock_ns();;) {
    for (int i = 0; mapped && i < POLLS; i++) {
      if (answered(l))
        return EK_OK;
      ek_cpu_relax();
    }
    int result = d->stream_query(l->stream);
    if (result != EK_CU_NOT_READY)
      return check(l, result, "cuStreamQuery");
    if (ek_clock_ns() - begin_ns > TIMEOUT_NS) {
      snprintf(l->why, sizeof l->why, "the GPU did not answer within %d s", (int)(TIMEOUT_NS / 1000000000));
      return EK_E_DEVICE;
    }
  }
}

static int run(ek_launch *l) {
  l->in->tick = ++l->tick;
  atomic_thread_fence(memory_order_release);
  int status = l->executable ? check(l, l->driver.graph_launch(l->executable, l->stream), "cuGraphLaunch") : enqueue(l);
  if (!status)
    status = await(l);
  if (!status && !answered(l)) {
    snprintf(l->why, sizeof l->why, "the launch was accepted, but tick %u never ran", l->tick);
    status = EK_E_DEVICE;
  }
  return status;
}

int ek_launch_tick(ek_launch *l, const float *joints, const uint8_t *masks) {
  ek_cu_handle ignored;
  int status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  memcpy(l->in->joints, joints, sizeof *joints * (size_t)l->program.n_joints);
  if (masks)
    memcpy(l->in + 1, masks, (size_t)l->program.masks_bytes);
  status = run(l);
  l->driver.context_pop(&ignored);
  return status;
}

int ek_launch_read(ek_launch *l, int32_t at, void *out, size_t bytes) {
  ek_cu_handle ignored;
  int status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  status =
      check(l, l->driver.stream_synchronize(l->stream), "cuStreamSynchronize"); /* a tick may end behind its number */
  if (!status)
    status = check(l, l->driver.copy_out(out, l->arena + 4 * (ek_cu_pointer)at, bytes), "cuMemcpyDtoH");
  l->driver.context_pop(&ignored);
  return status;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static int capture(ek_launch *l) {
  const ek_driver *d = &l->driver;
  int status = check(l, d->capture_begin(l->stream, EK_CU_CAPTURE_THREAD_LOCAL), "cuStreamBeginCapture");
  if (status)
    return status;
  status = enqueue(l);
  int ended = d->capture_end(l->stream, &l->graph); /* in any case, or the stream stays in capture */
  if (!status)
    status = check(l, ended, "cuStreamEndCapture");
  if (!status)
    status = check(l, d->graph_instantiate(&l->executable, l->graph, 0), "cuGraphInstantiate");
  if (!status)
    status = check(l, d->graph_upload(l->executable, l->stream), "cuGraphUpload");
  if (status && l->executable)
    d->executable_destroy(l->executable), l->executable = NULL;
  return status;
}

static void make_graph(ek_launch *l) {
  char line[320];
  if (!l->options.graph)
    return;
  if (!l->driver.has_graphs) {
    note(l, "every tick is enqueued: the driver has no CUDA graphs (before 11.4)");
  } else if (capture(l)) {
    snprintf(line, sizeof line, "every tick is enqueued: no CUDA graph, %s", l->why);
    note(l, line);
  }
  l->info.graph = l->executable != NULL;
}

static int find_device(ek_launch *l) {
  const ek_driver *d = &l->driver;
  int major = 0, minor = 0, cooperative = 0, mapped = 0, managed = 0;
  int status = check(l, d->init(0), "cuInit");
  if (!status)
    status = check(l, d->device_get(&l->device, l->options.device), "cuDeviceGet");
  if (status)
    return status;
  d->device_name(l->info.name, (int)sizeof l->info.name, l->device);
  d->driver_version(&l->info.driver);
  d->device_attribute(&major, EK_CU_ATTRIBUTE_MAJOR, l->device);
  d->device_attribute(&minor, EK_CU_ATTRIBUTE_MINOR, l->device);
  d->device_attribute(&l->info.n_sm, EK_CU_ATTRIBUTE_SMS, l->device);
  d->device_attribute(&cooperative, EK_CU_ATTRIBUTE_COOPERATIVE, l->device);
  d->device_attribute(&mapped, EK_CU_ATTRIBUTE_MAPPED, l->device);
  d->device_attribute(&managed, EK_CU_ATTRIBUTE_MANAGED, l->device);
  l->info.sm = 10 * major + minor;
  l->cooperative = l->options.cooperative && cooperative;
  if (l->options.cooperative && !cooperative)
    note(l, "a launch for every barrier: this GPU has no cooperative launch");
  int io = l->options.io;
  if ((io == EK_CUDA_IO_MAPPED && !mapped) || (io == EK_CUDA_IO_MANAGED && !managed)) {
    l->options.io = EK_CUDA_IO_COPY;
    note(l, io == EK_CUDA_IO_MAPPED ? "io is copy: this GPU maps no host memory" : "io is copy: no managed memory");
  }
  l->info.io = l->options.io, l->info.wait = l->options.wait;
  return EK_OK;
}

static int load(ek_launch *l, const void *module) {
  const ek_driver *d = &l->driver;
  int status = check(l, d->module_load(&l->module, module), "cuModuleLoadData");
  if (!status)
    status = check(l, d->module_function(&l->function, l->module, kernel_name(&l->program)), "cuModuleGetFunction");
  if (!status)
    status = check(l, d->stream_create(&l->stream, EK_CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  if (!status)
    status =
        check(l, d->event_create(&l->event, EK_CU_EVENT_BLOCKING_SYNC | EK_CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  return status;
}

static int prepare(ek_launch *l, const uint32_t *image, const void *module) {
  int status = load(l, module);
  if (!status)
    status = choose_grid(l);
  if (!status)
    status = allocate(l, image);
  if (status)
    return status;
  cut(l, image);
  l->info.n_launches = l->n_launches, l->info.cooperative = l->cooperative;
  l->info.memory_bytes = 4 * ((int64_t)l->program.image_words + l->program.arena_words);
  status = run(l); /* once outside a graph: what a kernel loads lazily is loaded, and a failure has a name */
  if (!status)
    make_graph(l);
  return status;
}

int ek_launch_open(ek_launch *l, const uint32_t *image, const void *module, const ek_cuda_options *options) {
  ek_cu_handle ignored;
  memset(l, 0, sizeof *l);
  l->options = *options;
  if (image)
    memcpy(&l->program, image, sizeof l->program);
  int status = ek_driver_open(&l->driver, options->library, l->why, sizeof l->why);
  if (!status)
    status = find_device(l);
  if (status || !image)
    return status;
  status = check(l, l->driver.context_retain(&l->context, l->device), "cuDevicePrimaryCtxRetain");
  if (!status)
    status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  status = prepare(l, image, module);
  l->driver.context_pop(&ignored);
  return status;
}

/* Frees what a buffer has on each side. */
static void unshare(ek_launch *l, void *host, ek_cu_pointer device) {
  if (device && l->options.io != EK_CUDA_IO_MAPPED)
    l->driver.memory_free(device);
  if (host && l->options.io != EK_CUDA_IO_MANAGED)
    l->driver.host_free(host);
}

static void free_all(ek_launch *l) {
  const ek_driver *d = &l->driver;
  if (l->stream)
    d->stream_synchronize(l->stream);
  if (l->executable)
    d->executable_destroy(l->executable);
  if (l->graph)
    d->graph_destroy(l->graph);
  unshare(l, l->in, l->device_in);
  unshare(l, l->out, l->device_out);
  if (l->arena)
    d->memory_free(l->arena);
  if (l->image)
    d->memory_free(l->image);
  if (l->event)
    d->event_destroy(l->event);
  if (l->stream)
    d->stream_destroy(l->stream);
  if (l->module)
    d->module_unload(l->module);
}

void ek_launch_close(ek_launch *l) {
  ek_cu_handle ignored;
  if (l->context) {
    if (!l->driver.context_push(l->context)) {
      free_all(l);
      l->driver.context_pop(&ignored);
    }
    l->driver.context_release(l->device);
  }
  ek_driver_close(&l->driver);
  l->context = NULL;
}
