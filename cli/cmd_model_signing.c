/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for the command of the format's reference implementation, so that a pipeline which
 * calls that switches by changing one path. Command line, defaults and exit statuses are that
 * tool's; where following it would be unsafe this refuses, and strictness[] says so to its users.
 */
#include "cli.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* That tool tells two kinds of failure apart. */
enum { SUCCEEDED = 0, FAILED = 1, MISUSED = 2 };

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_CRITICAL } log_level;
static const char *const log_levels[] = {"debug", "info", "warning", "error", "critical"};
enum { LOG_LEVEL_COUNT = sizeof(log_levels) / sizeof(log_levels[0]) };

typedef struct arguments {
    char *model;
    cli_texts ignore;
    bool ignore_git;
    bool allow_symlinks;
    char *signature;
    char *private_key;
    char *password;
    char *signing_certificate;
    cli_texts chain;
    char *public_key;
    bool log_fingerprints;
    bool ignore_unsigned;
    log_level level;
} arguments;

struct method {
    unsigned bit;
    const char *name;
    const char *summary;
    const char *done;   /* said on standard output when all is well */
    const char *failed; /* what standard error begins with when not */
    int (*run)(const struct method *method, arguments *given);
};

/* ---- the command line, as a table --------------------------------------------------------- */

enum {
    SIGN_KEY = 1,
    SIGN_CERTIFICATE = 2,
    VERIFY_KEY = 4,
    VERIFY_CERTIFICATE = 8,
    DIGEST = 16,
    SIGN = SIGN_KEY | SIGN_CERTIFICATE,
    VERIFY = VERIFY_KEY | VERIFY_CERTIFICATE,
};

typedef enum kind { SETS, CLEARS, TEXT, TEXTS } kind;

typedef struct option {
    const char *name; /* with hyphens; the older spelling with underscores is taken as well */
    const char *argument;
    kind kind;
    size_t offset;
    unsigned methods;  /* that have it */
    unsigned required; /* that cannot do without it */
    const char *help;
} option;

#define OPTION(kind, member, name, argument, methods, required, help)                              \
    { name, argument, kind, offsetof(arguments, member), methods, required, help }

static const option options[] = {
    OPTION(TEXTS, ignore, "ignore-paths", "PATH", SIGN | VERIFY | DIGEST, 0,
           "Leave out this file or directory of the model. May be given again."),
    OPTION(SETS, ignore_git, "ignore-git-paths", NULL, SIGN | VERIFY | DIGEST, 0,
           "Leave out .git, .gitignore, .gitattributes and .github. This is the default."),
    OPTION(CLEARS, ignore_git, "no-ignore-git-paths", NULL, SIGN | VERIFY | DIGEST, 0,
           "Take those in."),
    OPTION(SETS, allow_symlinks, "allow-symlinks", NULL, SIGN | VERIFY | DIGEST, 0,
           "Follow symbolic links to files inside the model."),
    OPTION(TEXT, signature, "signature", "PATH", SIGN, 0,
           "Where to write the signature. Default: model.sig in the working directory."),
    OPTION(TEXT, signature, "signature", "PATH", VERIFY, VERIFY, "The signature. Required."),
    OPTION(TEXT, private_key, "private-key", "PATH", SIGN, SIGN,
           "The private key (PEM; P-256, P-384 or P-521). Required."),
    OPTION(TEXT, password, "password", "PASSWORD", SIGN_KEY, 0,
           "The private key's password. Others can read it from the list of processes;\n"
           "      without this option the terminal is asked when a password is needed."),
    OPTION(TEXT, signing_certificate, "signing-certificate", "PATH", SIGN_CERTIFICATE,
           SIGN_CERTIFICATE, "The private key's certificate (PEM). Required."),
    OPTION(TEXTS, chain, "certificate-chain", "PATH", SIGN_CERTIFICATE, 0,
           "Certificates (PEM) from there towards a root. May be given again."),
    OPTION(TEXTS, chain, "certificate-chain", "PATH", VERIFY_CERTIFICATE, 0,
           "Root certificates to believe (PEM), and others on the way to them. May be given\n"
           "      again; without any nothing is believed."),
    OPTION(TEXT, public_key, "public-key", "PATH", VERIFY_KEY, VERIFY_KEY,
           "The public key to believe (PEM). Required."),
    OPTION(SETS, log_fingerprints, "log-fingerprints", NULL, VERIFY_CERTIFICATE, 0,
           "Show the signer's certificate and its SHA-256 fingerprint at any log level."),
    OPTION(SETS, ignore_unsigned, "ignore-unsigned-files", NULL, VERIFY, 0,
           "Pass over files that were not signed."),
    OPTION(CLEARS, ignore_unsigned, "no-ignore-unsigned-files", NULL, VERIFY, 0,
           "Refuse them. This is the default."),
};
enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

/* ---- help ----------------------------------------------------------------------------------- */

static const char strictness[] =
    "Stricter than the tool it stands in for; each of these exits with 1:\n"
    "  - The methods sigstore (also meant when none is named), pkcs11-key and\n"
    "    pkcs11-certificate are not supported.\n"
    "  - A private key is not used while others than its owner can read the file.\n"
    "  - 'verify certificate' believes no certificates of the web or of the system:\n"
    "    --certificate-chain has to name some.\n"
    "  - A signer's certificate whose key usage lacks digitalSignature, or that has an\n"
    "    extended key usage without codeSigning, such as a web server's, is refused; so\n"
    "    are one for another curve than P-256, P-384 and P-521, and chains that break\n"
    "    RFC 5280, use SHA-1 or RSA keys under 2048 bits, or go through an authority\n"
    "    that is not for code signing.\n"
    "  - Signed names that lead out of the model or are not spelt plainly (../x, /x, ./x)\n"
    "    are refused, with --ignore-unsigned-files too. No directory on the way to a file\n"
    "    may be a symbolic link.\n"
    "  - With --allow-symlinks a link has to lead to a file inside the model: links to\n"
    "    directories or out of it are refused. A signature made so verifies only with that\n"
    "    option, and the option does not widen one made without.\n"
    "  - The model itself cannot be left out, nor a model without files be signed, digested\n"
    "    or verified. What --ignore-paths names is left out; when that is a link inside the\n"
    "    model, the link and not what it leads to.\n"
    "  - A directory that cannot be listed, or a file that changes meanwhile, is a failure.\n"
    "  - Signature files with doubled or unknown members, several signatures or kinds of\n"
    "    key, doubled names, upper-case digests, or text that is not UTF-8 are refused.\n"
    "    The encoding of release 0.2.0 is accepted with that release's statement only.\n"
    "  - MODEL_PATH cannot be empty, and the signature cannot be written over the model.\n"
    "\n"
    "As unsafe as that tool, since pipelines and old signatures need it: certificates are\n"
    "judged at the start of the signer's own validity, so that expired ones pass; a\n"
    "certificate may lack an extended key usage; the faulty encoding of release 0.2.0 is\n"
    "accepted; what a signature says to ignore is ignored, though reported; a single file's\n"
    "name is not signed; --password is visible. 'hallmark sign' and 'hallmark verify' have\n"
    "none of that unless they are told to.\n"
    "\n"
    "Where that tool fails and this does not: --password works; a signed file that an ignored\n"
    "path covers is checked, not missing; shards, blake2b and blake3 are verified.\n";

static void help(FILE *stream) {
    fprintf(stream,
            "Usage: model_signing [OPTIONS] COMMAND [ARGS]...\n\n"
            "  Takes the command line of the OpenSSF model_signing tool; the work is done by\n"
            "  hallmark %s.\n\n"
            "Options:\n"
            "  --version          Show the version and exit.\n"
            "  --log-level LEVEL  debug, info (the default), warning, error or critical. At info\n"
            "                     the report goes to standard error.\n"
            "  -h, --help         Show this message and exit.\n\n"
            "Commands:\n"
            "  digest  Show the root digest of a model.\n"
            "  sign    Sign models: key or certificate.\n"
            "  verify  Verify models: key or certificate.\n\n"
            "Exit status: 0 done, 1 refused or failed, 2 the command line is wrong.\n\n%s",
            hm_version(), strictness);
}

static void group_help(FILE *stream, const char *group) {
    fprintf(stream,
            "Usage: model_signing %s [OPTIONS] PKI_METHOD\n\n"
            "Options:\n"
            "  -h, --help  Show this message and exit.\n\n"
            "Commands:\n"
            "  certificate  By a certificate.\n"
            "  key          By a key, without certificates.\n\n"
            "Other methods are not supported. 'model_signing --help' says where this is stricter\n"
            "than the tool it stands in for.\n",
            group);
}

static void method_help(const struct method *method) {
    printf("Usage: model_signing %s [OPTIONS] MODEL_PATH\n\n  %s\n\nOptions:\n", method->name,
           method->summary);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const option *row = &options[i];
        if ((row->methods & method->bit) != 0) {
            printf("  --%s%s%s\n      %s\n", row->name, row->argument != NULL ? " " : "",
                   row->argument != NULL ? row->argument : "", row->help);
        }
    }
    puts("  -h, --help\n      Show this message and exit.\n\n"
         "'model_signing --help' says where this is stricter than the tool it stands in for.");
}

/* Help and versions that nobody could read are no success. */
static int written(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return SUCCEEDED;
    }
    perror("model_signing: cannot write to standard output");
    return FAILED;
}

/* ---- parsing -------------------------------------------------------------------------------- */

static int misuse(const char *name, const char *operands, const char *format, ...) HM_PRINTF(3, 4);
static int misuse(const char *name, const char *operands, const char *format, ...) {
    const char *space = *name != '\0' ? " " : "";
    va_list args;
    fprintf(stderr,
            "Usage: model_signing%s%s [OPTIONS] %s\n"
            "Try 'model_signing%s%s --help' for help.\n\nError: ",
            space, name, operands, space, name);
    char *text = NULL;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    cli_write_safe(stderr, length >= 0 ? text : "out of memory");
    fputs(".\n", stderr);
    if (length >= 0) {
        free(text);
    }
    return MISUSED;
}

/* True when the first `length` bytes of `word` are `name`, in either spelling. */
static bool spells(const char *word, size_t length, const char *name) {
    for (size_t i = 0; i < length; i++) {
        if ((word[i] == '_' ? '-' : word[i]) != name[i]) {
            return false;
        }
    }
    return name[length] == '\0';
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* The last of several wins, except where each counts. */
static bool store(const option *row, char *value, arguments *given) {
    void *target = (char *)given + row->offset;
    switch (row->kind) {
    case SETS: *(bool *)target = true; return true;
    case CLEARS: *(bool *)target = false; return true;
    case TEXT: *(char **)target = value; return true;
    case TEXTS: return cli_texts_add(target, value);
    }
    return false;
}

static const option *find_option(const struct method *method, const char *word, size_t length) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((options[i].methods & method->bit) != 0 && spells(word, length, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

/* Takes argv[*index] and its value, which may be the next word whatever that looks like. */
static int take_option(const struct method *method, int argc, char **argv, int *index,
                       arguments *given) {
    char *word = argv[*index];
    if (word[1] != '-') {
        return misuse(method->name, "MODEL_PATH", "No such option '%.2s'", word);
    }
    size_t length = strcspn(word + 2, "=");
    char *value = word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
    const option *row = find_option(method, word + 2, length);
    if (row == NULL) {
        return misuse(method->name, "MODEL_PATH", "No such option '%.*s'", (int)length + 2, word);
    }
    if (row->argument == NULL && value != NULL) {
        return misuse(method->name, "MODEL_PATH", "Option '--%s' does not take a value", row->name);
    }
    if (row->argument != NULL && value == NULL) {
        if (*index + 1 >= argc) {
            return misuse(method->name, "MODEL_PATH", "Option '--%s' requires an argument",
                          row->name);
        }
        value = argv[++*index];
    }
    if (!store(row, value, given)) {
        fputs("model_signing: out of memory\n", stderr);
        return FAILED;
    }
    return SUCCEEDED;
}

static int check_required(const struct method *method, const arguments *given) {
    if (given->model == NULL) {
        return misuse(method->name, "MODEL_PATH", "Missing argument 'MODEL_PATH'");
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const void *target = (const char *)given + options[i].offset;
        if ((options[i].required & method->bit) != 0 && *(char *const *)target == NULL) {
            return misuse(method->name, "MODEL_PATH", "Missing option '--%s'", options[i].name);
        }
    }
    return SUCCEEDED;
}

static int parse(const struct method *method, int argc, char **argv, arguments *given,
                 bool *help_only) {
    const char *extra = NULL;
    bool options_ended = false;
    int code = SUCCEEDED;
    for (int i = 0; i < argc && code == SUCCEEDED; i++) {
        char *word = argv[i];
        if (options_ended || word[0] != '-' || word[1] == '\0') {
            extra = given->model != NULL && extra == NULL ? word : extra;
            given->model = given->model != NULL ? given->model : word;
        } else if (strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (is_help(word)) {
            *help_only = true;
        } else {
            code = take_option(method, argc, argv, &i, given);
        }
    }
    if (code != SUCCEEDED || *help_only) {
        return code;
    }
    code = check_required(method, given);
    return code == SUCCEEDED && extra != NULL
               ? misuse(method->name, "MODEL_PATH", "Got unexpected extra argument (%s)", extra)
               : code;
}

/* ---- outcomes ------------------------------------------------------------------------------- */

static int fail(const struct method *method, const char *why) {
    fprintf(stderr, "%s: %s\n", method->failed, why);
    return FAILED;
}

static void warn(const arguments *given, const char *what, const char *why) {
    if (given->level <= LOG_WARNING) {
        fprintf(stderr, "model_signing: %s %s\n", what, why);
    }
}

static void show_report(const hm_report *report, uint64_t flags) {
    char *text = NULL;
    hm_error *error = NULL;
    if (hm_report_text(report, flags, &text, &error) == HM_OK) {
        fputs(text, stderr);
    }
    hm_text_free(&text);
    hm_error_free(&error);
}

/* What a run holds; freed in one place. */
struct job {
    const struct method *method;
    const arguments *given;
    hm_model *model;
    hm_signer *signer;
    hm_policy *policy;
    hm_report *report;
    hm_error *error;
    char **ignore;
    size_t ignore_count;
    cli_progress progress;
};

static void job_free(struct job *job) {
    hm_model_close(&job->model);
    hm_signer_close(&job->signer);
    hm_policy_free(&job->policy);
    hm_report_free(&job->report);
    hm_error_free(&job->error);
    for (size_t i = 0; i < job->ignore_count; i++) {
        free(job->ignore[i]);
    }
    free(job->ignore);
}

/* Turns the library's outcome into ours. Its hints may name options of hallmark's own commands. */
static int outcome(const struct job *job, hm_status status) {
    if (status == HM_OK) {
        return SUCCEEDED;
    }
    const char *word = hm_reason_word(hm_error_reason(job->error));
    const char *hint = hm_error_hint(job->error);
    fprintf(stderr, "%s: %s%s%s%s\n", job->method->failed, hm_error_message(job->error),
            *word != '\0' ? " (" : "", word, *word != '\0' ? ")" : "");
    if (job->report != NULL && hm_report_finding_count(job->report) > 0) {
        show_report(job->report, HM_TEXT_LIST);
    } else if (*hint != '\0' && strstr(hint, "--") == NULL) {
        fprintf(stderr, "model_signing: %s\n", hint);
    }
    return FAILED;
}

static int finish(struct job *job, int code) {
    if (code == SUCCEEDED) {
        puts(job->method->done);
        code = written();
        if (job->given->level <= LOG_INFO || job->given->log_fingerprints) {
            show_report(job->report, 0);
        }
    }
    job_free(job);
    return code;
}

/* ---- paths ---------------------------------------------------------------------------------- */

/*
 * Adds the components of `rest` to `path`, which has room for them, without "." and needless
 * slashes. `up`: ".." takes one off; `path` is absolute then.
 */
static void append_components(char *path, const char *rest, bool up) {
    while (*rest != '\0') {
        size_t length = strcspn(rest, "/");
        size_t end = strlen(path);
        if (up && length == 2 && strncmp(rest, "..", 2) == 0) {
            char *slash = strrchr(path, '/');
            slash[slash == path ? 1 : 0] = '\0';
        } else if (length > 0 && !(length == 1 && *rest == '.')) {
            bool slash = end > 0 && path[end - 1] != '/';
            snprintf(path + end, length + 2, "%s%.*s", slash ? "/" : "", (int)length, rest);
        }
        rest += length + (rest[length] == '/' ? 1 : 0);
    }
}

/* The start of the last component, or of what stands before `end`. */
static size_t component_before(const char *path, size_t end) {
    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    while (end > 0 && path[end - 1] != '/') {
        end--;
    }
    return end;
}

static bool ends_in_name(const char *path) {
    const char *last = path + component_before(path, strlen(path));
    size_t length = strcspn(last, "/");
    return length > 0 && !(length <= 2 && strncmp(last, "..", length) == 0);
}

/*
 * The real path of what need not exist: as realpath(3) as far as things do, and as written from
 * there on. `through`: when the last component is a link, of what that leads to.
 */
static char *resolve(const char *path, bool through) {
    char *head = strdup(path);
    char *real = NULL;
    if (head == NULL) {
        return NULL;
    }
    size_t cut = strlen(head);
    if (!through && ends_in_name(path)) {
        cut = component_before(head, cut);
    }
    for (;;) {
        head[cut] = '\0';
        real = realpath(cut > 0 ? head : ".", NULL);
        if (real != NULL || cut == 0) {
            break;
        }
        cut = component_before(head, cut);
    }
    free(head);
    char *whole = real != NULL ? realloc(real, strlen(real) + strlen(path + cut) + 2) : NULL;
    if (whole == NULL) {
        free(real);
        return NULL;
    }
    append_components(whole, path + cut, true);
    return whole;
}

/* The part of `path` below `root`, "" for the root itself, NULL outside. Both are real paths. */
static const char *below(const char *root, const char *path) {
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(root, path, length) != 0 || (path[length] != '/' && path[length] != '\0')) {
        return NULL;
    }
    return path[length] == '/' ? path + length + 1 : path + length;
}

/*
 * A path relative to the model; NULL outside of it or without memory. A link inside the model
 * stands for itself, so that leaving it out makes no hole elsewhere; one outside for what it leads
 * to.
 */
static char *path_in_model(const char *root, const char *path) {
    char *found = NULL;
    for (int through = 0; through <= 1 && found == NULL; through++) {
        char *real = resolve(path, through == 1);
        const char *relative = real != NULL ? below(root, real) : NULL;
        found = relative != NULL ? strdup(relative) : NULL;
        free(real);
    }
    return found;
}

static bool keep_path(struct job *job, char *path) {
    char **larger = reallocarray(job->ignore, job->ignore_count + 1, sizeof(*larger));
    if (larger == NULL) {
        free(path);
        return false;
    }
    larger[job->ignore_count++] = path;
    job->ignore = larger;
    return true;
}

/* The signature is left out by the library, but for one that is named by a link from outside. */
static int ignore_signature(struct job *job, const char *root) {
    const char *signature = job->given->signature;
    char *path = signature != NULL ? path_in_model(root, signature) : NULL;
    if (path == NULL || *path == '\0') {
        free(path);
        return SUCCEEDED;
    }
    return keep_path(job, path) ? SUCCEEDED : fail(job->method, "out of memory");
}

static int ignore_path(struct job *job, const char *root, const char *named) {
    char *path = path_in_model(root, named);
    if (path == NULL) {
        warn(job->given, named, "lies outside the model: there is nothing to ignore");
        return SUCCEEDED;
    }
    if (*path == '\0') {
        free(path);
        return fail(job->method, "the whole model is to be ignored, which leaves nothing");
    }
    return keep_path(job, path) ? SUCCEEDED : fail(job->method, "out of memory");
}

/* Paths are meant from the working directory; the library takes them relative to the model. */
static int gather_ignore(struct job *job) {
    char *root = resolve(job->given->model, true);
    if (root == NULL) {
        return fail(job->method, "the model's real path cannot be found out");
    }
    int code = ignore_signature(job, root);
    for (size_t i = 0; i < job->given->ignore.count && code == SUCCEEDED; i++) {
        code = ignore_path(job, root, job->given->ignore.list[i]);
    }
    free(root);
    return code;
}

/*
 * "." and slashes at the end of a path make the kernel follow a link, and a model that is one has
 * to be allowed.
 */
static char *plain_path(const char *path) {
    char *plain = calloc(strlen(path) + 2, 1);
    if (plain != NULL) {
        plain[0] = *path == '/' ? '/' : '\0';
        append_components(plain, path, false);
        if (*plain == '\0' && *path != '\0') {
            plain[0] = '.';
        }
    }
    return plain;
}

/* What the caller's leave to follow links makes of a model that is one. */
static char *follow_model(char *path) {
    struct stat st;
    char *followed = NULL;
    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode)) {
        return path;
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        followed = asprintf(&followed, "%s/", path) >= 0 ? followed : NULL;
    } else {
        followed = realpath(path, NULL);
    }
    if (followed == NULL) {
        return path;
    }
    free(path);
    return followed;
}

/* Opens the model and finds out what to leave out of it. */
static int open_model(struct job *job) {
    char *path = plain_path(job->given->model);
    if (path == NULL) {
        return fail(job->method, "out of memory");
    }
    path = job->given->allow_symlinks ? follow_model(path) : path;
    int code = outcome(job, hm_model_open(path, &job->model, &job->error));
    free(path);
    return code == SUCCEEDED ? gather_ignore(job) : code;
}

/* ---- signing -------------------------------------------------------------------------------- */

typedef struct password {
    const char *text;
    bool used;
} password;

/* Without --password a person may be there to ask; that tool would just fail. */
static bool ask_password(void *context, const char *what, bool again, char *buffer, size_t capacity,
                         size_t *length) {
    password *given = context;
    cli_passphrase terminal = {0};
    if (given->text == NULL) {
        return access("/dev/tty", R_OK | W_OK) == 0 &&
               cli_ask_passphrase(&terminal, what, again, buffer, capacity, length);
    }
    given->used = true;
    *length = strlen(given->text);
    if (*length > capacity) {
        return false;
    }
    memcpy(buffer, given->text, *length);
    return true;
}

static bool is_elliptic(const char *algorithm) {
    return strncmp(algorithm, "ec-", 3) == 0;
}

static hm_status open_key(struct job *job, char *text, bool *used) {
    password secret = {.text = text};
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    how.passphrase = ask_password;
    how.passphrase_context = &secret;
    hm_process_harden();
    hm_status status = hm_signer_open(job->given->private_key, &how, &job->signer, &job->error);
    *used = secret.used;
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        warn(job->given, "--password", "can be read by others from the list of processes");
    }
    return status;
}

static int open_signer(struct job *job, char *text) {
    const arguments *given = job->given;
    bool used = false;
    int code = outcome(job, open_key(job, text, &used));
    if (code == SUCCEEDED && text != NULL && !used) {
        code = fail(job->method, "a password was given, but the private key is not encrypted");
    }
    if (code == SUCCEEDED && !is_elliptic(hm_signer_algorithm(job->signer))) {
        code = fail(job->method, "only elliptic curve keys are supported");
    }
    if (code == SUCCEEDED && job->method->bit == SIGN_CERTIFICATE) {
        code = outcome(job, hm_signer_set_certificates(job->signer, given->signing_certificate,
                                                       given->chain.list, given->chain.count,
                                                       &job->error));
    }
    return code;
}

static int sign(struct job *job) {
    const arguments *given = job->given;
    hm_sign_options how = HM_SIGN_OPTIONS_INIT;
    how.flags = HM_SIGN_NAME_DOT | (given->ignore_git ? 0 : HM_SIGN_INCLUDE_GIT) |
                (given->allow_symlinks ? HM_SIGN_FOLLOW_SYMLINKS : 0);
    how.signature = given->signature;
    how.format = "oms";
    how.ignore = (const char *const *)job->ignore;
    how.ignore_count = job->ignore_count;
    how.progress = cli_progress_show;
    how.progress_context = &job->progress;
    cli_progress_start(&job->progress, false);
    hm_status status = hm_sign(&job->model, 1, job->signer, &how, &job->report, &job->error);
    cli_progress_end(&job->progress);
    return outcome(job, status);
}

static int run_sign(const struct method *method, arguments *given) {
    static char default_signature[] = "model.sig";
    struct job job = {.method = method, .given = given};
    if (given->signature == NULL) {
        given->signature = default_signature;
    }
    int code = open_signer(&job, given->password);
    if (code == SUCCEEDED) {
        code = open_model(&job);
    }
    if (code == SUCCEEDED) {
        code = sign(&job);
    }
    return finish(&job, code);
}

/* ---- verifying ------------------------------------------------------------------------------ */

static hm_status add_believed(struct job *job) {
    const arguments *given = job->given;
    if (job->method->bit == VERIFY_KEY) {
        return hm_policy_add_key(job->policy, given->public_key, &job->error);
    }
    hm_status status = HM_OK;
    for (size_t i = 0; i < given->chain.count && status == HM_OK; i++) {
        status = hm_policy_add_root(job->policy, given->chain.list[i], &job->error);
    }
    return status;
}

static int make_policy(struct job *job) {
    uint64_t allow = HM_ALLOW_EXPIRED_CERTIFICATES | HM_ALLOW_MISSING_EKU | HM_ALLOW_OMS_V0_2_0 |
                     (job->given->allow_symlinks ? HM_ALLOW_SYMLINKS : 0);
    if (job->method->bit == VERIFY_CERTIFICATE && job->given->chain.count == 0) {
        return fail(job->method, "--certificate-chain is missing: no certificates are believed "
                                 "but those that it names");
    }
    hm_status status = hm_policy_new(&job->policy, &job->error);
    if (status == HM_OK) {
        status = add_believed(job);
    }
    if (status == HM_OK) {
        status = hm_policy_require_format(job->policy, "oms", &job->error);
    }
    if (status == HM_OK) {
        status = hm_policy_allow(job->policy, allow, &job->error);
    }
    return outcome(job, status);
}

static int verify(struct job *job) {
    const arguments *given = job->given;
    hm_verify_options how = HM_VERIFY_OPTIONS_INIT;
    how.flags = (given->ignore_git ? 0 : HM_VERIFY_INCLUDE_GIT) |
                (given->ignore_unsigned ? HM_VERIFY_IGNORE_UNSIGNED : 0);
    how.signature = given->signature;
    how.ignore = (const char *const *)job->ignore;
    how.ignore_count = job->ignore_count;
    how.progress = cli_progress_show;
    how.progress_context = &job->progress;
    cli_progress_start(&job->progress, false);
    hm_status status = hm_verify(job->model, job->policy, &how, &job->report, &job->error);
    cli_progress_end(&job->progress);
    if (status == HM_OK && !is_elliptic(hm_report_signer_algorithm(job->report))) {
        return fail(job->method, "only elliptic curve keys are supported");
    }
    return outcome(job, status);
}

static int run_verify(const struct method *method, arguments *given) {
    struct job job = {.method = method, .given = given};
    int code = make_policy(&job);
    if (code == SUCCEEDED) {
        code = open_model(&job);
    }
    if (code == SUCCEEDED) {
        code = verify(&job);
    }
    return finish(&job, code);
}

/* ---- digesting ------------------------------------------------------------------------------ */

static int digest(struct job *job) {
    const arguments *given = job->given;
    hm_digest_options how = HM_DIGEST_OPTIONS_INIT;
    how.flags = HM_DIGEST_PATH_ORDER | (given->ignore_git ? 0 : HM_DIGEST_INCLUDE_GIT) |
                (given->allow_symlinks ? HM_DIGEST_FOLLOW_SYMLINKS : 0);
    how.ignore = (const char *const *)job->ignore;
    how.ignore_count = job->ignore_count;
    how.progress = cli_progress_show;
    how.progress_context = &job->progress;
    cli_progress_start(&job->progress, false);
    hm_status status = hm_digest(job->model, &how, &job->report, &job->error);
    cli_progress_end(&job->progress);
    return outcome(job, status);
}

static int run_digest(const struct method *method, arguments *given) {
    struct job job = {.method = method, .given = given};
    int code = open_model(&job);
    if (code == SUCCEEDED) {
        code = digest(&job);
    }
    if (code == SUCCEEDED) {
        printf("sha256:%s\n", hm_report_root_digest(job.report));
        code = written();
    }
    job_free(&job);
    return code;
}

/* ---- which method --------------------------------------------------------------------------- */

static const struct method methods[] = {
    {SIGN_KEY, "sign key", "Sign with a private key.", "Signing succeeded",
     "Signing failed with error", run_sign},
    {SIGN_CERTIFICATE, "sign certificate", "Sign with a private key that has a certificate.",
     "Signing succeeded", "Signing failed with error", run_sign},
    {VERIFY_KEY, "verify key", "Verify against a public key.", "Verification succeeded",
     "Verification failed with error", run_verify},
    {VERIFY_CERTIFICATE, "verify certificate", "Verify against root certificates.",
     "Verification succeeded", "Verification failed with error", run_verify},
    {DIGEST, "digest", "Show the root digest of a model, which signatures of it carry.", NULL,
     "Computing digest failed", run_digest},
};
enum { METHOD_COUNT = sizeof(methods) / sizeof(methods[0]) };

static int run_method(const struct method *method, log_level level, int argc, char **argv) {
    arguments given = {.ignore_git = true, .level = level};
    bool help_only = false;
    int code = parse(method, argc, argv, &given, &help_only);
    if (code == SUCCEEDED && help_only) {
        method_help(method);
        code = written();
    } else if (code == SUCCEEDED) {
        code = method->run(method, &given);
    }
    cli_texts_free(&given.ignore);
    cli_texts_free(&given.chain);
    return code;
}

static const struct method *find_method(const char *group, const char *name) {
    size_t length = strlen(group);
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        const char *whole = methods[i].name;
        if (strncmp(whole, group, length) == 0 && whole[length] == ' ' &&
            strcmp(whole + length + 1, name) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

/* A first word that is no method is a model, for the method sigstore. */
static int unsupported(const char *group, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (is_help(argv[i])) {
            group_help(stdout, group);
            return written();
        }
    }
    bool verify = strcmp(group, "verify") == 0;
    bool hardware = strncmp(argv[0], "pkcs11-", 7) == 0;
    if (verify && hardware) {
        return misuse(group, "PKI_METHOD", "No such command '%s'", argv[0]);
    }
    fprintf(stderr,
            "%s failed with error: the method %s is not supported by this stand-in, only key and "
            "certificate are\n",
            verify ? "Verification" : "Signing",
            hardware                           ? argv[0]
            : strcmp(argv[0], "sigstore") == 0 ? "sigstore"
                                               : "sigstore, which is meant when none is named,");
    return FAILED;
}

static int run_group(const char *group, log_level level, int argc, char **argv) {
    if (argc == 0) {
        group_help(stderr, group);
        return MISUSED;
    }
    if (is_help(argv[0])) {
        group_help(stdout, group);
        return written();
    }
    if (argv[0][0] == '-') {
        return misuse(group, "PKI_METHOD", "No such option '%s'", argv[0]);
    }
    const struct method *method = find_method(group, argv[0]);
    return method != NULL ? run_method(method, level, argc - 1, argv + 1)
                          : unsupported(group, argc, argv);
}

/* ---- the options before the command ----------------------------------------------------- */

static bool parse_level(const char *text, log_level *level) {
    for (size_t i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (strcasecmp(text, log_levels[i]) == 0) {
            *level = (log_level)i;
            return true;
        }
    }
    return false;
}

static int take_level(int argc, char **argv, int *index, const char **level) {
    const char *word = argv[*index];
    size_t length = strcspn(word, "=");
    if (!spells(word, length, "--log-level")) {
        return misuse("", "COMMAND [ARGS]...", "No such option '%.*s'", (int)length, word);
    }
    if (word[length] == '\0' && *index + 1 >= argc) {
        return misuse("", "COMMAND [ARGS]...", "Option '--log-level' requires an argument");
    }
    *level = word[length] == '=' ? word + length + 1 : argv[++*index];
    return SUCCEEDED;
}

static int run_command(log_level level, int argc, char **argv) {
    if (argc == 0) {
        help(stderr);
        return MISUSED;
    }
    if (strcmp(argv[0], "sign") == 0 || strcmp(argv[0], "verify") == 0) {
        return run_group(argv[0], level, argc - 1, argv + 1);
    }
    if (strcmp(argv[0], "digest") == 0) {
        return run_method(&methods[METHOD_COUNT - 1], level, argc - 1, argv + 1);
    }
    return misuse("", "COMMAND [ARGS]...", "No such command '%s'", argv[0]);
}

static int run(const cli_command *command, int argc, char **argv) {
    (void)command;
    const char *level_text = log_levels[LOG_INFO];
    log_level level;
    int i = 0;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (is_help(argv[i])) {
            help(stdout);
            return written();
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("model_signing, version 1.1.1 (stand-in, hallmark %s)\n", hm_version());
            return written();
        }
        int code = take_level(argc, argv, &i, &level_text);
        if (code != SUCCEEDED) {
            return code;
        }
    }
    if (!parse_level(level_text, &level)) {
        return misuse("", "COMMAND [ARGS]...",
                      "Invalid value for '--log-level': '%s' is not one of 'debug', 'info', "
                      "'warning', 'error', 'critical'",
                      level_text);
    }
    return run_command(level, argc - i, argv + i);
}

static const cli_option no_options[] = {{0}};

const cli_command cli_model_signing = {
    .name = "model-signing",
    .summary = "Take the command line of the OpenSSF model_signing tool.",
    .operands = "COMMAND [ARGUMENT]...",
    .options = no_options,
    .run = run,
};
