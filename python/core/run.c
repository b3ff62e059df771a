/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <signal.h>
#include <time.h>

#define LOOK_EVERY INT64_C(50000000) /* nanoseconds between looks at signals */
#define SECOND INT64_C(1000000000)

bool hm_py_progress(void *context, uint64_t done, uint64_t total) {
    hm_py_call *call = context;
    atomic_store(&call->total, total);
    atomic_store(&call->done, done);
    return !atomic_load(&call->stop);
}

static void *thread_main(void *context) {
    hm_py_call *call = context;
    call->work(call);
    (void)pthread_mutex_lock(&call->lock);
    call->finished = true;
    (void)pthread_cond_signal(&call->ended);
    (void)pthread_mutex_unlock(&call->lock);
    return NULL;
}

/*
 * Signals are the interpreter's, whose handlers run in its own threads. But not those that an
 * instruction causes: blocked, they end the process, and the library reads maps under SIGBUS.
 */
static bool start(hm_py_call *call, pthread_t *thread) {
    sigset_t blocked;
    sigset_t before;
    (void)sigfillset(&blocked);
    (void)sigdelset(&blocked, SIGBUS);
    (void)sigdelset(&blocked, SIGSEGV);
    (void)sigdelset(&blocked, SIGFPE);
    (void)sigdelset(&blocked, SIGILL);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
    bool started = pthread_create(thread, NULL, thread_main, call) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* True when the call has ended, false when it is time to look around. */
static bool wait_a_while(hm_py_call *call) {
    struct timespec until = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_EVERY;
    if (until.tv_nsec >= SECOND) {
        until.tv_nsec -= SECOND;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&call->lock);
    int waited = 0;
    while (!call->finished && waited == 0) {
        waited = pthread_cond_timedwait(&call->ended, &call->lock, &until);
    }
    bool finished = call->finished;
    (void)pthread_mutex_unlock(&call->lock);
    return finished;
}

/* Tells of progress since `*told`. False when that raised. */
static bool tell(hm_py_call *call, PyObject *progress, uint64_t *told) {
    uint64_t done = atomic_load(&call->done);
    uint64_t total = atomic_load(&call->total);
    if (progress == Py_None || total == 0 || done == *told) {
        return true;
    }
    *told = done;
    PyObject *result =
        PyObject_CallFunction(progress, "KK", (unsigned long long)done, (unsigned long long)total);
    Py_XDECREF(result);
    return result != NULL;
}

static void look_after(hm_py_call *call, PyObject *progress, hm_py_exception *raised) {
    uint64_t told = 0;
    bool finished = false;
    while (!finished) {
        Py_BEGIN_ALLOW_THREADS;
        finished = wait_a_while(call);
        Py_END_ALLOW_THREADS;
        bool well = raised->type == NULL && (!finished || call->status == HM_OK);
        if (well && ((!finished && PyErr_CheckSignals() != 0) || !tell(call, progress, &told))) {
            hm_py_exception_take(raised);
            atomic_store(&call->stop, true);
        }
    }
}

static bool prepare(hm_py_call *call) {
    pthread_condattr_t clock;
    bool made = pthread_condattr_init(&clock) == 0 &&
                pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&call->ended, &clock) == 0;
    (void)pthread_condattr_destroy(&clock);
    return made && pthread_mutex_init(&call->lock, NULL) == 0;
}

bool hm_py_run(hm_py_call *call, PyObject *progress) {
    pthread_t thread;
    hm_py_exception raised = {0};
    call->status = HM_UNDECIDED;
    if (!prepare(call)) {
        PyErr_NoMemory();
        return false;
    }
    bool started = start(call, &thread);
    if (started) {
        look_after(call, progress, &raised);
        (void)pthread_join(thread, NULL);
    } else {
        PyErr_SetString(PyExc_RuntimeError, "the system gives no thread to work in");
    }
    (void)pthread_cond_destroy(&call->ended);
    (void)pthread_mutex_destroy(&call->lock);
    return started && !hm_py_exception_raise(&raised);
}

PyObject *hm_py_outcome(PyObject *module, hm_py_call *call, bool ran, const char *operation,
                        const char *model) {
    PyObject *result = NULL;
    bool well = call->status == HM_OK || call->status == HM_LET_THROUGH;
    if (!ran) {
        hm_error_free(&call->error);
    } else if (well && call->report != NULL) {
        PyObject *report = hm_py_report_new(&call->report);
        result = report != NULL ? Py_BuildValue("(iN)", (int)call->status, report) : NULL;
    } else {
        hm_error *second = NULL;
        if (call->report == NULL && call->error != NULL &&
            hm_report_from_error(operation, model, call->error, &call->report, &second) != HM_OK) {
            hm_error_free(&second); /* the first one is told, without a report */
        }
        (void)hm_py_raise(module, call->status, &call->error, &call->report);
    }
    hm_report_free(&call->report);
    return result;
}
