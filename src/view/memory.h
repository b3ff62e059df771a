/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is filled once and that nobody can change from then on: neither this process nor any
 * other, by whatever descriptor or mapping.
 */
#ifndef HM_VIEW_MEMORY_H
#define HM_VIEW_MEMORY_H

#include "base/base.h"

typedef struct hm_memory {
    int fd;        /* read-only once it is sealed; -1: only the mapping is kept */
    uint8_t *data; /* mapped; not to be written to once it is sealed */
    size_t length; /* never 0 */
    bool shared;   /* by several files, so that its descriptor is nobody's to have */
} hm_memory;

/*
 * Memory that is all zeros and that only this mapping can write to. `what`: for errors. Nothing is
 * taken from the system before it is written to.
 */
HM_MUST_USE hm_status hm_memory_make(size_t length, const char *what, hm_memory *memory,
                                     hm_error **error);
/* Ends all writing for good, and maps it anew, read-only. */
HM_MUST_USE hm_status hm_memory_seal(hm_memory *memory, const char *what, hm_error **error);
/* A new descriptor of sealed memory, with an offset of its own. */
HM_MUST_USE hm_status hm_memory_open(const hm_memory *memory, int *fd, hm_error **error);
/* Likewise of a copy of some sealed bytes; what is copied is sealed as well. */
HM_MUST_USE hm_status hm_memory_open_copy(hm_bytes bytes, int *fd, hm_error **error);
void hm_memory_free(hm_memory *memory);
/*
 * Leaves zeros where something was read that does not hold. `ours_alone`: it is a private mapping
 * of no file, whose pages go back to the system instead of being written to: whoever stops a
 * reading of many gigabytes would otherwise wait until all of them were taken, and zeros.
 */
void hm_memory_wipe(uint8_t *data, size_t length, bool ours_alone);

/*
 * ::HM_UNDECIDED when so many bytes cannot be had, as far as the system tells; asked before reading
 * begins, since whoever takes more is ended without a word. `what`: whose bytes they are.
 */
HM_MUST_USE hm_status hm_memory_check(uint64_t bytes, const char *what, hm_error **error);

#endif
