/* team.h - a few threads that do one job together and then wait for the next. */
#ifndef EK_LEARN_TEAM_H
#define EK_LEARN_TEAM_H

#define EK_TEAM_MAX 64

typedef struct ek_team ek_team;

/* Does one part of a job; worker is 0 for the calling thread, below the team's size for the others. */
typedef void (*ek_team_part)(void *context, int part, int worker);

/* A team of n threads, the caller among them; NULL where they cannot be started. */
ek_team *ek_team_create(int n);
void ek_team_destroy(ek_team *team);
/* Does parts 0 to n_parts - 1, each once, by whoever is free; returns when all are done. */
void ek_team_run(ek_team *team, ek_team_part work, void *context, int n_parts);

#endif
