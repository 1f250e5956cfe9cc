/* team.c - parts of a job are taken one by one, so a thread that the system holds up leaves its share to the others. */
#define _GNU_SOURCE
#include "team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Looks at a job's counter before a thread sleeps: some tens of microseconds, what waking it would take. */
enum { LOOKS = 4000 };

typedef struct {
  ek_team *team;
  int worker;
} seat;

struct ek_team {
  int n, started;
  pthread_t threads[EK_TEAM_MAX];
  pthread_mutex_t lock;
  pthread_cond_t begin, end;
  atomic_uint job;                /* number of the job at work */
  atomic_int next, working, stop; /* part to take; threads that are not done; whether to end */
  ek_team_part work;
  void *context;
  int n_parts;
  seat seats[EK_TEAM_MAX];
};

static void rest(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void take_parts(ek_team *t, int worker) {
  for (int part; (part = atomic_fetch_add(&t->next, 1)) < t->n_parts;)
    t->work(t->context, part, worker);
}

static void *serve(void *context) {
  const seat *own = context;
  ek_team *t = own->team;
  for (unsigned done = 0;;) {
    for (int i = 0; i < LOOKS && atomic_load(&t->job) == done; i++)
      rest();
    if (atomic_load(&t->job) == done) {
      pthread_mutex_lock(&t->lock);
      while (atomic_load(&t->job) == done)
        pthread_cond_wait(&t->begin, &t->lock);
      pthread_mutex_unlock(&t->lock);
    }
    if (atomic_load(&t->stop))
      return NULL;
    done++;
    take_parts(t, own->worker);
    if (atomic_fetch_sub(&t->working, 1) == 1) {
      pthread_mutex_lock(&t->lock);
      pthread_cond_signal(&t->end);
      pthread_mutex_unlock(&t->lock);
    }
  }
}

static void call(ek_team *t) {
  atomic_store(&t->working, t->started);
  atomic_store(&t->next, 0);
  pthread_mutex_lock(&t->lock);
  atomic_fetch_add(&t->job, 1);
  pthread_cond_broadcast(&t->begin);
  pthread_mutex_unlock(&t->lock);
}

ek_team *ek_team_create(int n) {
  ek_team *t = n < 1 || n > EK_TEAM_MAX ? NULL : calloc(1, sizeof *t);
  if (!t)
    return NULL;
  t->n = n;
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->begin, NULL), pthread_cond_init(&t->end, NULL);
  for (int k = 1; k < n; k++, t->started++) {
    t->seats[k] = (seat){t, k};
    if (pthread_create(&t->threads[k], NULL, serve, &t->seats[k])) {
      ek_team_destroy(t);
      return NULL;
    }
  }
  return t;
}

void ek_team_destroy(ek_team *t) {
  if (!t)
    return;
  atomic_store(&t->stop, 1);
  call(t);
  for (int k = 1; k <= t->started; k++)
    pthread_join(t->threads[k], NULL);
  pthread_cond_destroy(&t->begin), pthread_cond_destroy(&t->end);
  pthread_mutex_destroy(&t->lock);
  free(t);
}

void ek_team_run(ek_team *t, ek_team_part work, void *context, int n_parts) {
  t->work = work, t->context = context, t->n_parts = n_parts;
  call(t);
  take_parts(t, 0);
  for (int i = 0; i < LOOKS && atomic_load(&t->working); i++)
    rest();
  pthread_mutex_lock(&t->lock);
  while (atomic_load(&t->working))
    pthread_cond_wait(&t->end, &t->lock);
  pthread_mutex_unlock(&t->lock);
}
