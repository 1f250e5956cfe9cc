/* driver.c - finds libcuda, and puts its errors into words. */
#include "driver.h"
#include "../core/status.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* A function pointer out of a data pointer, which ISO C does not convert. */
static int find(void *library, const char *symbol, void *function) {
  void *found = dlsym(library, symbol);
  memcpy(function, &found, sizeof found);
  return found != NULL;
}

int ek_driver_open(ek_driver *d, const char *library, char *why, size_t bytes) {
  const char *missing = NULL;
  memset(d, 0, sizeof *d);
  d->library = dlopen(library ? library : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!d->library) {
    snprintf(why, bytes, "no NVIDIA driver (%s)", dlerror());
    return EK_E_DRIVER;
  }
#define FIND(name, symbol, arguments)                                                                                  \
  if (!find(d->library, symbol, &d->name))                                                                             \
    missing = symbol;
  EK_DRIVER_GRAPH_LIST(FIND)
  d->has_graphs = !missing;
  missing = NULL;
  EK_DRIVER_LIST(FIND)
#undef FIND
  if (!missing)
    return EK_OK;
  snprintf(why, bytes, "the NVIDIA driver is too old: it has no %s", missing);
  ek_driver_close(d);
  return EK_E_DRIVER;
}

void ek_driver_close(ek_driver *d) {
  if (d->library)
    dlclose(d->library);
  d->library = NULL;
}

int ek_driver_check(const ek_driver *d, int result, const char *what, char *why, size_t bytes) {
  const char *name = NULL, *text = NULL;
  if (!result)
    return EK_OK;
  d->error_name(result, &name), d->error_string(result, &text);
  snprintf(why, bytes, "%s: %s (%s)", what, name ? name : "unknown error", text ? text : "no text");
  return EK_E_DEVICE;
}
