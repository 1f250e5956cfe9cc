/* thread.h - what the loop asks of its thread: scheduling, memory, sleep, and what it has used. */
#ifndef EK_CORE_THREAD_H
#define EK_CORE_THREAD_H

#include "edgekin.h"
#include <sched.h>

typedef struct {
  int64_t cpu_ns;   /* this thread's CPU time */
  long preemptions; /* involuntary context switches */
  long faults;      /* page faults */
} ek_thread_use;

/* The settings of the calling thread before ek_thread_prepare. */
typedef struct {
  int policy, slack;
  struct sched_param param;
  cpu_set_t cpus;
} ek_thread_saved;

/* Inside a busy wait: leaves the core's resources to its other hardware thread. */
static inline void ek_cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

void ek_thread_use_now(ek_thread_use *use);
void ek_thread_sleep_until(int64_t deadline_ns);
/* Asks for what the config wants and notes in stats->got_* what was permitted. */
void ek_thread_prepare(const ek_loop_config *config, ek_loop_stats *stats, ek_thread_saved *saved);
void ek_thread_restore(const ek_thread_saved *saved, const ek_loop_stats *stats);

#endif
