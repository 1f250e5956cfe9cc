/* edgekin.h - the public C API of the device side, and the single source of the Python binding.
 *
 * Everything below, and in the parts that it includes, is written in the subset of C that cffi's cdef() reads: the
 * build strips lines between "cffi:off" and "cffi:on" markers and feeds the rest to the binding, so no struct is
 * mirrored by hand.
 *
 * Conventions: every length is in elements unless it ends in _bytes; times are CLOCK_MONOTONIC nanoseconds; angles are
 * radians; distances metres. Masks are bit-packed row by row as numpy.packbits does: pixel x of row y is bit
 * (7 - x % 8) of byte y * row_bytes + x / 8 with row_bytes = (width + 7) / 8. Functions that can fail return 0 or a
 * negative ek_status. Nothing here prints, exits, or allocates after its *_open / *_create function returned.
 */
/* cffi:off */
#ifndef EDGEKIN_H
#define EDGEKIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* cffi:on */

#define EK_ABI_VERSION 1
#define EK_MAX_JOINTS 16
#define EK_MAX_VIEWS 4

/* ---- status --------------------------------------------------------------------------------------------------- */

/* One line of text for a status returned by any function of this header; never NULL. The list of codes and their
 * strings is the X-macro EK_STATUS_LIST in core/status.h. */
const char *ek_status_text(int status);
const char *ek_status_name(int status);
int ek_status_count(void);

/* In this order: each needs what is before it. */
#include "edgekin/models.h"

#include "edgekin/inspect.h"

#include "edgekin/loop.h"

/* cffi:off */
#ifdef __cplusplus
}
#endif
#endif
/* cffi:on */
