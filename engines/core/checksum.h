/* checksum.h - CRC32C (Castagnoli, reflected 0x82F63B78) and a fast 64-bit hash of a picture. */
#ifndef EK_CORE_CHECKSUM_H
#define EK_CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Continues from crc (start with 0), as zlib's crc32 does. */
uint32_t ek_crc32c(uint32_t crc, const void *data, size_t bytes);
/* Not cryptographic: tells one picture from the next. */
uint64_t ek_hash64(const void *data, size_t bytes);

#endif
