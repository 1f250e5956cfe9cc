/* driver.h - the functions of libcuda that an engine needs, found when it is opened: nothing of CUDA is needed to
 * build, or to run on a machine without it. Names are those that libcuda exports. */
#ifndef EK_CUDA_DRIVER_H
#define EK_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t ek_cu_pointer; /* of the device */
typedef void *ek_cu_handle;     /* context, stream, module, function, graph, event */

/* X(result-returning function, exported name, arguments) */
#define EK_DRIVER_LIST(X)                                                                                              \
  X(init, "cuInit", (unsigned))                                                                                        \
  X(driver_version, "cuDriverGetVersion", (int *))                                                                     \
  X(error_name, "cuGetErrorName", (int, const char **))                                                                \
  X(error_string, "cuGetErrorString", (int, const char **))                                                            \
  X(device_get, "cuDeviceGet", (int *, int))                                                                           \
  X(device_name, "cuDeviceGetName", (char *, int, int))                                                                \
  X(device_attribute, "cuDeviceGetAttribute", (int *, int, int))                                                       \
  X(context_retain, "cuDevicePrimaryCtxRetain", (ek_cu_handle *, int))                                                 \
  X(context_release, "cuDevicePrimaryCtxRelease_v2", (int))                                                            \
  X(context_push, "cuCtxPushCurrent_v2", (ek_cu_handle))                                                               \
  X(context_pop, "cuCtxPopCurrent_v2", (ek_cu_handle *))                                                               \
  X(module_load, "cuModuleLoadData", (ek_cu_handle *, const void *))                                                   \
  X(module_unload, "cuModuleUnload", (ek_cu_handle))                                                                   \
  X(module_function, "cuModuleGetFunction", (ek_cu_handle *, ek_cu_handle, const char *))                              \
  X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor", (int *, ek_cu_handle, int, size_t))                      \
  X(stream_create, "cuStreamCreate", (ek_cu_handle *, unsigned))                                                       \
  X(stream_destroy, "cuStreamDestroy_v2", (ek_cu_handle))                                                              \
  X(stream_query, "cuStreamQuery", (ek_cu_handle))                                                                     \
  X(stream_synchronize, "cuStreamSynchronize", (ek_cu_handle))                                                         \
  X(event_create, "cuEventCreate", (ek_cu_handle *, unsigned))                                                         \
  X(event_destroy, "cuEventDestroy_v2", (ek_cu_handle))                                                                \
  X(event_record, "cuEventRecord", (ek_cu_handle, ek_cu_handle))                                                       \
  X(event_synchronize, "cuEventSynchronize", (ek_cu_handle))                                                           \
  X(memory_alloc, "cuMemAlloc_v2", (ek_cu_pointer *, size_t))                                                          \
  X(memory_free, "cuMemFree_v2", (ek_cu_pointer))                                                                      \
  X(memory_managed, "cuMemAllocManaged", (ek_cu_pointer *, size_t, unsigned))                                          \
  X(memory_set, "cuMemsetD8_v2", (ek_cu_pointer, unsigned char, size_t))                                               \
  X(host_alloc, "cuMemHostAlloc", (void **, size_t, unsigned))                                                         \
  X(host_free, "cuMemFreeHost", (void *))                                                                              \
  X(host_pointer, "cuMemHostGetDevicePointer_v2", (ek_cu_pointer *, void *, unsigned))                                 \
  X(copy_in, "cuMemcpyHtoD_v2", (ek_cu_pointer, const void *, size_t))                                                 \
  X(copy_out, "cuMemcpyDtoH_v2", (void *, ek_cu_pointer, size_t))                                                      \
  X(enqueue_in, "cuMemcpyHtoDAsync_v2", (ek_cu_pointer, const void *, size_t, ek_cu_handle))                           \
  X(enqueue_out, "cuMemcpyDtoHAsync_v2", (void *, ek_cu_pointer, size_t, ek_cu_handle))                                \
  X(launch, "cuLaunchKernel",                                                                                          \
    (ek_cu_handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, ek_cu_handle, void **,        \
     void **))                                                                                                         \
  X(launch_cooperative, "cuLaunchCooperativeKernel",                                                                   \
    (ek_cu_handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, ek_cu_handle, void **))

/* Those of a graph: CUDA 11.4 and later have all of them; without them every tick is enqueued. */
#define EK_DRIVER_GRAPH_LIST(X)                                                                                        \
  X(capture_begin, "cuStreamBeginCapture_v2", (ek_cu_handle, int))                                                     \
  X(capture_end, "cuStreamEndCapture", (ek_cu_handle, ek_cu_handle *))                                                 \
  X(graph_nodes, "cuGraphGetNodes", (ek_cu_handle, ek_cu_handle *, size_t *))                                          \
  X(graph_instantiate, "cuGraphInstantiateWithFlags", (ek_cu_handle *, ek_cu_handle, unsigned long long))              \
  X(graph_upload, "cuGraphUpload", (ek_cu_handle, ek_cu_handle))                                                       \
  X(graph_launch, "cuGraphLaunch", (ek_cu_handle, ek_cu_handle))                                                       \
  X(graph_destroy, "cuGraphDestroy", (ek_cu_handle))                                                                   \
  X(executable_destroy, "cuGraphExecDestroy", (ek_cu_handle))

typedef struct {
#define EK_DRIVER_MEMBER(name, symbol, arguments) int(*name) arguments;
  EK_DRIVER_LIST(EK_DRIVER_MEMBER)
  EK_DRIVER_GRAPH_LIST(EK_DRIVER_MEMBER)
#undef EK_DRIVER_MEMBER
  int has_graphs;
  void *library;
} ek_driver;

/* Numbers of cuda.h that the engine uses; they are part of the driver's ABI. */
enum {
  EK_CU_NOT_READY = 600,
  EK_CU_STREAM_NON_BLOCKING = 1,
  EK_CU_EVENT_BLOCKING_SYNC = 1,
  EK_CU_EVENT_DISABLE_TIMING = 2,
  EK_CU_HOST_DEVICEMAP = 2,
  EK_CU_ATTACH_GLOBAL = 1,
  EK_CU_CAPTURE_THREAD_LOCAL = 1,
  EK_CU_ATTRIBUTE_SMS = 16,
  EK_CU_ATTRIBUTE_MAPPED = 19,
  EK_CU_ATTRIBUTE_MAJOR = 75,
  EK_CU_ATTRIBUTE_MINOR = 76,
  EK_CU_ATTRIBUTE_MANAGED = 83,
  EK_CU_ATTRIBUTE_COOPERATIVE = 95
};

/* Finds the functions; 0 or EK_E_DRIVER, with a line in `why`. library NULL: libcuda.so.1. */
int ek_driver_open(ek_driver *driver, const char *library, char *why, size_t why_bytes);
void ek_driver_close(ek_driver *driver);
/* Passes 0 through; for anything else writes "what: NAME (text)" and returns EK_E_DEVICE. */
int ek_driver_check(const ek_driver *driver, int result, const char *what, char *why, size_t why_bytes);

#endif
