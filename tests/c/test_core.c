/* test_core.c - ring, detector and loop from C: no allocation inside the loop, clean stop, faults and late frames. */
#define _GNU_SOURCE
#include "check.h"
#include "edgekin.h"
#include "core/status.h"
#include "native/model.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- every allocation of the process passes through here --
 */

static _Atomic int watched_thread; /* gettid of the thread that must not allocate; 0: nobody */
static _Atomic long watched_allocations;

#ifndef __SANITIZE_ADDRESS__ /* the sanitizer brings its own allocator */
static void note(void) {
  int watched = atomic_load(&watched_thread);
  if (watched && watched == gettid())
    atomic_fetch_add(&watched_allocations, 1);
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
void *malloc(size_t bytes) {
  note();
  return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
  note();
  return __libc_calloc(count, bytes);
}
void *realloc(void *old, size_t bytes) {
  note();
  return __libc_realloc(old, bytes);
}
#endif

/* ---- a small engine: FP32, one linear layer, 2 joints -> 1 x 8 x 8 logits -----------------------------------------
 */

enum { JOINTS = 2, SIDE = 8, PIXELS = SIDE * SIDE };

static void put32(uint8_t *at, uint32_t value) {
  memcpy(at, &value, 4);
}
static void put64(uint8_t *at, uint64_t value) {
  memcpy(at, &value, 8);
}

static void layer(uint8_t *at, uint32_t kind, const uint32_t shape[6]) {
  put32(at, kind);
  for (int i = 0; i < 6; i++)
    put32(at + 8 + 4 * i, shape[i]);
}

/* docs/formats.md, "Weight file": sincos (2 -> 4), linear (4 -> 64) with zero weights and bias -2, reshape (1, 8, 8).
 */
static ek_engine *small_engine(void) {
  static uint8_t blob[64 + 3 * 128 + PIXELS * 4 * 4 + PIXELS * 4];
  const uint64_t weights = 64 + 3 * 128, biases = weights + PIXELS * 4 * 4;
  memset(blob, 0, sizeof blob);
  memcpy(blob, "EKW1", 4);
  const uint32_t head[] = {2, EK_PRECISION_FP32, JOINTS, 1, SIDE, SIDE, 3};
  for (int i = 0; i < 7; i++)
    put32(blob + 4 + 4 * i, head[i]);
  put64(blob + 32, sizeof blob);
  layer(blob + 64, 0, (uint32_t[]){2, 1, 1, 4, 1, 1});
  uint8_t *linear = blob + 64 + 128;
  layer(linear, 1, (uint32_t[]){4, 1, 1, PIXELS, 1, 1});
  put64(linear + 64, weights);
  put64(linear + 72, PIXELS * 4 * 4);
  put64(linear + 80, biases);
  put64(linear + 88, PIXELS * 4);
  layer(blob + 64 + 256, 2, (uint32_t[]){PIXELS, 1, 1, 1, SIDE, SIDE});
  for (int i = 0; i < PIXELS; i++) {
    float bias = -2.0f;
    memcpy(blob + biases + 4 * i, &bias, 4);
  }
  put32(blob + 40, ek_crc32(0, blob, sizeof blob));
  int status;
  ek_engine *engine = ek_engine_open(blob, sizeof blob, EK_ISA_AUTO, &status);
  if (!engine)
    fprintf(stderr, "engine: %s\n", ek_status_text(status));
  CHECK(engine);
  return engine;
}

/* ---- a bench: engine, ring with both ends, detector
 * ------------------------------------------------------------------ */

typedef struct {
  char path[64];
  ek_engine *engine;
  ek_ring *writer, *reader;
  ek_detector *detector;
} bench;

static bench bench_open(double mean) {
  static const float centroid[JOINTS] = {0, 0}, std = 0.1f;
  float healthy = (float)mean;
  bench b = {.engine = small_engine()};
  int status;
  snprintf(b.path, sizeof b.path, "/tmp/edgekin-test-core-%d.ring", (int)getpid());
  b.writer = ek_ring_create(b.path, JOINTS, 1, SIDE, SIDE, NULL, &status);
  CHECK(b.writer && status == EK_OK);
  b.reader = ek_ring_open(b.path, &status);
  CHECK(b.reader && status == EK_OK);
  ek_detector_config config = {.n_joints = JOINTS,
                               .n_regions = 1,
                               .centroids = centroid,
                               .mean = &healthy,
                               .std = &std,
                               .k = 1.0,
                               .h = 20.0,
                               .z_clip = 6.0,
                               .joint_min_rad = {-2, -2},
                               .joint_max_rad = {2, 2},
                               .bad_frames_to_unknown = 3,
                               .stale_ns = 2000000000,
                               .frozen_frames = 0,
                               .frozen_motion_rad = 0.1};
  b.detector = ek_detector_create(&config, &status);
  CHECK(b.detector && status == EK_OK);
  return b;
}

static void bench_close(bench *b) {
  ek_detector_destroy(b->detector);
  ek_ring_close(b->reader);
  ek_ring_close(b->writer);
  ek_engine_close(b->engine);
  unlink(b->path);
}

/* Publishes a frame every 0.5 ms: n healthy ones (an empty picture, which the engine predicts), then damaged ones. */
typedef struct {
  ek_ring *ring;
  int healthy, total;
  _Atomic int stop;
} publisher;

static void *publish(void *argument) {
  publisher *p = argument;
  for (int i = 0; i < p->total && !atomic_load(&p->stop); i++) {
    uint8_t mask[SIDE] = {0};
    if (i >= p->healthy)
      memset(mask, 0xff, sizeof mask);
    ek_frame frame = {.stamp_ns = ek_clock_ns(),
                      .joints = {0.1f, 0.2f},
                      .fresh_camera = 1,
                      .flags = i >= p->healthy ? EK_FRAME_DAMAGED : 0};
    CHECK(ek_ring_publish(p->ring, &frame, mask) == EK_OK);
    nanosleep(&(struct timespec){0, 500000}, NULL);
  }
  return NULL;
}

static double nll_of_empty(void) {
  return log1p(exp(-2.0));
} /* per pixel, of logit -2 and nothing seen */

static ek_loop *loop_open(const bench *b, int mode) {
  ek_loop_config config = {.hz = 1000, .mode = mode, .cpu = -1, .lock_memory = 1, .warmup_ticks = 5};
  config.spin_ns = 200000; /* rehearsals must not allocate either */
  int status;
  ek_loop *loop = ek_loop_create(b->engine, b->reader, b->detector, &config, &status);
  CHECK(loop && status == EK_OK);
  return loop;
}

static void *loop_thread(void *loop) {
  atomic_store(&watched_allocations, 0);
  atomic_store(&watched_thread, gettid());
  CHECK(ek_loop_run(loop) == EK_OK);
  atomic_store(&watched_thread, 0);
  return NULL;
}

/* ---- tests
 * --------------------------------------------------------------------------------------------------------------- */

static void loop_alarms_and_never_allocates(int mode) {
  bench b = bench_open(nll_of_empty());
  ek_loop *loop = loop_open(&b, mode);
  publisher p = {.ring = b.writer, .healthy = 300, .total = 600};
  pthread_t runs, publishes;
  ek_verdict verdict;
  CHECK(ek_loop_verdict(loop, &verdict) == EK_OK && verdict.verdict == EK_VERDICT_UNKNOWN);
  pthread_create(&runs, NULL, loop_thread, loop);
  pthread_create(&publishes, NULL, publish, &p);
  pthread_join(publishes, NULL);
  ek_loop_stop(loop);
  pthread_join(runs, NULL);
  CHECK(atomic_load(&watched_allocations) == 0);
  ek_loop_stats stats;
  CHECK(ek_loop_report(loop, &stats) == EK_OK);
  CHECK(stats.false_alarms == 0 && stats.alarm_sequence >= stats.first_damaged_sequence);
  CHECK(stats.first_damaged_sequence > 300 && stats.alarm_sequence > 0);
  CHECK(stats.last.verdict == EK_VERDICT_DAMAGED && stats.last.alarms == 1);
  CHECK(stats.frames > 0 && stats.frames == stats.exec.count && stats.frames == stats.frame_to_verdict.count);
  CHECK(stats.ticks >= stats.frames && stats.ticks == stats.frames + stats.idle_ticks);
  CHECK(stats.misses == stats.misses_own + stats.misses_preempted + stats.misses_stolen + stats.misses_unknown);
  CHECK(stats.exec.underflow == 0 && stats.wakeup.underflow == 0 && stats.frame_to_verdict.underflow == 0);
  CHECK(stats.scored_frames > 0 && stats.sum_iou == (double)stats.scored_frames);
  /* p = 1 / (1 + e^2) everywhere against nothing seen: PSNR = -20 log10 p */
  CHECK(fabs(stats.sum_psnr_db / (double)stats.scored_frames + 20 * log10(1 / (1 + exp(2.0)))) < 0.01);
  CHECK(ek_loop_verdict(loop, &verdict) == EK_OK && verdict.verdict == EK_VERDICT_UNKNOWN);
  ek_loop_destroy(loop);
  bench_close(&b);
}

static void loop_ends_after_its_duration_without_frames(int mode) {
  bench b = bench_open(nll_of_empty());
  ek_loop_config config = {.hz = 1000, .duration_ns = 50000000, .mode = mode, .cpu = -1};
  int status;
  ek_loop *loop = ek_loop_create(b.engine, b.reader, b.detector, &config, &status);
  CHECK(loop && ek_loop_run(loop) == EK_OK);
  ek_loop_stats stats;
  CHECK(ek_loop_report(loop, &stats) == EK_OK);
  CHECK(stats.frames == 0 && stats.idle_ticks == stats.ticks && stats.ticks > 0);
  CHECK(stats.end_ns - stats.start_ns >= 50000000 && stats.last.verdict == EK_VERDICT_UNKNOWN);
  CHECK(stats.got_fifo == 0 && stats.got_lock == 0 && stats.got_affinity == 0 && stats.got_timer_slack == 1);
  ek_loop_destroy(loop);
  bench_close(&b);
}

static void a_cpu_that_does_not_exist_is_an_errno_and_the_loop_still_runs(void) {
  bench b = bench_open(nll_of_empty());
  ek_loop_config config = {.hz = 1000, .duration_ns = 5000000, .mode = EK_MODE_TIMER, .cpu = 100000};
  int status;
  ek_loop *loop = ek_loop_create(b.engine, b.reader, b.detector, &config, &status);
  CHECK(loop && ek_loop_run(loop) == EK_OK);
  ek_loop_stats stats;
  CHECK(ek_loop_report(loop, &stats) == EK_OK && stats.got_affinity < 0 && stats.ticks > 0);
  ek_loop_destroy(loop);
  bench_close(&b);
}

static void a_loop_refuses_what_does_not_fit(void) {
  bench b = bench_open(nll_of_empty());
  int status;
  ek_loop_config good = {.hz = 1000, .cpu = -1}, bad;
  for (int i = 0; i < 5; i++) {
    bad = good;
    bad.hz = i == 0 ? NAN : i == 1 ? 0 : good.hz;
    bad.mode = i == 2 ? 7 : 0;
    bad.spin_ns = i == 3 ? 600000 : 0;
    bad.fifo_priority = i == 4 ? 100 : 0;
    CHECK(!ek_loop_create(b.engine, b.reader, b.detector, &bad, &status) && status == EK_E_ARGUMENT);
  }
  char other[80];
  snprintf(other, sizeof other, "%s2", b.path);
  ek_ring *wide = ek_ring_create(other, JOINTS, 1, SIDE + 1, SIDE, NULL, &status);
  CHECK(wide && !ek_loop_create(b.engine, wide, b.detector, &good, &status) && status == EK_E_FORMAT);
  ek_ring_close(wide);
  unlink(other);
  bench_close(&b);
}

static void a_nan_joint_never_reaches_the_engine_and_makes_the_verdict_unknown(void) {
  bench b = bench_open(nll_of_empty());
  ek_loop *loop = loop_open(&b, EK_MODE_EVENT);
  pthread_t runs;
  pthread_create(&runs, NULL, loop_thread, loop);
  ek_verdict verdict = {0};
  uint8_t mask[SIDE] = {0};
  for (int i = 0; i < 20000 && verdict.rejected < 3; i++) {
    ek_frame frame = {.stamp_ns = ek_clock_ns(), .joints = {NAN, 0}, .fresh_camera = 1};
    ek_ring_publish(b.writer, &frame, mask);
    nanosleep(&(struct timespec){0, 200000}, NULL);
    ek_loop_verdict(loop, &verdict);
  }
  CHECK(verdict.rejected >= 3 && verdict.verdict == EK_VERDICT_UNKNOWN && verdict.reason == EK_E_NONFINITE);
  ek_loop_stop(loop);
  pthread_join(runs, NULL);
  ek_loop_destroy(loop);
  bench_close(&b);
}

/* A reader that must never see a torn verdict: sequence and decided_ns are published together. */
static void a_verdict_is_read_whole_while_it_is_rewritten(void) {
  bench b = bench_open(nll_of_empty());
  ek_loop *loop = loop_open(&b, EK_MODE_EVENT);
  publisher p = {.ring = b.writer, .healthy = 400, .total = 400};
  pthread_t runs, publishes;
  pthread_create(&runs, NULL, loop_thread, loop);
  pthread_create(&publishes, NULL, publish, &p);
  uint64_t last = 0;
  int64_t decided = 0;
  for (int i = 0; i < 200000; i++) {
    ek_verdict verdict;
    CHECK(ek_loop_verdict(loop, &verdict) == EK_OK);
    CHECK(verdict.sequence >= last && verdict.decided_ns >= decided);
    CHECK(verdict.verdict != EK_VERDICT_DAMAGED && verdict.verdict != EK_VERDICT_FAULT);
    last = verdict.sequence, decided = verdict.decided_ns;
  }
  pthread_join(publishes, NULL);
  ek_loop_stop(loop);
  pthread_join(runs, NULL);
  ek_loop_destroy(loop);
  bench_close(&b);
}

static void the_histogram_keeps_its_promises(void) {
  static ek_hist hist;
  ek_hist_reset(&hist);
  CHECK(ek_hist_percentile(&hist, 0.5) == 0);
  ek_hist_add(&hist, -5);
  ek_hist_add(&hist, (int64_t)1 << 36);
  ek_hist_add(&hist, ((int64_t)1 << 36) - 1);
  CHECK(hist.count == 3 && hist.underflow == 1 && hist.overflow == 1 && hist.bucket[EK_HIST_BUCKETS - 1] == 1);
  CHECK(ek_hist_percentile(&hist, 0.0) == -5 && ek_hist_percentile(&hist, 1.0) == (int64_t)1 << 36);
}

/* The watch must see what it is there for, or its zero would mean nothing. */
static void the_allocation_watch_sees_an_allocation(void) {
#ifndef __SANITIZE_ADDRESS__
  atomic_store(&watched_thread, gettid());
  void *volatile block = malloc(10);
  atomic_store(&watched_thread, 0);
  free(block);
  CHECK(atomic_exchange(&watched_allocations, 0) == 1);
#endif
}

int main(void) {
  the_allocation_watch_sees_an_allocation();
  the_histogram_keeps_its_promises();
  a_loop_refuses_what_does_not_fit();
  for (int mode = EK_MODE_EVENT; mode <= EK_MODE_TIMER; mode++) {
    loop_ends_after_its_duration_without_frames(mode);
    loop_alarms_and_never_allocates(mode);
  }
  a_cpu_that_does_not_exist_is_an_errno_and_the_loop_still_runs();
  a_nan_joint_never_reaches_the_engine_and_makes_the_verdict_unknown();
  a_verdict_is_read_whole_while_it_is_rewritten();
  puts("core: ok");
  return 0;
}
