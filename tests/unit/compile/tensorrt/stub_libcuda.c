/* A driver whose device is this process: memory is malloc's, copies are memcpy. One GPU, of the capability in STUB_SM.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int live; /* what was made and not yet freed */

int stub_live(void) {
  return live;
}

static int from_environment(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) {
  return flags ? 1 : from_environment("STUB_INIT", 0);
}

int cuGetErrorString(int status, const char **text) {
  *text = status == 100 ? "no CUDA-capable device is detected" : "made up";
  return 0;
}

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}

int cuDeviceGetCount(int *count) {
  *count = from_environment("STUB_GPUS", 1);
  return 0;
}

int cuDeviceGetName(char *name, int size, int device) {
  if (device || size < 16)
    return 101;
  strcpy(name, "Stub GPU");
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int sm = from_environment("STUB_SM", 87);
  if (device || (attribute != 75 && attribute != 76))
    return 1;
  *value = attribute == 75 ? sm / 10 : sm % 10;
  return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  if (device)
    return 101;
  *context = &live;
  live++;
  return 0;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  live--;
  return device ? 101 : 0;
}

int cuCtxSetCurrent(void *context) {
  return context == &live ? 0 : 201;
}

int cuStreamCreate(void **stream, unsigned flags) {
  *stream = &live;
  live++;
  return flags == 1 ? 0 : 1;
}

int cuStreamDestroy_v2(void *stream) {
  live--;
  return stream == &live ? 0 : 400;
}

int cuStreamSynchronize(void *stream) {
  return stream == &live ? 0 : 400;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  void *memory = malloc(bytes);
  if (!memory)
    return 2;
  *address = (uint64_t)(uintptr_t)memory;
  live++;
  return 0;
}

int cuMemFree_v2(uint64_t address) {
  free((void *)(uintptr_t)address);
  live--;
  return 0;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, from, bytes);
  return stream == &live ? 0 : 400;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  memcpy(to, (const void *)(uintptr_t)from, bytes);
  return stream == &live ? 0 : 400;
}
