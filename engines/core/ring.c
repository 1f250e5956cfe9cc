/* ring.c - frames from one writer to any readers through a shared file.
 *
 * Eight slots and a head that is published last: a writer that dies in the middle of a frame leaves the head on the
 * last whole one. A reader maps the file read-only, so that it can neither damage nor block the writer; it validates
 * the slot's sequence before and after the copy and the CRC32C of what it copied.
 */
#include "checksum.h"
#include "edgekin.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIDE 4096 /* pixels; caps the size of the file before anything is mapped */
#define READ_ATTEMPTS 4

/* The shared file: this header, then EK_RING_SLOTS slots. Everything 64-byte aligned. */
typedef struct {
  _Atomic uint64_t magic; /* stored last: a file without it is not ready */
  uint32_t abi, n_joints, n_views, width, height, slot_bytes;
  uint64_t file_bytes;
  uint8_t model_hash[32];
  _Atomic uint64_t epoch;
  _Atomic int32_t writer_pid;
  uint32_t reserved[7];
  _Alignas(64) _Atomic uint64_t head; /* last published sequence */
  _Atomic int64_t heartbeat_ns;
  _Atomic uint32_t wake; /* futex word; changes with every publication */
  _Alignas(64) uint8_t end[64];
} shared_header;

typedef struct {
  _Atomic uint64_t sequence; /* 0 while the writer fills the slot */
  uint64_t epoch;
  uint32_t crc, reserved;
  ek_frame frame;
  uint8_t masks[];
} shared_slot;

_Static_assert(sizeof(shared_header) % 64 == 0, "slots start on a cache line");
_Static_assert(sizeof(ek_frame) == 160, "no padding: the checksum covers the frame byte by byte");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics shared between processes must not hide a lock");

struct ek_ring {
  shared_header *shared;
  uint8_t *slots;
  size_t file_bytes, slot_bytes, mask_bytes;
  int n_joints, n_views, width, height; /* private copies: the sizes in the file are never trusted twice */
  int fd, writer;
  uint64_t epoch; /* writer: its own; reader: that of the last frame read */
  uint64_t sequence;
};

static size_t mask_bytes_of(int n_views, int width, int height) {
  return (size_t)n_views * (size_t)height * (size_t)((width + 7) / 8);
}

static size_t slot_bytes_of(size_t mask_bytes) {
  return (sizeof(shared_slot) + mask_bytes + 63) / 64 * 64;
}

static int sizes_valid(int n_joints, int n_views, int width, int height) {
  return n_joints >= 1 && n_joints <= EK_MAX_JOINTS && n_views >= 1 && n_views <= EK_MAX_VIEWS && width >= 1 &&
         width <= MAX_SIDE && height >= 1 && height <= MAX_SIDE;
}

static shared_slot *slot_of(const ek_ring *ring, uint64_t sequence) {
  return (shared_slot *)(ring->slots + sequence % EK_RING_SLOTS * ring->slot_bytes);
}

static uint32_t checksum(uint64_t epoch, const ek_frame *frame, const uint8_t *masks, size_t mask_bytes) {
  uint32_t crc = ek_crc32c(0, &epoch, sizeof epoch);
  crc = ek_crc32c(crc, frame, sizeof *frame);
  return ek_crc32c(crc, masks, mask_bytes);
}

static ek_ring *ring_alloc(int n_joints, int n_views, int width, int height) {
  ek_ring *ring = calloc(1, sizeof *ring);
  if (!ring)
    return NULL;
  ring->fd = -1;
  ring->n_joints = n_joints, ring->n_views = n_views, ring->width = width, ring->height = height;
  ring->mask_bytes = mask_bytes_of(n_views, width, height);
  ring->slot_bytes = slot_bytes_of(ring->mask_bytes);
  ring->file_bytes = sizeof(shared_header) + EK_RING_SLOTS * ring->slot_bytes;
  return ring;
}

static int ring_map(ek_ring *ring, int protection) {
  void *map = mmap(NULL, ring->file_bytes, protection, MAP_SHARED | MAP_POPULATE, ring->fd, 0);
  if (map == MAP_FAILED)
    return EK_E_IO;
  ring->shared = map;
  ring->slots = (uint8_t *)map + sizeof(shared_header);
  return EK_OK;
}

/* Opens and locks path; *same is set when the file there already has the wanted size, so that readers may stay. */
static int open_locked(const char *path, size_t file_bytes, int *fd, int *same) {
  struct stat opened, named;
  for (int attempt = 0; attempt < 8; attempt++) {
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
      return EK_E_IO;
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
      int busy = errno == EWOULDBLOCK;
      close(*fd);
      return busy ? EK_E_BUSY : EK_E_IO;
    }
    if (fstat(*fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino) {
      *same = opened.st_size == (off_t)file_bytes;
      if (*same || opened.st_size == 0)
        return EK_OK;
      /* Another size: a truncation would kill its readers by SIGBUS, so it is unlinked and made anew. */
      if (unlink(path) != 0) {
        close(*fd);
        return EK_E_IO;
      }
    }
    close(*fd); /* somebody replaced the file between open and lock, or we unlinked it: again */
  }
  return EK_E_BUSY;
}

static void header_write(ek_ring *ring, const uint8_t *model_hash) {
  shared_header *shared = ring->shared;
  uint64_t last_epoch = atomic_load_explicit(&shared->epoch, memory_order_relaxed);
  atomic_store_explicit(&shared->magic, 0, memory_order_release);
  for (uint64_t s = 0; s < EK_RING_SLOTS; s++)
    atomic_store_explicit(&slot_of(ring, s)->sequence, 0, memory_order_release);
  atomic_store_explicit(&shared->head, 0, memory_order_release);
  shared->abi = EK_ABI_VERSION;
  shared->n_joints = (uint32_t)ring->n_joints, shared->n_views = (uint32_t)ring->n_views;
  shared->width = (uint32_t)ring->width, shared->height = (uint32_t)ring->height;
  shared->slot_bytes = (uint32_t)ring->slot_bytes;
  shared->file_bytes = ring->file_bytes;
  memset(shared->model_hash, 0, sizeof shared->model_hash);
  if (model_hash)
    memcpy(shared->model_hash, model_hash, sizeof shared->model_hash);
  /* Time makes epochs of different files differ, the maximum those of one file. */
  ring->epoch = (uint64_t)ek_clock_ns() > last_epoch ? (uint64_t)ek_clock_ns() : last_epoch + 1;
  atomic_store_explicit(&shared->epoch, ring->epoch, memory_order_release);
  atomic_store_explicit(&shared->writer_pid, (int32_t)getpid(), memory_order_release);
  atomic_store_explicit(&shared->heartbeat_ns, ek_clock_ns(), memory_order_release);
  atomic_store_explicit(&shared->magic, EK_RING_MAGIC, memory_order_release);
}

ek_ring *ek_ring_create(const char *path, int n_joints, int n_views, int width, int height, const uint8_t *model_hash,
                        int *status) {
  int ignored, same = 0;
  status = status ? status : &ignored;
  *status = EK_E_ARGUMENT;
  if (!path || !sizes_valid(n_joints, n_views, width, height))
    return NULL;
  ek_ring *ring = ring_alloc(n_joints, n_views, width, height);
  *status = EK_E_MEMORY;
  if (!ring)
    return NULL;
  ring->writer = 1;
  *status = open_locked(path, ring->file_bytes, &ring->fd, &same);
  if (*status != EK_OK) {
    free(ring);
    return NULL;
  }
  /* posix_fallocate: a full tmpfs is an error here and not a SIGBUS in the first tick. */
  if ((!same && posix_fallocate(ring->fd, 0, (off_t)ring->file_bytes) != 0) ||
      ring_map(ring, PROT_READ | PROT_WRITE) != EK_OK) {
    *status = EK_E_IO;
    ek_ring_close(ring);
    return NULL;
  }
  header_write(ring, model_hash);
  *status = EK_OK;
  return ring;
}

static int header_check(int fd, ek_ring **out) {
  shared_header header;
  struct stat stat_;
  if (fstat(fd, &stat_) != 0 || !S_ISREG(stat_.st_mode))
    return EK_E_IO;
  ssize_t got = pread(fd, &header, sizeof header, 0);
  if (got < 0)
    return EK_E_IO;
  if (got != (ssize_t)sizeof header || header.magic != EK_RING_MAGIC)
    return EK_E_FORMAT;
  if (header.abi != EK_ABI_VERSION)
    return EK_E_VERSION;
  if (!sizes_valid((int)header.n_joints, (int)header.n_views, (int)header.width, (int)header.height))
    return EK_E_FORMAT;
  ek_ring *ring = ring_alloc((int)header.n_joints, (int)header.n_views, (int)header.width, (int)header.height);
  if (!ring)
    return EK_E_MEMORY;
  if (header.slot_bytes != ring->slot_bytes || header.file_bytes != ring->file_bytes ||
      stat_.st_size != (off_t)ring->file_bytes) {
    free(ring);
    return EK_E_FORMAT;
  }
  *out = ring;
  return EK_OK;
}

ek_ring *ek_ring_open(const char *path, int *status) {
  int ignored;
  status = status ? status : &ignored;
  *status = EK_E_ARGUMENT;
  if (!path)
    return NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  *status = EK_E_IO;
  if (fd < 0)
    return NULL;
  ek_ring *ring = NULL;
  *status = header_check(fd, &ring);
  if (*status != EK_OK) {
    close(fd);
    return NULL;
  }
  ring->fd = fd;
  *status = ring_map(ring, PROT_READ);
  if (*status != EK_OK) {
    ek_ring_close(ring);
    return NULL;
  }
  ring->epoch = atomic_load_explicit(&ring->shared->epoch, memory_order_acquire);
  return ring;
}

void ek_ring_close(ek_ring *ring) {
  if (!ring)
    return;
  if (ring->shared)
    munmap(ring->shared, ring->file_bytes);
  if (ring->fd >= 0)
    close(ring->fd); /* releases the writer's lock */
  free(ring);
}

int ek_ring_describe(const ek_ring *ring, ek_ring_info *info) {
  if (!ring || !info)
    return EK_E_ARGUMENT;
  const shared_header *shared = ring->shared;
  memset(info, 0, sizeof *info);
  info->n_joints = ring->n_joints, info->n_views = ring->n_views;
  info->width = ring->width, info->height = ring->height;
  info->epoch = atomic_load_explicit(&shared->epoch, memory_order_acquire);
  info->writer_pid = atomic_load_explicit(&shared->writer_pid, memory_order_acquire);
  info->heartbeat_ns = atomic_load_explicit(&shared->heartbeat_ns, memory_order_acquire);
  info->head = atomic_load_explicit(&shared->head, memory_order_acquire);
  memcpy(info->model_hash, shared->model_hash, sizeof info->model_hash);
  return EK_OK;
}

int ek_ring_publish(ek_ring *ring, const ek_frame *frame, const uint8_t *masks) {
  if (!ring || !ring->writer || !frame || !masks)
    return EK_E_ARGUMENT;
  uint64_t sequence = ring->sequence + 1;
  shared_slot *slot = slot_of(ring, sequence);
  atomic_store_explicit(&slot->sequence, 0, memory_order_relaxed);
  atomic_thread_fence(memory_order_release); /* nobody sees new bytes under the old sequence */
  slot->frame = *frame;
  slot->frame.sequence = sequence;
  memcpy(slot->masks, masks, ring->mask_bytes);
  slot->epoch = ring->epoch;
  slot->frame.publish_ns = ek_clock_ns();
  slot->crc = checksum(ring->epoch, &slot->frame, slot->masks, ring->mask_bytes);
  atomic_store_explicit(&slot->sequence, sequence, memory_order_release);
  atomic_store_explicit(&ring->shared->heartbeat_ns, slot->frame.publish_ns, memory_order_relaxed);
  atomic_store_explicit(&ring->shared->head, sequence, memory_order_release);
  atomic_fetch_add_explicit(&ring->shared->wake, 1, memory_order_release);
  ring->sequence = sequence;
  syscall(SYS_futex, &ring->shared->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
  return EK_OK;
}

/* A new epoch starts counting at 1 again: what a reader has seen of the old one does not hide it. */
static uint64_t seen_of(const ek_ring *ring, uint64_t after) {
  return atomic_load_explicit(&ring->shared->epoch, memory_order_acquire) == ring->epoch ? after : 0;
}

/* 1 read, 0 the writer was there (try again), EK_E_TORN the slot contradicts its checksum. */
static int read_slot(ek_ring *ring, uint64_t sequence, ek_frame *frame, uint8_t *masks, uint64_t *epoch) {
  shared_slot *slot = slot_of(ring, sequence);
  if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != sequence)
    return 0;
  *frame = slot->frame;
  memcpy(masks, slot->masks, ring->mask_bytes);
  *epoch = slot->epoch;
  uint32_t crc = slot->crc;
  atomic_thread_fence(memory_order_acquire); /* the copy is complete before the sequence is looked at again */
  if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != sequence)
    return 0;
  if (frame->sequence != sequence || checksum(*epoch, frame, masks, ring->mask_bytes) != crc)
    return EK_E_TORN;
  return 1;
}

int ek_ring_read(ek_ring *ring, uint64_t after, ek_frame *frame, uint8_t *masks) {
  if (!ring || !frame || !masks)
    return EK_E_ARGUMENT;
  for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_acquire), epoch = 0;
    if (head <= seen_of(ring, after))
      return 0;
    int got = read_slot(ring, head, frame, masks, &epoch);
    if (got < 0)
      return got;
    if (got > 0) {
      ring->epoch = epoch;
      return 1;
    }
  }
  return EK_E_TORN;
}

int ek_ring_wait(ek_ring *ring, uint64_t after, int64_t deadline_ns) {
  if (!ring)
    return EK_E_ARGUMENT;
  struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
  for (;;) {
    uint32_t word = atomic_load_explicit(&ring->shared->wake, memory_order_acquire);
    if (atomic_load_explicit(&ring->shared->head, memory_order_acquire) > seen_of(ring, after))
      return 1;
    if (deadline_ns <= 0 || ek_clock_ns() >= deadline_ns)
      return 0;
    /* The bitset form takes an absolute CLOCK_MONOTONIC deadline. */
    long rc = syscall(SYS_futex, &ring->shared->wake, FUTEX_WAIT_BITSET, word, &until, NULL, FUTEX_BITSET_MATCH_ANY);
    if (rc != 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
      return EK_E_SYSTEM;
  }
}
