/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/tell.h"

#include <inttypes.h>
#include <string.h>

enum { GAP = 2 };

hm_status hm_table_add(hm_table *table, const char *text, hm_error **error) {
    hm_auto_buf safe = {0};
    hm_buf_add_printable(&safe, hm_bytes_text(text != NULL && text[0] != '\0' ? text : "-"));
    hm_status status = hm_buf_check(&safe, error);
    return status == HM_OK ? hm_texts_add(&table->cells, (const char *)safe.data, error) : status;
}

static hm_status add_buffer(hm_table *table, hm_buf *text, hm_error **error) {
    hm_status status = hm_buf_check(text, error);
    return status == HM_OK ? hm_table_add(table, (const char *)text->data, error) : status;
}

hm_status hm_table_add_time(hm_table *table, int64_t time, hm_error **error) {
    hm_auto_buf text = {0};
    hm_buf_add_time(&text, time);
    return add_buffer(table, &text, error);
}

hm_status hm_table_add_size(hm_table *table, uint64_t bytes, hm_error **error) {
    hm_auto_buf text = {0};
    hm_tell_size(&text, bytes);
    return add_buffer(table, &text, error);
}

hm_status hm_table_add_number(hm_table *table, uint64_t number, hm_error **error) {
    hm_auto_buf text = {0};
    hm_buf_add_format(&text, "%" PRIu64, number);
    return add_buffer(table, &text, error);
}

hm_status hm_table_add_version(hm_table *table, const char *digest, hm_error **error) {
    enum { SHOWN = 12 };
    hm_auto_buf text = {0};
    hm_buf_add_format(&text, "%.*s", SHOWN, digest != NULL ? digest : "");
    return add_buffer(table, &text, error);
}

/* Columns on a terminal, near enough: a code point each. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static size_t column_width(const hm_table *table, size_t column) {
    size_t widest = 0;
    for (size_t i = column; i < table->cells.count; i += table->columns) {
        size_t width = width_of(table->cells.list[i]);
        widest = width > widest ? width : widest;
    }
    return widest;
}

void hm_table_write(const hm_table *table, hm_buf *out) {
    for (size_t i = 0; i < table->cells.count; i++) {
        const char *text = table->cells.list[i];
        size_t column = i % table->columns;
        hm_buf_add_text(out, text);
        if (column + 1 == table->columns) {
            hm_buf_add_byte(out, '\n');
        } else {
            size_t pad = column_width(table, column) - width_of(text) + GAP;
            hm_buf_add_format(out, "%*s", (int)pad, "");
        }
    }
}

void hm_tell_line(hm_buf *out, const char *name, const char *text) {
    if (text != NULL && text[0] != '\0') {
        hm_buf_add_format(out, "%-14s ", name);
        hm_buf_add_printable(out, hm_bytes_text(text));
        hm_buf_add_byte(out, '\n');
    }
}

void hm_tell_time(hm_buf *out, const char *name, int64_t time) {
    hm_buf_add_format(out, "%-14s ", name);
    hm_buf_add_time(out, time);
    hm_buf_add_byte(out, '\n');
}

void hm_tell_size(hm_buf *out, uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double amount = (double)bytes;
    size_t unit = 0;
    while (amount >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        amount /= 1024;
        unit++;
    }
    hm_buf_add_format(out, unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
}

void hm_tell_member(hm_json_writer *w, const char *name, const char *text) {
    hm_json_name(w, name);
    if (text != NULL && text[0] != '\0') {
        hm_json_text(w, text);
    } else {
        hm_json_null(w);
    }
}
