/* status.c - names and texts of the status codes. */
#include "status.h"
#include "edgekin.h"

const char *ek_status_text(int status) {
  switch (status) {
#define EK_STATUS_TEXT(name, value, text)                                                                              \
  case value:                                                                                                          \
    return text;
    EK_STATUS_LIST(EK_STATUS_TEXT)
#undef EK_STATUS_TEXT
  default:
    return "unknown status";
  }
}

const char *ek_status_name(int status) {
  switch (status) {
#define EK_STATUS_NAME(name, value, text)                                                                              \
  case value:                                                                                                          \
    return #name;
    EK_STATUS_LIST(EK_STATUS_NAME)
#undef EK_STATUS_NAME
  default:
    return "EK_E_UNKNOWN";
  }
}

int ek_status_count(void) {
#define EK_STATUS_ONE(name, value, text) +1
  return 0 EK_STATUS_LIST(EK_STATUS_ONE);
#undef EK_STATUS_ONE
}
