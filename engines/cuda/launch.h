/* launch.h - a tick on one GPU: context, stream, memory that both sides see, and the graph that is replayed. What the
 * tick does there is somebody else's work: our kernels' (grid.h) or another library's (guest.c). */
#ifndef EK_CUDA_LAUNCH_H
#define EK_CUDA_LAUNCH_H

#include "driver.h"
#include "edgekin.h"

typedef struct ek_launch ek_launch;

/* What is between the copies of a tick's input and output. The GPU's context is current in all of it. */
typedef struct {
  int (*load)(ek_launch *launch);           /* first: says in_bytes and out_bytes */
  int (*bind)(ek_launch *launch);           /* input and output have their addresses; NULL: nothing to do */
  void (*mark)(ek_launch *launch);          /* before a tick: what tells its answer from the last one's */
  int (*enqueue)(ek_launch *launch);        /* puts the tick on the stream */
  int (*answered)(const ek_launch *launch); /* 1: the output is that of the tick that was marked */
  int polled;                               /* 1: what `answered` looks for is written last, so memory can tell */
  void (*release)(ek_launch *launch);       /* what load and bind have made, or a part of it; the stream is idle */
} ek_work;

struct ek_launch {
  ek_driver driver;
  ek_cuda_options options;
  ek_cuda_info info;
  const ek_work *work;
  int device;
  ek_cu_handle context, stream, event, graph, executable;
  ek_cu_pointer device_in, device_out;
  void *in, *out; /* of the host */
  size_t in_bytes, out_bytes;
  uint32_t tick;
  char why[256];
};

/* Finds the GPU and, with work, makes it ready and runs its first tick. launch: the first member of what the work
 * knows, zeroed but for that; ek_launch_close frees what is in it in any case. */
int ek_launch_open(ek_launch *launch, const ek_work *work, const ek_cuda_options *options);
/* Runs a tick on what is in launch->in, and waits until its answer is in launch->out. */
int ek_launch_tick(ek_launch *launch);
/* Copies from the GPU's memory, behind everything that was launched. */
int ek_launch_read(ek_launch *launch, ek_cu_pointer from, void *out, size_t bytes);
void ek_launch_close(ek_launch *launch);

/* For a work: passes 0 through, else keeps the driver's words. */
int ek_launch_check(ek_launch *launch, int result, const char *what);
/* Adds to info.note. */
void ek_launch_note(ek_launch *launch, const char *what);

/* Whether these options can be: those of a launch, without the grid's. */
int ek_launch_accepts(const ek_cuda_options *options);
/* Keeps the words of a failure for ek_cuda_why; returns the status. */
int ek_launch_passed(const ek_launch *launch, int status);
void ek_launch_forget(void);

#endif
