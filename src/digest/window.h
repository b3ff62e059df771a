/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows on files: mapped pieces of what is in the page cache anyway, hashed where they lie. A
 * file that shrinks under its window raises SIGBUS; that is caught, and the window told as torn.
 */
#ifndef HM_DIGEST_WINDOW_H
#define HM_DIGEST_WINDOW_H

#include "base/base.h"

typedef struct hm_windows {
    void *space;   /* addresses for all windows of one thread */
    uint8_t *base; /* of the first, or NULL */
    size_t size;   /* of one */
    size_t count;
    struct hm_window_guard *guard;
} hm_windows;

/*
 * Makes room for `count` windows of the calling thread. Where that must not be (the program handles
 * SIGBUS itself, or blocks it) or cannot be, `windows->base` stays NULL and nothing else changes.
 */
void hm_windows_open(hm_windows *windows, size_t count, size_t size);
/*
 * Shows `*length` bytes of a file, or fewer, but whole blocks of 64. NULL: they are not in the page
 * cache, or cannot be shown; they are to be read.
 */
const uint8_t *hm_windows_show(hm_windows *windows, size_t index, int fd, uint64_t offset,
                               size_t *length);
/* True when what the window showed since hm_windows_show() was not the file. */
bool hm_windows_torn(const hm_windows *windows, size_t index);
void hm_windows_close(hm_windows *windows);

#endif
