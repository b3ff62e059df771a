/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of a model. Whatever is taken is sorted, lies inside the model and is cut as its method
 * cuts; and a file that is taken is recognised as a part, so that it may be written over.
 */
#include "format/records.h"
#include "fuzz.h"

static void check_item(const hm_part *part, size_t index) {
    const hm_manifest *manifest = &part->manifest;
    const hm_item *item = &manifest->items[index];
    FUZZ_CHECK(hm_name_valid(hm_bytes_text(item->name)) && !fuzz_leads_outside(item->name));
    FUZZ_CHECK(item->start <= item->end && item->end <= part->files[index].size);
    FUZZ_CHECK(part->files[index].mtime != NULL);
    FUZZ_CHECK(index == 0 || hm_item_compare(item - 1, item) < 0);
    if (manifest->method == HM_METHOD_SHARDS) {
        FUZZ_CHECK(item->start % manifest->shard_size == 0);
        FUZZ_CHECK(item->end - item->start <= manifest->shard_size);
    } else {
        FUZZ_CHECK(item->start == 0 && item->end == part->files[index].size);
    }
}

static void check_part(const hm_part *part) {
    const hm_manifest *manifest = &part->manifest;
    FUZZ_CHECK(part->part >= 1 && part->part <= part->part_count);
    FUZZ_CHECK(part->part_count <= HM_PART_LIMIT);
    FUZZ_CHECK((manifest->method == HM_METHOD_SHARDS) == (manifest->shard_size > 0));
    for (size_t i = 0; i < part->ignore_count; i++) {
        FUZZ_CHECK(hm_name_valid(hm_bytes_text(part->ignore[i])));
        FUZZ_CHECK(i == 0 || strcmp(part->ignore[i - 1], part->ignore[i]) < 0);
    }
    for (size_t i = 0; i < manifest->count; i++) {
        check_item(part, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_part part = {0};
    hm_status status = hm_part_parse(hm_bytes_of(data, size), "input", &part, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        check_part(&part);
        FUZZ_CHECK(hm_part_recognise(hm_bytes_of(data, size), &error) == HM_OK);
    }
    hm_part_free(&part);
    return 0;
}
