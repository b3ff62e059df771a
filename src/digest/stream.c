/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges that a thread hashes alone, and how threads without work of their own find them. */
#include "digest/engine.h"

/* Those that wait for streams look again, since one less is to come. */
static void announce(hm_stream *s) {
    hm_schedule *schedule = s->schedule;
    (void)pthread_mutex_lock(&schedule->lock);
    s->next = schedule->streams;
    schedule->streams = s;
    schedule->streams_announced--;
    (void)pthread_cond_broadcast(&schedule->streams_changed);
    (void)pthread_mutex_unlock(&schedule->lock);
}

void hm_stream_open(hm_stream *s, hm_worker *worker, const hm_work *work) {
    s->schedule = worker->schedule;
    s->work = *work;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    announce(s);
}

static void take_from_list(hm_stream *s) {
    hm_schedule *schedule = s->schedule;
    (void)pthread_mutex_lock(&schedule->lock);
    hm_stream **link = &schedule->streams;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    (void)pthread_mutex_unlock(&schedule->lock);
}

void hm_stream_close(hm_stream *s) {
    take_from_list(s);
    (void)pthread_mutex_lock(&s->lock);
    s->closing = true;
    (void)pthread_cond_broadcast(&s->changed);
    while (s->helpers > 0) {
        (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->changed);
    if (s->ended || !hm_schedule_stopped(s->schedule)) {
        hm_schedule_finish(s->schedule, &s->work, s->ended);
    }
}

void hm_stream_set_ended(hm_stream *s) {
    (void)pthread_mutex_lock(&s->lock);
    s->ended = true;
    (void)pthread_mutex_unlock(&s->lock);
}

void hm_stream_run(hm_worker *worker, const hm_work *work) {
    if (worker->hasher.hash == HM_HASH_BLAKE3 && hm_blake3_tree_fits(work)) {
        hm_blake3_tree_run(worker, work);
    } else {
        hm_ahead_run(worker, work);
    }
}

static bool is_tree(const hm_worker *worker, const hm_stream *s) {
    return worker->hasher.hash == HM_HASH_BLAKE3 && hm_blake3_tree_fits(&s->work);
}

/* A stream that wants help, with the schedule's lock held. From now on it may not vanish. */
static hm_stream *find_stream(const hm_worker *worker) {
    for (hm_stream *s = worker->schedule->streams; s != NULL; s = s->next) {
        (void)pthread_mutex_lock(&s->lock);
        bool found = is_tree(worker, s) ? hm_blake3_tree_wants_help(s) : hm_ahead_wants_help(s);
        s->helpers += found;
        (void)pthread_mutex_unlock(&s->lock);
        if (found) {
            return s;
        }
    }
    return NULL;
}

static void help(hm_worker *worker, hm_stream *s) {
    if (is_tree(worker, s)) {
        hm_blake3_tree_help(worker, s);
    } else {
        hm_ahead_help(s);
    }
    (void)pthread_mutex_lock(&s->lock);
    s->helpers--;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

void hm_stream_help(hm_worker *worker) {
    hm_schedule *schedule = worker->schedule;
    (void)pthread_mutex_lock(&schedule->lock);
    for (;;) {
        hm_stream *s = find_stream(worker);
        if (s != NULL) {
            (void)pthread_mutex_unlock(&schedule->lock);
            help(worker, s);
            (void)pthread_mutex_lock(&schedule->lock);
        } else if (schedule->streams_announced > 0) {
            (void)pthread_cond_wait(&schedule->streams_changed, &schedule->lock);
        } else {
            break;
        }
    }
    (void)pthread_mutex_unlock(&schedule->lock);
}
