// Tasks shared among threads.
#pragma once
#include <pthread.h>
#include <stdint.h>

constexpr int MOST_THREADS = 256;

// GOMP_parallel of the OpenMP library that the process has already, if it was given: threads of
// one's own would share cores with its threads, which stay awake for a while after their work.
typedef void (*Team)(void (*)(void *), void *, unsigned, unsigned);
extern Team team;

// The numbers from 0 to `count`, each given out once.
struct Tasks {
  int64_t count, given;

  // The next number, -1 when there are no more.
  int64_t next() {
    const int64_t i = __atomic_fetch_add(&given, 1, __ATOMIC_RELAXED);
    return i < count ? i : -1;
  }
};

// Runs `worker(tasks)` on up to `threads` threads, each of which takes tasks until none is left, or it
// lacks memory for them. Whether all were taken.
template <class Worker>
static bool parallel(int64_t threads, int64_t count, const Worker &worker) {
  struct Job {
    const Worker *worker;
    Tasks tasks;
    static void run(void *job) { (*((Job *)job)->worker)(((Job *)job)->tasks); }
    static void *start(void *job) {
      run(job);
      return nullptr;
    }
  } job = {&worker, {count, 0}};
  if (threads > count) threads = count;
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (threads > 1 && team) {
    team(Job::run, &job, (unsigned)threads, 0);
  } else if (count) {
    pthread_t helpers[MOST_THREADS];
    int started = 0;
    while (started + 1 < threads &&
           pthread_create(&helpers[started], nullptr, Job::start, &job) == 0)
      started++;
    Job::run(&job);
    for (int i = 0; i < started; i++) pthread_join(helpers[i], nullptr);
  }
  return job.tasks.given >= count;
}
