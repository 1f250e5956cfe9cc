/* status.h - the one list of status codes: it makes the enum here and the strings in status.c. Add at the end. */
#ifndef EK_CORE_STATUS_H
#define EK_CORE_STATUS_H

/* X(name, value, text) */
#define EK_STATUS_LIST(X)                                                                                              \
  X(EK_OK, 0, "ok")                                                                                                    \
  X(EK_E_ARGUMENT, -1, "an argument is missing or outside its range")                                                  \
  X(EK_E_MEMORY, -2, "memory could not be allocated")                                                                  \
  X(EK_E_FORMAT, -3, "the data is malformed: a size, kind or offset contradicts the format")                           \
  X(EK_E_VERSION, -4, "the data has another format version")                                                           \
  X(EK_E_CHECKSUM, -5, "the checksum does not match: the data was changed or cut off")                                 \
  X(EK_E_UNSUPPORTED, -6, "this machine or build does not support what was asked")                                     \
  X(EK_E_IO, -7, "a file could not be opened, mapped or sized")                                                        \
  X(EK_E_BUSY, -8, "another writer holds the ring, or another inspector the body")                                     \
  X(EK_E_TORN, -9, "a frame was overwritten while it was read, or its checksum does not match")                        \
  X(EK_E_NONFINITE, -10, "a value is NaN or infinite")                                                                 \
  X(EK_E_RANGE, -11, "a joint angle is outside the range that the model was made for")                                 \
  X(EK_E_STALE, -12, "no valid frame arrived for too long")                                                            \
  X(EK_E_FROZEN, -13, "the picture does not change although a joint moves")                                            \
  X(EK_E_CLOCK, -14, "a time stamp lies in the future or runs backwards")                                              \
  X(EK_E_SYSTEM, -15, "the operating system refused a call")                                                           \
  X(EK_E_DRIVER, -16, "the NVIDIA driver is missing or too old")                                                       \
  X(EK_E_DEVICE, -17, "the GPU refused a call or did not answer")

typedef enum {
#define EK_STATUS_ENUM(name, value, text) name = value,
  EK_STATUS_LIST(EK_STATUS_ENUM)
#undef EK_STATUS_ENUM
} ek_status;

#endif
