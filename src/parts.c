/* SPDX-License-Identifier: Apache-2.0 */
#include "parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void hm_parts_free(hm_parts *parts) {
    for (size_t i = 0; parts->list != NULL && i < parts->count; i++) {
        hm_part_free(&parts->list[i]);
    }
    free(parts->list);
    *parts = (hm_parts){0};
}

/* ---- do they fit together? ------------------------------------------------------------------ */

static hm_status read_part(const char *path, hm_part *part, hm_error **error) {
    hm_auto_buf file = {0};
    hm_status status = hm_read_file(path, HM_SIGNATURE_FILE_LIMIT, &file, error);
    return status == HM_OK ? hm_part_parse(hm_buf_view(&file), path, part, error) : status;
}

static bool same_ignore(const hm_part *a, const hm_part *b) {
    bool same = a->ignore_count == b->ignore_count;
    for (size_t i = 0; same && i < a->ignore_count; i++) {
        same = strcmp(a->ignore[i], b->ignore[i]) == 0;
    }
    return same;
}

/* What differs between the ways in which two parts were made; NULL: nothing. */
static const char *difference(const hm_part *a, const hm_part *b) {
    const hm_manifest *left = &a->manifest;
    const hm_manifest *right = &b->manifest;
    return a->part_count != b->part_count          ? "the number of parts"
           : left->hash != right->hash             ? "--hash"
           : left->method != right->method         ? "--files or --shards"
           : left->shard_size != right->shard_size ? "--shard-size"
           : a->follow != b->follow                ? "--follow-symlinks"
           : !same_ignore(a, b)                    ? "--ignore or --include-git"
                                                   : NULL;
}

static hm_status refuse_different(const hm_parts *parts, size_t index, const char *what,
                                  hm_error **error) {
    hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s and %s differ in %s",
                               parts->paths[0], parts->paths[index], what);
    hm_error_add_hint(error, "digest all parts with the same options");
    return status;
}

static const char *plural(size_t count) {
    return count == 1 ? "" : "s";
}

/* Each part once, and all of them. */
static hm_status check_complete(const hm_parts *parts, hm_error **error) {
    unsigned wanted = parts->list[0].part_count;
    hm_auto_free size_t *places = hm_alloc(wanted, sizeof(size_t));
    if (places == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < parts->count; i++) {
        size_t *place = &places[parts->list[i].part - 1];
        if (*place != 0) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s and %s are both part %u of %u",
                           parts->paths[*place - 1], parts->paths[i], parts->list[i].part, wanted);
        }
        *place = i + 1;
    }
    for (unsigned i = 0; i < wanted; i++) {
        if (places[i] == 0) {
            hm_status status =
                hm_fail(error, HM_USAGE, HM_REASON_NONE,
                        "part %u of %u is missing; there %s %zu part%s", i + 1, wanted,
                        parts->count == 1 ? "is" : "are", parts->count, plural(parts->count));
            hm_error_add_hint(error, "make it with 'hallmark digest --part %u/%u'", i + 1, wanted);
            return status;
        }
    }
    return HM_OK;
}

static hm_status check_alike(const hm_parts *parts, hm_error **error) {
    for (size_t i = 1; i < parts->count; i++) {
        const char *what = difference(&parts->list[0], &parts->list[i]);
        if (what != NULL) {
            return refuse_different(parts, i, what, error);
        }
    }
    return HM_OK;
}

/* What the caller says must be what the parts are; what it leaves open is taken from them. */
static hm_status settle_method(const hm_parts *parts, const hm_sign_options *options,
                               hm_measure_options *measure, hm_error **error) {
    const hm_manifest *made = &parts->list[0].manifest;
    bool files = (options->flags & HM_SIGN_FILES) != 0;
    bool follow = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0;
    const char *what = options->hash != NULL && measure->hash != made->hash ? "--hash"
                       : (files && made->method != HM_METHOD_FILES) ||
                               (options->shard_size > 0 && options->shard_size != made->shard_size)
                           ? "--files, --shards or --shard-size"
                       : follow != parts->list[0].follow ? "--follow-symlinks"
                                                         : NULL;
    if (what != NULL) {
        hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "the parts were not made with the %s that is asked for", what);
        hm_error_add_hint(error, "say what was said to 'hallmark digest', or digest the parts "
                                 "again");
        return status;
    }
    measure->method = made->method;
    measure->hash = made->hash;
    measure->shard_size = made->shard_size;
    return HM_OK;
}

hm_status hm_parts_read(const char *const *paths, size_t count, const hm_sign_options *options,
                        hm_parts *parts, hm_measure_options *measure, hm_error **error) {
    if (count > HM_PART_LIMIT) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "there are more than %d parts",
                       HM_PART_LIMIT);
    }
    parts->paths = paths;
    parts->list = hm_alloc(count, sizeof(hm_part));
    if (parts->list == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = HM_OK;
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        parts->count = i + 1;
        status = read_part(paths[i], &parts->list[i], error);
    }
    if (status == HM_OK) {
        status = check_alike(parts, error);
    }
    if (status == HM_OK) {
        status = check_complete(parts, error);
    }
    return status == HM_OK ? settle_method(parts, options, measure, error) : status;
}

/* ---- are they of this tree? ----------------------------------------------------------------- */

static void hint_again(const hm_parts *parts, size_t index, hm_error **error) {
    hm_error_add_hint(error, "digest that part again: hallmark digest --part %u/%u --out %s",
                      parts->list[index].part, parts->list[index].part_count, parts->paths[index]);
}

static bool part_ignores(const hm_part *part, const char *path) {
    for (size_t i = 0; i < part->ignore_count; i++) {
        if (strcmp(part->ignore[i], path) == 0) {
            return true;
        }
    }
    return false;
}

static bool ignores(const hm_ignore *ignore, const char *path) {
    for (size_t i = 0; i < ignore->count; i++) {
        if (strcmp(ignore->rules[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

static bool covers(const char *rule, const char *path) {
    size_t length = strlen(rule);
    return strncmp(path, rule, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

/* A path that this signing takes in and the parts left out, or NULL. */
static const char *left_out(const hm_part *part, const hm_tree *tree, const hm_ignore *ignore) {
    for (size_t i = 0; i < part->ignore_count; i++) {
        for (size_t j = 0; !ignores(ignore, part->ignore[i]) && j < tree->count; j++) {
            if (covers(part->ignore[i], tree->entries[j].name)) {
                return part->ignore[i];
            }
        }
    }
    return NULL;
}

/* And the other way round. */
static const char *taken_in(const hm_part *part, const hm_tree *tree) {
    for (size_t i = 0; i < tree->hole_count; i++) {
        if (!part_ignores(part, tree->holes[i].path)) {
            return tree->holes[i].path;
        }
    }
    return NULL;
}

/*
 * Rules that leave nothing out may differ, such as that for the signature's own place: asked when
 * the trees differ, for a reason.
 */
static hm_status explain_by_ignore(const hm_part *part, const hm_tree *tree,
                                   const hm_ignore *ignore, hm_error **error) {
    const char *out = left_out(part, tree, ignore);
    const char *in = out == NULL ? taken_in(part, tree) : NULL;
    if (out == NULL && in == NULL) {
        return HM_OK;
    }
    hm_status status =
        hm_fail(error, HM_USAGE, HM_REASON_NONE, "the parts %s %s, unlike this signing",
                out != NULL ? "leave out" : "do not leave out", out != NULL ? out : in);
    hm_error_add_hint(error, "give the same --ignore and --include-git to 'hallmark digest' and "
                             "'hallmark sign'");
    return status;
}

static hm_status check_tree(const hm_parts *parts, const hm_tree *tree, const hm_ignore *ignore,
                            hm_error **error) {
    uint8_t digest[32];
    uint64_t bytes;
    size_t other = 0;
    hm_status status = hm_tree_digest(tree, &bytes, digest, error);
    for (size_t i = 0; i < parts->count && status == HM_OK; i++) {
        other += memcmp(parts->list[i].tree_digest, digest, sizeof(digest)) != 0 ? 1 : 0;
    }
    if (status == HM_OK && other > 0) {
        status = explain_by_ignore(&parts->list[0], tree, ignore, error);
    }
    for (size_t i = 0; i < parts->count && other > 0 && status == HM_OK; i++) {
        const hm_part *part = &parts->list[i];
        if (memcmp(part->tree_digest, digest, sizeof(digest)) != 0) {
            status = hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                             "%s is of a tree of %zu files and %" PRIu64 " bytes, and %s has %zu "
                             "files and %" PRIu64 " bytes now, or other names or sizes",
                             parts->paths[i], part->tree_files, part->tree_bytes, tree->model->path,
                             tree->count, bytes);
            if (other < parts->count) {
                hint_again(parts, i, error);
            } else {
                hm_error_add_hint(error, "digest all parts again: how the model is split depends "
                                         "on every name and size");
            }
        }
    }
    return status;
}

static hm_status check_file(const hm_parts *parts, size_t index, const hm_item *item,
                            const hm_part_file *file, const hm_tree *tree, hm_error **error) {
    const hm_entry *entry = hm_tree_find(tree, item->name);
    if (entry == NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s has a digest of %s, which is not in the model", parts->paths[index],
                       item->name);
    }
    hm_auto_free char *mtime = hm_entry_mtime(entry);
    if (mtime == NULL) {
        return hm_fail_memory(error);
    }
    if (entry->size == file->size && strcmp(mtime, file->mtime) == 0) {
        return HM_OK;
    }
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                               "%s changed after %s was made", item->name, parts->paths[index]);
    hint_again(parts, index, error);
    return status;
}

static hm_status take_part(const hm_parts *parts, size_t index, const hm_tree *tree,
                           hm_manifest *known, hm_error **error) {
    const hm_part *part = &parts->list[index];
    hm_status status = HM_OK;
    for (size_t i = 0; i < part->manifest.count && status == HM_OK; i++) {
        const hm_item *item = &part->manifest.items[i];
        status = check_file(parts, index, item, &part->files[i], tree, error);
        if (status == HM_OK) {
            status = hm_manifest_add(known, item->name, strlen(item->name), item->start, item->end,
                                     item->digest, error);
        }
    }
    return status;
}

static hm_status refuse_item(const hm_manifest *known, const char *what, const hm_item *item,
                             hm_error **error) {
    hm_auto_free char *label = hm_item_label(known, item);
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s of %s", what,
                               label != NULL ? label : item->name);
    hm_error_add_hint(error, "digest the parts again: they do not fit together");
    return status;
}

/* The first range that has no digest. */
static hm_status refuse_gap(const hm_tree *tree, const hm_measure_options *measure,
                            const hm_manifest *known, hm_error **error) {
    for (size_t i = 0; i < tree->count; i++) {
        const hm_entry *entry = &tree->entries[i];
        uint64_t start = 0;
        do {
            hm_item item = {.name = entry->name, .start = start};
            item.end = hm_range_end(entry->size, start, measure);
            if (hm_manifest_find(known, entry->name, start) == NULL) {
                return refuse_item(known, "no part has the digest", &item, error);
            }
            start = item.end;
        } while (start < entry->size);
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "the parts do not fit together");
}

/*
 * Every item is a range of the tree, cut as the method cuts it, and none is there twice; so as many
 * items as ranges are all of them.
 */
static hm_status check_covered(const hm_tree *tree, const hm_measure_options *measure,
                               hm_manifest *known, hm_error **error) {
    const hm_item *twice;
    uint64_t ranges = 0;
    if (!hm_manifest_sort(known, &twice)) {
        return refuse_item(known, "two parts have a digest", twice, error);
    }
    for (size_t i = 0; i < tree->count; i++) {
        uint64_t size = tree->entries[i].size;
        ranges += size == 0 || measure->method == HM_METHOD_FILES
                      ? 1
                      : hm_shard_count(size, measure->shard_size);
    }
    return ranges == known->count ? HM_OK : refuse_gap(tree, measure, known, error);
}

hm_status hm_parts_find(void *context, const hm_collection *collection,
                        const hm_measure_options *measure, hm_manifest *known, hm_error **error) {
    const hm_parts *parts = context;
    known->method = measure->method;
    known->hash = measure->hash;
    known->shard_size = measure->shard_size;
    hm_status status = check_tree(parts, &collection->tree, &collection->ignore, error);
    for (size_t i = 0; i < parts->count && status == HM_OK; i++) {
        status = take_part(parts, i, &collection->tree, known, error);
    }
    return status == HM_OK ? check_covered(&collection->tree, measure, known, error) : status;
}

/* ---- writing one ---------------------------------------------------------------------------- */

static hm_status refuse_target(const char *path, const char *what, hm_error **error) {
    hm_status status =
        hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is %s, and is not written over", path, what);
    hm_error_add_hint(error, "choose another place with --out, or move it away first");
    return status;
}

hm_status hm_parts_check_target(const hm_model *model, const char *path, hm_error **error) {
    hm_auto_free char *inside = NULL;
    hm_auto_buf old = {0};
    struct stat st;
    hm_status status = hm_model_relative(model, path, &inside, error);
    if (status != HM_OK) {
        return status;
    }
    if (inside != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s lies inside the model", path);
        hm_error_add_hint(error, "a part must not become a file of the model: write it elsewhere");
        return status;
    }
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? HM_OK : hm_fail_errno(error, errno, "cannot look at %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return refuse_target(path, "not a regular file", error);
    }
    if (model->is_file && st.st_dev == model->device && st.st_ino == model->inode) {
        return refuse_target(path, "the model itself", error);
    }
    hm_auto_error cause = NULL;
    status = hm_read_file(path, HM_SIGNATURE_FILE_LIMIT, &old, &cause);
    if (status == HM_OK) {
        status = hm_part_recognise(hm_buf_view(&old), &cause);
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    return status == HM_OK ? HM_OK : refuse_target(path, "not an older part", error);
}

static hm_status describe_tree(const hm_collection *collection, hm_part *part, hm_error **error) {
    const hm_ignore *ignore = &collection->ignore;
    for (size_t i = 0; i < ignore->count; i++) {
        char *copy = hm_strdup(ignore->rules[i].path);
        if (copy == NULL ||
            !hm_grow(&part->ignore, part->ignore_count, &part->ignore_capacity, sizeof(char *))) {
            free(copy);
            return hm_fail_memory(error);
        }
        part->ignore[part->ignore_count++] = copy;
    }
    part->tree_files = collection->tree.count;
    return hm_tree_digest(&collection->tree, &part->tree_bytes, part->tree_digest, error);
}

hm_status hm_parts_write(const hm_collection *collection, const hm_measure_options *measure,
                         const char *path, hm_error **error) {
    hm_auto_buf file = {0};
    hm_part part = {
        .part = measure->part,
        .part_count = measure->part_count,
        .follow = collection->tree.follow,
    };
    hm_status status = describe_tree(collection, &part, error);
    if (status == HM_OK) {
        part.manifest = collection->manifest; /* lent */
        status = hm_part_write(&part, &collection->tree, &file, error);
        part.manifest = (hm_manifest){0};
    }
    hm_part_free(&part);
    if (status == HM_OK) {
        status = hm_parts_check_target(collection->tree.model, path, error);
    }
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&file), 0666, HM_WRITE_REPLACE, error)
                           : status;
}
