/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct arguments {
    const char *policy;
    cli_texts keys;
    cli_store store;
    cli_record record;
    const char *every;
    bool service;
    bool leave_bad;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, every, CLI_TEXT, "every", "TIME",
               "Go on as a service, and begin again so long after each round: 90s, 5m, 12h."),
    CLI_OPTION(arguments, service, CLI_FLAG, "service", NULL,
               "Likewise, as often as the configuration says, else every 5 minutes."),
    CLI_OPTION(arguments, leave_bad, CLI_FLAG, "leave-bad", NULL,
               "When no version of a model is good, leave the bad one current, instead of serving "
               "nothing."),
    CLI_BELIEF_OPTIONS(arguments),
    CLI_STORE_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

/* A signal may come at any moment, and can be told nothing else. */
static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

typedef struct watch {
    const cli_command *command;
    const arguments *given;
    const cli_texts *names; /* none: all models */
    cli_progress progress;
    cli_watchdog watchdog;
    uint64_t every; /* seconds; 0: once */
    bool ready;     /* that was said */
    size_t good, bad;
} watch;

/* Also in the middle of a model of many gigabytes a service shows that it lives, and ends. */
static bool go_on(void *context, uint64_t done, uint64_t total) {
    watch *w = context;
    cli_watchdog_show(&w->watchdog);
    return stopped == 0 && cli_progress_show(&w->progress, done, total);
}

static bool serves(const watch *w) {
    return w->given->service || w->given->every != NULL;
}

/* ---- one round ------------------------------------------------------------------------------ */

/* What is well is not worth a line in a service's log. */
static int tell(const watch *w, const char *name, hm_status status, hm_report **report,
                hm_error **error) {
    if (stopped != 0 || (serves(w) && status == HM_OK && !w->given->work.json)) {
        hm_report_free(report);
        hm_error_free(error);
        return (int)status;
    }
    return cli_finish("check", name, status, report, error, &w->given->work);
}

static int check_model(watch *w, cli_gated *gated, const char *name) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    hm_gate_options how = HM_GATE_OPTIONS_INIT;
    how.flags = (w->given->leave_bad ? HM_GATE_LEAVE_BAD : 0) | (serves(w) ? HM_GATE_ROUTINE : 0);
    how.jobs = (unsigned)w->given->work.jobs.value;
    how.progress = go_on;
    how.progress_context = w;
    if (w->given->work.json) {
        puts(w->good + w->bad == 0 ? "[" : ",");
    }
    cli_notify("STATUS=verifying %s", name);
    cli_watchdog_show(&w->watchdog);
    cli_progress_start(&w->progress, w->given->work.no_progress);
    hm_status status = hm_store_check(gated->store, name, gated->policy, &how, &report, &error);
    cli_progress_end(&w->progress);
    bool good = status == HM_OK || status == HM_LET_THROUGH;
    w->good += good;
    w->bad += !good;
    return tell(w, name, status, &report, &error);
}

static int check_named(watch *w, cli_gated *gated) {
    int worst = HM_OK;
    for (size_t i = 0; i < w->names->count && stopped == 0; i++) {
        worst = cli_worse(worst, check_model(w, gated, w->names->list[i]));
    }
    return worst;
}

static int check_all(watch *w, cli_gated *gated) {
    hm_error *error = NULL;
    char **names = NULL;
    size_t count = 0;
    int worst = HM_OK;
    hm_status status = hm_store_names(gated->store, &names, &count, &error);
    if (status != HM_OK) {
        return cli_fail(status, &error);
    }
    for (size_t i = 0; i < count && stopped == 0; i++) {
        worst = cli_worse(worst, check_model(w, gated, names[i]));
    }
    hm_store_names_free(&names, count);
    return worst;
}

/* Whatever stands in files is read anew: a key that was revoked counts from the next round on. */
static int check_round(watch *w) {
    const arguments *given = w->given;
    const cli_gate_call call = {
        .command = w->command,
        .operation = "check",
        .name = w->names->count == 1 ? w->names->list[0] : NULL,
        .policy = given->policy,
        .keys = &given->keys,
        .store = &given->store,
        .record = &given->record,
    };
    cli_gated gated;
    w->good = w->bad = 0;
    int code = cli_gate_begin(&call, &gated);
    if (code != HM_OK) {
        cli_notify("STATUS=cannot check: see the log");
        cli_gate_close(&gated);
        return code;
    }
    uint64_t every = hm_config_check_every(gated.config);
    w->every = given->every == NULL && every > 0 ? every : w->every;
    if (!w->ready) {
        w->ready = true;
        cli_notify("READY=1");
    }
    code = w->names->count > 0 ? check_named(w, &gated) : check_all(w, &gated);
    if (given->work.json) {
        puts(w->good + w->bad == 0 ? "[]" : "]");
    }
    cli_notify("STATUS=%zu models verified, %zu not", w->good, w->bad);
    cli_gate_close(&gated);
    return code;
}

/* ---- as a service --------------------------------------------------------------------------- */

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The signals wait but for the poll, so that none comes between looking and sleeping. */
static void pause_for(watch *w, const sigset_t *open) {
    enum { AWAKE = 1000000000 }; /* nanoseconds between two looks */
    int64_t end = now() + (int64_t)w->every * 1000000000;
    while (stopped == 0 && now() < end) {
        int64_t left = end - now();
        struct timespec time = {.tv_nsec = 0};
        int64_t step = w->watchdog.every > 0 && w->watchdog.every < left ? AWAKE : left;
        step = step < left ? step : left;
        time.tv_sec = step > 0 ? (time_t)(step / 1000000000) : 0;
        time.tv_nsec = step > 0 ? (long)(step % 1000000000) : 0;
        (void)ppoll(NULL, 0, &time, open);
        cli_watchdog_show(&w->watchdog);
    }
}

static int watch_on(watch *w) {
    struct sigaction action = {.sa_handler = stop};
    sigset_t ours;
    sigset_t before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    cli_watchdog_start(&w->watchdog);
    int code = check_round(w);
    while (stopped == 0 && w->ready) {
        (void)fflush(stdout);
        (void)sigprocmask(SIG_BLOCK, &ours, &before);
        pause_for(w, &before);
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        if (stopped == 0) {
            (void)check_round(w);
        }
    }
    cli_notify("STOPPING=1");
    return stopped != 0 ? HM_OK : code;
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    enum { EVERY = 300 };
    const arguments *given = arguments_given;
    watch w = {.command = command, .given = given, .names = operands, .every = EVERY};
    hm_error *error = NULL;
    int code = cli_check(command, NULL, &given->work);
    if (code != HM_OK) {
        return code;
    }
    if (given->every != NULL && hm_duration_from_text(given->every, &w.every, &error) != HM_OK) {
        hm_error_free(&error);
        return cli_usage(command, "--every wants a span of time such as 90s, 5m or 12h, not '%s'",
                         given->every);
    }
    return serves(&w) ? watch_on(&w) : check_round(&w);
}

const cli_command cli_store_check = {
    .name = "check",
    .summary = "Verify what the store serves, and take back what is not good.",
    .operands = "[NAME]...",
    .details =
        "Without NAME: all models. A version that fails goes into quarantine, and the last known\n"
        "good one that verifies takes its place; without one `current` is taken away.\n"
        "Exit status: 0 when all is verified, 1 when a model was refused, even if another version\n"
        "took its place, 3 when something could not be found out: then nothing is changed; of a\n"
        "service that is told to end 0. With --json: an array of reports.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
