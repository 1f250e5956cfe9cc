/* launch.c - the driver's side of a tick: what it reads into pinned memory, one graph launch, what it says back.
 *
 * The first tick is enqueued and waited for, then the same is captured into a graph. Whatever stands in the way of a
 * graph is said in info.note, and every tick is enqueued instead. A tick is marked, so results that are not its own are
 * never taken for it. */
#include "launch.h"
#include "../core/status.h"
#include "../core/thread.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_NS INT64_C(2000000000)
enum { POLLS = 256 /* of memory between two questions to the driver */ };

static _Thread_local char last_why[sizeof((ek_launch *)0)->why];

const char *ek_cuda_why(void) {
  return last_why;
}

int ek_launch_passed(const ek_launch *l, int status) {
  if (status)
    memcpy(last_why, l->why, sizeof last_why);
  return status;
}

void ek_launch_forget(void) {
  last_why[0] = 0;
}

int ek_launch_accepts(const ek_cuda_options *o) {
  return o->device >= 0 && o->io >= EK_CUDA_IO_MAPPED && o->io <= EK_CUDA_IO_MANAGED &&
         (o->wait == EK_CUDA_WAIT_SPIN || o->wait == EK_CUDA_WAIT_BLOCK);
}

int ek_launch_check(ek_launch *l, int result, const char *what) {
  return ek_driver_check(&l->driver, result, what, l->why, sizeof l->why);
}
#define check ek_launch_check

void ek_launch_note(ek_launch *l, const char *what) {
  size_t used = strlen(l->info.note);
  snprintf(l->info.note + used, sizeof l->info.note - used, "%s%s", used ? "; " : "", what);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

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
      status = check(l, d->memory_alloc(device, bytes), "cuMemAlloc");
    if (!status && l->options.io == EK_CUDA_IO_COPY)
      status = check(l, d->memory_set(*device, 0, bytes), "cuMemsetD8");
  }
  if (!status)
    memset(*host, 0, bytes);
  return status;
}

/* Frees what a buffer has on each side. */
static void unshare(ek_launch *l, void *host, ek_cu_pointer device) {
  if (device && l->options.io != EK_CUDA_IO_MAPPED)
    l->driver.memory_free(device);
  if (host && l->options.io != EK_CUDA_IO_MANAGED)
    l->driver.host_free(host);
}

/* ---- a tick ------------------------------------------------------------------------------------------------------ */

static int enqueue(ek_launch *l) {
  const ek_driver *d = &l->driver;
  int copy = l->options.io == EK_CUDA_IO_COPY, status = EK_OK;
  if (copy)
    status = check(l, d->enqueue_in(l->device_in, l->in, l->in_bytes, l->stream), "cuMemcpyHtoDAsync");
  if (!status)
    status = l->work->enqueue(l);
  if (!status && copy)
    status = check(l, d->enqueue_out(l->out, l->device_out, l->out_bytes, l->stream), "cuMemcpyDtoHAsync");
  return status;
}

static int await(ek_launch *l) {
  const ek_driver *d = &l->driver;
  if (l->options.wait == EK_CUDA_WAIT_BLOCK) {
    int status = check(l, d->event_record(l->event, l->stream), "cuEventRecord");
    return status ? status : check(l, d->event_synchronize(l->event), "cuEventSynchronize");
  }
  int polled = l->work->polled && l->options.io == EK_CUDA_IO_MAPPED;
  for (int64_t begin_ns = ek_clock_ns();;) {
    for (int i = 0; polled && i < POLLS; i++) {
      if (l->work->answered(l))
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
  l->tick++;
  l->work->mark(l);
  atomic_thread_fence(memory_order_release);
  int status = l->executable ? check(l, l->driver.graph_launch(l->executable, l->stream), "cuGraphLaunch") : enqueue(l);
  if (!status)
    status = await(l);
  if (!status && !l->work->answered(l)) {
    snprintf(l->why, sizeof l->why, "the launch was accepted, but tick %u never ran", l->tick);
    status = EK_E_DEVICE;
  }
  return status;
}

int ek_launch_tick(ek_launch *l) {
  ek_cu_handle ignored;
  int status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  status = run(l);
  l->driver.context_pop(&ignored);
  return status;
}

int ek_launch_read(ek_launch *l, ek_cu_pointer from, void *out, size_t bytes) {
  ek_cu_handle ignored;
  int status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  status =
      check(l, l->driver.stream_synchronize(l->stream), "cuStreamSynchronize"); /* a tick may end behind its answer */
  if (!status)
    status = check(l, l->driver.copy_out(out, from, bytes), "cuMemcpyDtoH");
  l->driver.context_pop(&ignored);
  return status;
}

/* ---- the graph --------------------------------------------------------------------------------------------------- */

/* An enqueue that leaves nothing in the stream would leave the last tick's results in place for ever. */
static int check_nodes(ek_launch *l) {
  size_t nodes = 0, copies = l->options.io == EK_CUDA_IO_COPY ? 2 : 0;
  int status = check(l, l->driver.graph_nodes(l->graph, NULL, &nodes), "cuGraphGetNodes");
  if (status || nodes > copies)
    return status;
  snprintf(l->why, sizeof l->why, "what was enqueued is not in it");
  return EK_E_DEVICE;
}

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
    status = check_nodes(l);
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
    ek_launch_note(l, "every tick is enqueued: the driver has no CUDA graphs (before 11.4)");
  } else if (capture(l)) {
    snprintf(line, sizeof line, "every tick is enqueued: no CUDA graph, %s", l->why);
    ek_launch_note(l, line);
  }
  l->info.graph = l->executable != NULL;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static int find_device(ek_launch *l) {
  const ek_driver *d = &l->driver;
  int major = 0, minor = 0, mapped = 0, managed = 0, io = l->options.io;
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
  d->device_attribute(&mapped, EK_CU_ATTRIBUTE_MAPPED, l->device);
  d->device_attribute(&managed, EK_CU_ATTRIBUTE_MANAGED, l->device);
  l->info.sm = 10 * major + minor;
  if ((io == EK_CUDA_IO_MAPPED && !mapped) || (io == EK_CUDA_IO_MANAGED && !managed)) {
    l->options.io = EK_CUDA_IO_COPY;
    ek_launch_note(l, io == EK_CUDA_IO_MAPPED ? "io is copy: this GPU maps no host memory"
                                              : "io is copy: no managed memory");
  }
  l->info.io = l->options.io, l->info.wait = l->options.wait;
  return EK_OK;
}

static int prepare(ek_launch *l) {
  const ek_driver *d = &l->driver;
  int status = check(l, d->stream_create(&l->stream, EK_CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  if (!status)
    status =
        check(l, d->event_create(&l->event, EK_CU_EVENT_BLOCKING_SYNC | EK_CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  if (!status)
    status = l->work->load(l);
  if (!status)
    status = share(l, &l->in, &l->device_in, l->in_bytes);
  if (!status)
    status = share(l, &l->out, &l->device_out, l->out_bytes);
  if (!status && l->work->bind)
    status = l->work->bind(l);
  if (!status) /* what was copied and cleared went through the default stream: a non-blocking one would not wait */
    status = check(l, d->stream_synchronize(NULL), "cuStreamSynchronize");
  if (!status)
    status = run(l); /* once outside a graph: what is loaded lazily is loaded, and a failure has a name */
  if (!status)
    make_graph(l);
  return status;
}

int ek_launch_open(ek_launch *l, const ek_work *work, const ek_cuda_options *options) {
  ek_cu_handle ignored;
  l->options = *options, l->work = work;
  int status = ek_driver_open(&l->driver, options->library, l->why, sizeof l->why);
  if (!status)
    status = find_device(l);
  if (status || !work)
    return status;
  status = check(l, l->driver.context_retain(&l->context, l->device), "cuDevicePrimaryCtxRetain");
  if (!status)
    status = check(l, l->driver.context_push(l->context), "cuCtxPushCurrent");
  if (status)
    return status;
  status = prepare(l);
  l->driver.context_pop(&ignored);
  return status;
}

static void free_all(ek_launch *l) {
  const ek_driver *d = &l->driver;
  if (l->stream)
    d->stream_synchronize(l->stream);
  if (l->executable)
    d->executable_destroy(l->executable);
  if (l->graph)
    d->graph_destroy(l->graph);
  l->work->release(l);
  unshare(l, l->in, l->device_in);
  unshare(l, l->out, l->device_out);
  if (l->event)
    d->event_destroy(l->event);
  if (l->stream)
    d->stream_destroy(l->stream);
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
