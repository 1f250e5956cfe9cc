/* thread.c - scheduling policy, affinity, memory lock and timer slack of the loop's thread, put back afterwards. */
#define _GNU_SOURCE
#include "thread.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#define STACK_BYTES (64 * 1024) /* touched in advance: more than the deepest call of the loop */

void ek_thread_use_now(ek_thread_use *use) {
  struct timespec cpu;
  struct rusage usage;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  getrusage(RUSAGE_THREAD, &usage);
  use->cpu_ns = (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
  use->preemptions = usage.ru_nivcsw;
  use->faults = usage.ru_minflt + usage.ru_majflt;
}

void ek_thread_sleep_until(int64_t deadline_ns) {
  struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
  }
}

static void touch_stack(void) {
  volatile uint8_t stack[STACK_BYTES];
  for (size_t i = 0; i < sizeof stack; i += 512)
    stack[i] = 0;
}

static int got(int failed) {
  return failed ? -errno : 1;
}

/* Locks what is present now, and the rest of today's mappings page by page when it is first touched, which the warm-up
 * does for the loop's part: to read in every page of the process (libraries, unused stacks) would triple its memory.
 * Not MCL_FUTURE: with a finite RLIMIT_MEMLOCK a later allocation of the process would fail. */
static int lock_memory(void) {
#ifdef MCL_ONFAULT
  int failed = mlockall(MCL_CURRENT | MCL_ONFAULT);
  if (!failed || errno != EINVAL) /* EINVAL: Linux before 4.4 */
    return failed;
#endif
  return mlockall(MCL_CURRENT);
}

void ek_thread_prepare(const ek_loop_config *config, ek_loop_stats *stats, ek_thread_saved *saved) {
  memset(saved, 0, sizeof *saved);
  saved->policy = sched_getscheduler(0);
  sched_getparam(0, &saved->param);
  sched_getaffinity(0, sizeof saved->cpus, &saved->cpus);
  saved->slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  if (config->cpu >= 0) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    errno = EINVAL; /* CPU_SET ignores a number that is too large */
    if (config->cpu < CPU_SETSIZE)
      CPU_SET(config->cpu, &cpus);
    stats->got_affinity = got(sched_setaffinity(0, sizeof cpus, &cpus) != 0);
  }
  if (config->lock_memory)
    stats->got_lock = got(lock_memory() != 0);
  if (config->fifo_priority > 0) {
    struct sched_param param = {.sched_priority = config->fifo_priority};
    stats->got_fifo = got(sched_setscheduler(0, SCHED_FIFO, &param) != 0);
  }
  /* The default of 50 us is added to every sleep of a thread that is not real-time. */
  stats->got_timer_slack = got(prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) != 0);
  touch_stack();
}

void ek_thread_restore(const ek_thread_saved *saved, const ek_loop_stats *stats) {
  if (stats->got_fifo > 0)
    sched_setscheduler(0, saved->policy, &saved->param);
  if (stats->got_affinity > 0)
    sched_setaffinity(0, sizeof saved->cpus, &saved->cpus);
  if (stats->got_lock > 0)
    munlockall();
  if (saved->slack > 0)
    prctl(PR_SET_TIMERSLACK, saved->slack, 0, 0, 0);
}
