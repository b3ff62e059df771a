/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void take(void) {
    (void)pthread_mutex_lock(&lock);
}

static void give(void) {
    (void)pthread_mutex_unlock(&lock);
}

/* Without memory for it, forks are as they would be anyway. */
static void watch_forks(void) {
    (void)pthread_atfork(take, give, give);
}

void hm_fork_hold(void) {
    (void)pthread_once(&once, watch_forks);
    take();
}

void hm_fork_release(void) {
    give();
}
