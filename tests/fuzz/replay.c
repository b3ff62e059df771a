/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main for a fuzz target that is built without libFuzzer: feeds it every file given, and every
 * file in the folders given, in full and cut off at the middle.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replayed;

static int fail(const char *path) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return 1;
}

/* A copy of exactly the right size, so that sanitizers and valgrind see a read past the end. */
static int feed(const uint8_t *data, size_t size) {
    uint8_t *copy = calloc(1, size > 0 ? size : 1);
    if (copy == NULL)
        return 1;
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return 0;
}

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return fail(path);
    uint8_t *data = NULL;
    size_t size = 0, capacity = 0;
    for (;;) {
        if (size == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 65536;
            uint8_t *grown = realloc(data, capacity);
            if (grown == NULL)
                break;
            data = grown;
        }
        size_t got = fread(data + size, 1, capacity - size, file);
        if (got == 0)
            break;
        size += got;
    }
    int status = ferror(file) || data == NULL ? fail(path) : 0;
    fclose(file);
    if (status == 0)
        status = feed(data, size) | feed(data, size / 2);
    free(data);
    replayed++;
    return status;
}

static int not_hidden(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int replay_folder(const char *path) {
    struct dirent **names = NULL;
    int count = scandir(path, &names, not_hidden, alphasort);
    if (count < 0)
        return fail(path);
    int status = 0;
    for (int i = 0; i < count; i++) {
        char *file = NULL;
        if (asprintf(&file, "%s/%s", path, names[i]->d_name) < 0)
            status |= fail(path);
        else
            status |= replay_file(file);
        free(file);
        free(names[i]);
    }
    free(names);
    return status;
}

int main(int argc, char **argv) {
    int status = feed((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0)
            status |= fail(argv[i]);
        else if (S_ISDIR(info.st_mode))
            status |= replay_folder(argv[i]);
        else
            status |= replay_file(argv[i]);
    }
    printf("%zu files replayed\n", replayed);
    return status;
}
