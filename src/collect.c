/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"

#include <stdlib.h>
#include <string.h>

void hm_collection_free(hm_collection *collection) {
    hm_ignore_free(&collection->ignore);
    hm_tree_free(&collection->tree);
    hm_manifest_free(&collection->manifest);
    hm_manifest_free(&collection->shards);
}

hm_status hm_collect_method(const char *hash, uint64_t shard_size, hm_measure_options *measure,
                            hm_error **error) {
    measure->hash = HM_HASH_SHA256;
    measure->method = shard_size > 0 ? HM_METHOD_SHARDS : HM_METHOD_FILES;
    measure->shard_size = shard_size;
    if (hash != NULL && !hm_hash_from_name(hm_bytes_text(hash), &measure->hash)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the hash \"%s\" is not known; use sha256, blake2b or blake3", hash);
    }
    /* JSON numbers hold integers exactly up to 2^53. */
    if (shard_size > (UINT64_C(1) << 53)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the shard size is larger than 2^53");
    }
    return HM_OK;
}

hm_status hm_collect_ignore(const char *const *paths, size_t count, hm_ignore *ignore,
                            hm_error **error) {
    for (size_t i = 0; i < count; i++) {
        /* "./log/" is how a shell completes "log". */
        const char *begin = strncmp(paths[i], "./", 2) == 0 ? paths[i] + 2 : paths[i];
        size_t length = strlen(begin);
        while (length > 1 && begin[length - 1] == '/') {
            length--;
        }
        hm_auto_free char *path = hm_strndup(begin, length);
        if (path == NULL) {
            return hm_fail_memory(error);
        }
        if (!hm_name_valid(hm_bytes_text(path))) {
            hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                       "\"%s\" is not a path inside the model", paths[i]);
            hm_error_add_hint(error,
                              "name paths to ignore relative to the model, without . and ..");
            return status;
        }
        hm_status status = hm_ignore_add(ignore, path, HM_IGNORED_CALLER, error);
        if (status != HM_OK) {
            return status;
        }
    }
    return HM_OK;
}

hm_status hm_collect_ignore_file(const hm_model *model, const char *path, hm_ignore_source source,
                                 hm_ignore *ignore, hm_error **error) {
    hm_auto_free char *relative = NULL;
    if (path == NULL) {
        return HM_OK;
    }
    hm_status status = hm_model_relative(model, path, &relative, error);
    if (status != HM_OK || relative == NULL) {
        return status;
    }
    return hm_ignore_add(ignore, relative, source, error);
}

static hm_status gather_ignore(const hm_model *model, const hm_collect_options *options,
                               hm_ignore *ignore, hm_error **error) {
    hm_status status = options->include_git ? HM_OK : hm_ignore_add_git(ignore, error);
    for (size_t i = 0; i < options->left_out_count && status == HM_OK; i++) {
        const hm_left_out *file = &options->left_out[i];
        status = hm_collect_ignore_file(model, file->path, file->source, ignore, error);
    }
    if (status == HM_OK) {
        status = hm_collect_ignore(options->ignore, options->ignore_count, ignore, error);
    }
    return status;
}

static hm_status refuse_entry(const hm_model *model, const hm_entry *entry, hm_error **error) {
    hm_auto_free char *member = hm_model_member(model, entry->name);
    if (member == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                               "%s is a %s and cannot be signed", member, entry->kind_text);
    if (entry->kind == HM_ENTRY_SYMLINK) {
        hm_error_add_hint(error, "links to files inside the model can be signed with "
                                 "--follow-symlinks; leave others out with --ignore");
    } else {
        hm_error_add_hint(error, "remove it, or leave it out with --ignore");
    }
    return status;
}

static hm_status check_tree(const hm_tree *tree, hm_error **error) {
    for (size_t i = 0; i < tree->count; i++) {
        const hm_entry *entry = &tree->entries[i];
        if (entry->kind == HM_ENTRY_SYMLINK || entry->kind == HM_ENTRY_SPECIAL) {
            return refuse_entry(tree->model, entry, error);
        }
        if (!hm_name_valid(hm_bytes_text(entry->name))) {
            hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                       "the name \"%s\" in %s is not valid UTF-8 and cannot be "
                                       "signed",
                                       entry->name, tree->model->path);
            hm_error_add_hint(error, "rename it, or leave its directory out with --ignore");
            return status;
        }
    }
    return HM_OK;
}

/* Something must be left that the signature covers. */
static hm_status check_covered(const hm_tree *tree, hm_method method, hm_error **error) {
    for (size_t i = 0; i < tree->count; i++) {
        if (method == HM_METHOD_FILES || tree->entries[i].size > 0) {
            return HM_OK;
        }
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED, "the model %s has no %s to sign",
                   tree->model->path, method == HM_METHOD_FILES ? "file" : "byte");
}

static hm_status refuse_changed(const hm_tree *tree, const hm_file_state *states,
                                hm_error **error) {
    for (size_t i = 0; i < tree->count; i++) {
        if (states[i] != HM_FILE_READ && states[i] != HM_FILE_SPARED) {
            hm_auto_free char *member = hm_model_member(tree->model, tree->entries[i].name);
            if (member == NULL) {
                return hm_fail_memory(error);
            }
            hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                                       "%s changed while it was being read", member);
            hm_error_add_hint(error, "wait until nothing writes to the model, then try again");
            return status;
        }
    }
    return HM_OK;
}

static hm_status measure(const hm_collect_options *options, hm_collection *collection,
                         hm_error **error) {
    HM_CLEANUP(hm_manifest_free) hm_manifest known = {0};
    hm_measure_options how = options->measure;
    how.stop_on_change = true;
    how.shards = options->with_shards ? &collection->shards : NULL;
    hm_auto_free hm_file_state *states = hm_alloc(collection->tree.count, sizeof(hm_file_state));
    if (states == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = HM_OK;
    if (options->known.find != NULL) {
        status = options->known.find(options->known.context, collection, &how, &known, error);
        how.known = &known;
    }
    if (status == HM_OK) {
        status = hm_manifest_measure(&collection->tree, NULL, &how, &collection->manifest, states,
                                     error);
    }
    return status == HM_OK ? refuse_changed(&collection->tree, states, error) : status;
}

hm_status hm_collect(const hm_model *model, const hm_collect_options *options,
                     hm_collection *collection, hm_error **error) {
    hm_status status = gather_ignore(model, options, &collection->ignore, error);
    if (status == HM_OK) {
        status =
            hm_tree_walk(model, &collection->ignore, options->follow, &collection->tree, error);
    }
    collection->tree.copy = options->copy;
    if (status == HM_OK) {
        status = check_tree(&collection->tree, error);
    }
    if (status == HM_OK) {
        hm_method method = options->with_shards ? HM_METHOD_SHARDS : options->measure.method;
        status = check_covered(&collection->tree, method, error);
    }
    return status == HM_OK ? measure(options, collection, error) : status;
}
