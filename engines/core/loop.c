/* loop.c - the real-time loop: wait, read the newest frame, predict, compare, decide; count everything.
 *
 * Deadlines are absolute (next += period); durations are measured from when something should have happened, so that a
 * stall is not hidden by the ticks it swallowed. After ek_loop_run has prepared its thread it neither allocates, nor
 * locks, nor does I/O.
 */
#define _GNU_SOURCE
#include "checksum.h"
#include "edgekin.h"
#include "status.h"
#include "thread.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define VERDICT_WORDS (sizeof(ek_verdict) / 8)
#define USUAL_SAMPLES 100     /* before that nothing is usual */
#define MIN_SQUARED_ERR 1e-10 /* per pixel: caps the PSNR of a perfect frame at 100 dB */

_Static_assert(sizeof(ek_verdict) % 8 == 0, "the verdict is published word by word");

/* Why a verdict was late. */
enum { CAUSE_OWN, CAUSE_PREEMPTED, CAUSE_STOLEN, CAUSE_UNKNOWN };

struct ek_loop {
  ek_engine *engine;
  ek_ring *ring;
  ek_detector *detector;
  ek_inspector *inspector; /* NULL: none */
  ek_loop_config config;
  int64_t period_ns, frame_period_ns;
  int n_joints;
  size_t mask_bytes;
  uint8_t *masks;
  ek_frame frame;
  ek_verdict verdict;
  uint64_t last_sequence, last_epoch, alarms;
  int warming;       /* run, but record no timing yet */
  int last_cause;    /* of the tick before; CAUSE_UNKNOWN when it was on time */
  ek_thread_use use; /* of this thread, when the last tick ended */
  int64_t spun_ns;   /* of this tick's CPU time, before it was awake */
  int64_t last_done_ns;
  int64_t next_frame_ns; /* when the next frame is due; 0: not known */
  int64_t usual_ns;      /* what ticks with a frame take, on average */
  int64_t rehearsal_ns;  /* what the last rehearsal took */
  int rehearsed;         /* for the frame that is due next */
  ek_loop_stats stats;
  _Atomic int stop, running;
  /* A body that is handed over: the words are written before the flag is set and read before it is cleared. */
  _Atomic int handed;
  ek_changed_body changed;
  /* The published verdict: two buffers; turn is odd or even with the one that is complete. */
  _Atomic uint64_t turn;
  _Atomic uint64_t published[2][VERDICT_WORDS];
};

static void verdict_publish(ek_loop *loop, const ek_verdict *verdict) {
  uint64_t words[VERDICT_WORDS];
  memcpy(words, verdict, sizeof words);
  uint64_t turn = atomic_load_explicit(&loop->turn, memory_order_relaxed) + 1;
  /* The words below must not overtake the turn stored last time: a reader could then see neither change (ARM). */
  atomic_thread_fence(memory_order_release);
  for (size_t i = 0; i < VERDICT_WORDS; i++)
    atomic_store_explicit(&loop->published[turn & 1][i], words[i], memory_order_relaxed);
  atomic_store_explicit(&loop->turn, turn, memory_order_release);
}

int ek_loop_verdict(const ek_loop *loop, ek_verdict *verdict) {
  if (!loop || !verdict)
    return EK_E_ARGUMENT;
  uint64_t words[VERDICT_WORDS], before, after;
  do { /* the buffer read is rewritten only two publications later: this repeats once in a blue moon */
    before = atomic_load_explicit(&loop->turn, memory_order_acquire);
    for (size_t i = 0; i < VERDICT_WORDS; i++)
      words[i] = atomic_load_explicit(&loop->published[before & 1][i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    after = atomic_load_explicit(&loop->turn, memory_order_relaxed);
  } while (after != before);
  memcpy(verdict, words, sizeof words);
  if (ek_clock_ns() > verdict->expires_ns) {
    if (verdict->verdict != EK_VERDICT_UNKNOWN)
      verdict->reason = EK_E_STALE;
    verdict->verdict = EK_VERDICT_UNKNOWN;
  }
  return EK_OK;
}

static int config_check(const ek_loop_config *c) {
  if (!c || !(c->hz >= 0.1) || !(c->hz <= 1e5) || !(c->frame_hz >= 0) || !(c->frame_hz <= 1e5) || c->duration_ns < 0 ||
      c->warmup_ticks < 0)
    return EK_E_ARGUMENT;
  if ((c->mode != EK_MODE_EVENT && c->mode != EK_MODE_TIMER) || c->fifo_priority < 0 || c->fifo_priority > 99)
    return EK_E_ARGUMENT;
  /* More would leave nothing for the rest of the system: the kernel throttles a FIFO thread at 95%. */
  double rises_hz = c->mode == EK_MODE_EVENT && c->frame_hz > 0 ? c->frame_hz : c->hz;
  if (c->spin_ns < 0 || (double)c->spin_ns > 0.5e9 / rises_hz)
    return EK_E_ARGUMENT;
  return EK_OK;
}

ek_loop *ek_loop_create(ek_engine *engine, ek_ring *ring, ek_detector *detector, const ek_loop_config *config,
                        int *status) {
  int ignored;
  status = status ? status : &ignored;
  ek_ring_info ring_info;
  ek_engine_info engine_info;
  *status = EK_E_ARGUMENT;
  if (!engine || !ring || !detector || config_check(config) != EK_OK || ek_ring_describe(ring, &ring_info) != EK_OK ||
      ek_engine_describe(engine, &engine_info) != EK_OK)
    return NULL;
  *status = EK_E_FORMAT;
  if (ring_info.n_joints != engine_info.n_joints || ring_info.n_views != engine_info.n_views ||
      ring_info.width != engine_info.width || ring_info.height != engine_info.height)
    return NULL;
  ek_loop *loop = calloc(1, sizeof *loop);
  size_t mask_bytes = (size_t)ring_info.n_views * (size_t)ring_info.height * (size_t)((ring_info.width + 7) / 8);
  uint8_t *masks = calloc(1, mask_bytes);
  *status = EK_E_MEMORY;
  if (!loop || !masks) {
    free(loop);
    free(masks);
    return NULL;
  }
  loop->engine = engine, loop->ring = ring, loop->detector = detector, loop->config = *config;
  loop->period_ns = (int64_t)(1e9 / config->hz);
  loop->frame_period_ns = config->frame_hz > 0 ? (int64_t)(1e9 / config->frame_hz) : loop->period_ns;
  loop->n_joints = ring_info.n_joints;
  loop->masks = masks, loop->mask_bytes = mask_bytes;
  ek_detector_idle(detector, ek_clock_ns(), &loop->verdict);
  loop->verdict.verdict = EK_VERDICT_UNKNOWN;
  verdict_publish(loop, &loop->verdict);
  *status = EK_OK;
  return loop;
}

void ek_loop_destroy(ek_loop *loop) {
  if (!loop)
    return;
  free(loop->masks);
  free(loop);
}

enum { NOTHING, HANDED };

int ek_loop_inspect(ek_loop *loop, ek_inspector *inspector) {
  if (!loop || !inspector || atomic_load_explicit(&loop->running, memory_order_acquire))
    return EK_E_ARGUMENT;
  loop->inspector = inspector;
  return EK_OK;
}

int ek_loop_accept(ek_loop *loop, const ek_changed_body *body) {
  if (!loop || !loop->inspector)
    return EK_E_ARGUMENT;
  if (atomic_load_explicit(&loop->handed, memory_order_acquire) != NOTHING)
    return EK_E_BUSY;
  loop->changed = body ? *body : (ek_changed_body){.worse = 1};
  atomic_store_explicit(&loop->handed, HANDED, memory_order_release);
  return EK_OK;
}

/* Takes over what was handed over: between two pictures, so that none is judged by half of it. The alarm was for the
 * body before. */
static void take_over(ek_loop *loop) {
  if (atomic_load_explicit(&loop->handed, memory_order_acquire) == NOTHING)
    return;
  if (ek_inspector_accept(loop->inspector, &loop->changed) == EK_OK) {
    ek_detector_acknowledge(loop->detector);
    loop->stats.bodies++;
    loop->stats.body_ns = ek_clock_ns();
  }
  atomic_store_explicit(&loop->handed, NOTHING, memory_order_release);
}

void ek_loop_stop(ek_loop *loop) {
  if (loop)
    atomic_store_explicit(&loop->stop, 1, memory_order_release);
}

/* ---- misses -------------------------------------------------------------------------------------------------------
 */

/* The work of a tick is nearly the same every time. When it took a quarter more than usual, the usual fits into the
 * period, and no page fault came between, then the CPU was slow (hypervisor, interrupt, a shared core) although its
 * clock ran. */
static int disturbed(const ek_loop *loop, const ek_thread_use *now, int64_t work_ns) {
  const ek_hist *exec = &loop->stats.exec;
  if (exec->count < USUAL_SAMPLES || now->faults != loop->use.faults)
    return 0;
  int64_t usual_ns = ek_hist_percentile(exec, 0.5);
  return usual_ns < loop->period_ns && work_ns > usual_ns + usual_ns / 4;
}

/* Called only after a miss, so that a normal tick pays one clock and one usage call. due_ns: when the thread should
 * have started; wake_ns, done_ns: when it started and finished. */
static int cause_of(ek_loop *loop, int64_t due_ns, int64_t wake_ns, int64_t done_ns) {
  ek_thread_use now;
  ek_thread_use_now(&now);
  int64_t cpu_ns = now.cpu_ns - loop->use.cpu_ns - loop->spun_ns;
  int64_t busy_ns = loop->last_done_ns > due_ns ? loop->last_done_ns - due_ns : 0; /* the tick before ran over */
  int64_t late_ns = wake_ns - due_ns - busy_ns;
  int64_t work_ns = cpu_ns < done_ns - wake_ns ? cpu_ns : done_ns - wake_ns;
  if (work_ns > loop->period_ns && !disturbed(loop, &now, work_ns))
    return CAUSE_OWN;
  /* Late only because of the tick before: its cause when it was late itself; unknown when the publisher sent a burst.
   */
  if (busy_ns > 0 && done_ns - due_ns - busy_ns <= loop->period_ns)
    return loop->last_cause;
  if (now.preemptions > loop->use.preemptions || late_ns > loop->period_ns / 2)
    return CAUSE_PREEMPTED;
  /* Awake, never switched away, and yet the thread's CPU clock stood still: the hypervisor ran somebody else. */
  if (done_ns - wake_ns - cpu_ns > loop->period_ns / 4)
    return CAUSE_STOLEN;
  return CAUSE_UNKNOWN;
}

static void judge_deadline(ek_loop *loop, int64_t due_ns, int64_t wake_ns, int64_t done_ns) {
  ek_loop_stats *stats = &loop->stats;
  if (done_ns - due_ns <= loop->period_ns) {
    loop->last_cause = CAUSE_UNKNOWN;
    return;
  }
  uint64_t *counters[] = {[CAUSE_OWN] = &stats->misses_own,
                          [CAUSE_PREEMPTED] = &stats->misses_preempted,
                          [CAUSE_STOLEN] = &stats->misses_stolen,
                          [CAUSE_UNKNOWN] = &stats->misses_unknown};
  loop->last_cause = cause_of(loop, due_ns, wake_ns, done_ns);
  stats->misses++;
  ++*counters[loop->last_cause];
}

/* ---- one tick -----------------------------------------------------------------------------------------------------
 */

/* Detection is followed from the first frame on, also during warm-up: an alarm then is an alarm. */
static void record_detection(ek_loop *loop, int64_t done_ns) {
  ek_loop_stats *stats = &loop->stats;
  const ek_frame *frame = &loop->frame;
  if ((frame->flags & EK_FRAME_DAMAGED) && !stats->first_damaged_sequence) {
    stats->first_damaged_sequence = frame->sequence;
    stats->first_damaged_publish_ns = frame->publish_ns;
  }
  if (loop->verdict.alarms == loop->alarms)
    return;
  loop->alarms = loop->verdict.alarms;
  if (!stats->first_damaged_sequence) {
    stats->false_alarm_ns = stats->false_alarms ? stats->false_alarm_ns : done_ns;
    stats->false_alarms++;
  } else if (!stats->alarm_sequence) {
    stats->alarm_sequence = frame->sequence;
    stats->alarm_ns = done_ns;
  }
}

static void record_fidelity(ek_loop_stats *stats, const ek_frame *frame, const ek_score *score) {
  if ((frame->flags & EK_FRAME_DAMAGED) || score->n_pixels < 1 || !isfinite(score->squared_err))
    return;
  double mse = fmax(score->squared_err / score->n_pixels, MIN_SQUARED_ERR);
  stats->scored_frames++;
  stats->sum_psnr_db += -10.0 * log10(mse);
  stats->sum_iou += score->union_ > 0 ? (double)score->intersection / score->union_ : 1.0;
}

static int joints_finite(const ek_frame *frame, int n_joints) {
  for (int j = 0; j < n_joints; j++)
    if (!isfinite(frame->joints[j]))
      return 0;
  return 1;
}

static void count_verdict(ek_loop *loop) {
  if (!loop->warming)
    loop->stats.ticks_by_verdict[loop->verdict.verdict & 3]++;
}

/* Predict, compare and decide on the frame just read. */
static void decide(ek_loop *loop, ek_score *score) {
  memset(score, 0, sizeof *score);
  score->nll = NAN; /* stays so when the engine refuses: the detector then rejects the frame */
  if (loop->frame.fresh_camera && joints_finite(&loop->frame, loop->n_joints) &&
      (ek_engine_run(loop->engine, loop->frame.joints) != EK_OK ||
       ek_engine_score(loop->engine, loop->masks, score) != EK_OK))
    score->nll = NAN;
  ek_detector_update(loop->detector, &loop->frame, score, ek_hash64(loop->masks, loop->mask_bytes), ek_clock_ns(),
                     &loop->verdict);
  if (!loop->inspector || !loop->frame.fresh_camera || loop->verdict.sequence != loop->frame.sequence)
    return; /* the detector rejected it */
  take_over(loop);
  ek_finding finding;
  const float *commanded = loop->frame.flags & EK_FRAME_COMMANDED ? loop->frame.commanded : NULL;
  if (ek_inspector_update(loop->inspector, loop->frame.joints, commanded, loop->masks, &finding) == EK_OK)
    ek_detector_find(loop->detector, &finding, &loop->verdict);
}

/* Reads and judges the newest frame. 1: there was one; 0: none, the verdict was aged. */
static int tick(ek_loop *loop, int64_t wake_ns, int64_t *done_ns) {
  ek_loop_stats *stats = &loop->stats;
  ek_score score;
  uint64_t before = loop->last_sequence;
  int got = ek_ring_read(loop->ring, before, &loop->frame, loop->masks);
  if (got <= 0) {
    if (got < 0) { /* step over it, or the wait would return at once for ever */
      ek_ring_info info;
      ek_ring_describe(loop->ring, &info);
      loop->last_sequence = info.head;
      stats->torn_frames++;
    }
    ek_detector_idle(loop->detector, ek_clock_ns(), &loop->verdict);
    verdict_publish(loop, &loop->verdict);
    stats->idle_ticks += !loop->warming;
    count_verdict(loop);
    *done_ns = ek_clock_ns();
    return 0;
  }
  decide(loop, &score);
  verdict_publish(loop, &loop->verdict);
  *done_ns = ek_clock_ns();
  loop->usual_ns += (*done_ns - wake_ns - loop->usual_ns) / 16;
  loop->last_sequence = loop->frame.sequence;
  record_detection(loop, *done_ns);
  count_verdict(loop);
  if (loop->warming)
    return 1;
  stats->frames++;
  if (before && loop->frame.sequence > before) /* before: not the frames published before the loop began */
    stats->frames_skipped += loop->frame.sequence - before - 1;
  ek_hist_add(&stats->exec, *done_ns - wake_ns);
  ek_hist_add(&stats->frame_to_verdict, *done_ns - loop->frame.publish_ns);
  if (loop->frame.fresh_camera)
    record_fidelity(stats, &loop->frame, &score);
  return 1;
}

/* ---- the two ways to wait -------------------------------------------------------------------------------------------
 */

/* Skips the deadlines that have passed already: a late loop never bursts. */
static int64_t next_deadline(ek_loop *loop, int64_t next_ns, int64_t now_ns) {
  next_ns += loop->period_ns;
  if (next_ns <= now_ns) {
    int64_t passed = (now_ns - next_ns) / loop->period_ns + 1;
    next_ns += passed * loop->period_ns;
    if (!loop->warming)
      loop->stats.ticks_skipped += (uint64_t)passed;
  }
  return next_ns;
}

/* How early to rise. To be awake nearly all the time would leave nothing for the rest of the system, and the kernel
 * stops a FIFO thread that was for the better part of a second. */
static int64_t early_ns(const ek_loop *loop) {
  int event = loop->config.mode == EK_MODE_EVENT;
  int64_t period_ns = event ? loop->frame_period_ns : loop->period_ns, spin_ns = loop->config.spin_ns;
  return spin_ns + loop->usual_ns <= period_ns / 5 * 4 ? spin_ns : 0;
}

/* Up before the work comes: predicts once more from the last joints, where there is time. That brings the very weights
 * that the tick may need into the caches; after a pause of most of a period they are gone, and the tick would take half
 * as long again. */
static void rehearse(ek_loop *loop, int64_t due_ns) {
  int64_t start_ns = ek_clock_ns();
  ek_score score;
  if (!loop->last_sequence || due_ns - start_ns < loop->rehearsal_ns + loop->rehearsal_ns / 2)
    return;
  if (ek_engine_rehearse(loop->engine) == EK_OK)
    ek_engine_score(loop->engine, loop->masks, &score);
  loop->rehearsal_ns = ek_clock_ns() - start_ns;
}

/* Waits for a frame, the last of the time awake. 1: there is one; 0: the deadline came first, asleep or awake. */
static int await_frame(ek_loop *loop, int64_t next_ns) {
  int64_t due_ns = loop->next_frame_ns, spin_ns = early_ns(loop), from_ns, now_ns;
  if (!spin_ns || !due_ns)
    return ek_ring_wait(loop->ring, loop->last_sequence, next_ns);
  int64_t rise_ns = due_ns - spin_ns;
  int fresh = ek_ring_wait(loop->ring, loop->last_sequence, rise_ns < next_ns ? rise_ns : next_ns);
  from_ns = now_ns = ek_clock_ns();
  if (fresh || now_ns < rise_ns)
    return fresh;
  if (!loop->rehearsed)
    rehearse(loop, due_ns);
  loop->rehearsed = 1;
  while (!(fresh = ek_ring_wait(loop->ring, loop->last_sequence, 0)) && now_ns < due_ns + spin_ns && now_ns < next_ns) {
    ek_cpu_relax();
    now_ns = ek_clock_ns();
  }
  loop->spun_ns = now_ns - from_ns;
  if (fresh || now_ns >= next_ns)
    return fresh;
  loop->next_frame_ns = 0; /* it is late, nobody knows how late */
  return ek_ring_wait(loop->ring, loop->last_sequence, next_ns);
}

static int64_t event_tick(ek_loop *loop, int64_t next_ns) {
  int64_t done_ns;
  int fresh = await_frame(loop, next_ns);
  int64_t wake_ns = ek_clock_ns();
  if (!tick(loop, wake_ns, &done_ns)) {
    loop->last_done_ns = done_ns;
    return fresh > 0 ? next_ns : next_deadline(loop, next_ns, done_ns);
  }
  int64_t due_ns = loop->frame.publish_ns;
  if (!loop->warming) {
    ek_hist_add(&loop->stats.wakeup, wake_ns - due_ns);
    judge_deadline(loop, due_ns, wake_ns, done_ns);
  }
  loop->last_done_ns = done_ns;
  loop->next_frame_ns = due_ns + loop->frame_period_ns;
  loop->rehearsed = 0;
  /* The next frame is due one period after this one; without it the verdict is aged another period later. */
  return (due_ns > wake_ns - loop->period_ns ? due_ns : wake_ns) + 2 * loop->period_ns;
}

static int64_t timer_tick(ek_loop *loop, int64_t next_ns) {
  int64_t done_ns, spin_ns = early_ns(loop);
  ek_thread_sleep_until(next_ns - spin_ns);
  int64_t from_ns = ek_clock_ns();
  if (spin_ns)
    rehearse(loop, next_ns);
  int64_t wake_ns = ek_clock_ns();
  while (wake_ns < next_ns)
    wake_ns = ek_clock_ns();
  loop->spun_ns = wake_ns - from_ns;
  tick(loop, wake_ns, &done_ns);
  if (!loop->warming) {
    ek_hist_add(&loop->stats.wakeup, wake_ns - next_ns);
    judge_deadline(loop, next_ns, wake_ns, done_ns);
  }
  loop->last_done_ns = done_ns;
  return next_deadline(loop, next_ns, done_ns);
}

static void run(ek_loop *loop) {
  ek_loop_stats *stats = &loop->stats;
  int64_t next_ns = loop->last_done_ns + loop->period_ns;
  stats->start_ns = loop->last_done_ns + loop->config.warmup_ticks * loop->period_ns;
  int64_t end_ns = loop->config.duration_ns ? stats->start_ns + loop->config.duration_ns : INT64_MAX;
  while (!atomic_load_explicit(&loop->stop, memory_order_acquire) && loop->last_done_ns < end_ns) {
    loop->warming = loop->last_done_ns < stats->start_ns;
    ek_thread_use_now(&loop->use);
    loop->spun_ns = 0;
    next_ns = loop->config.mode == EK_MODE_EVENT ? event_tick(loop, next_ns) : timer_tick(loop, next_ns);
    stats->ticks += !loop->warming;
  }
  stats->end_ns = ek_clock_ns();
}

int ek_loop_run(ek_loop *loop) {
  if (!loop)
    return EK_E_ARGUMENT;
  if (atomic_exchange_explicit(&loop->running, 1, memory_order_acq_rel))
    return EK_E_BUSY;
  ek_loop_stats *stats = &loop->stats;
  memset(stats, 0, sizeof *stats);
  loop->last_cause = CAUSE_UNKNOWN;
  loop->last_done_ns = ek_clock_ns();
  loop->alarms = loop->verdict.alarms;
  ek_thread_saved saved;
  ek_thread_prepare(&loop->config, stats, &saved);
  run(loop);
  ek_thread_restore(&saved, stats);
  stats->last = loop->verdict;
  ek_verdict stopped = loop->verdict;
  stopped.verdict = EK_VERDICT_UNKNOWN;
  verdict_publish(loop, &stopped);
  atomic_store_explicit(&loop->running, 0, memory_order_release);
  return EK_OK;
}

int ek_loop_report(const ek_loop *loop, ek_loop_stats *stats) {
  if (!loop || !stats)
    return EK_E_ARGUMENT;
  *stats = loop->stats;
  return EK_OK;
}
