/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns for names and paths of models; what they mean is said in trust.h and docs/policy.md. */
#include "trust/trust.h"

#include <string.h>

typedef struct span {
    const char *at, *end;
} span;

static span span_of(const char *text, size_t length) {
    return (span){text, text + length};
}

/* The next character of a text that is known to be UTF-8. */
static uint32_t take_character(span *text) {
    uint32_t code = 0;
    size_t left = (size_t)(text->end - text->at);
    size_t length = hm_utf8_sequence((const uint8_t *)text->at, left, &code);
    text->at += length > 0 ? length : 1;
    return code;
}

/* ---- one component -------------------------------------------------------------------------- */

/* Behind the opening bracket; moves behind the closing one. */
static bool match_class(span *pattern, uint32_t code) {
    bool negated = *pattern->at == '!';
    bool found = false;
    pattern->at += negated ? 1 : 0;
    while (*pattern->at != ']') {
        uint32_t first = take_character(pattern);
        uint32_t last = first;
        if (pattern->at[0] == '-' && pattern->at[1] != ']') {
            pattern->at++;
            last = take_character(pattern);
        }
        found = found || (code >= first && code <= last);
    }
    pattern->at++;
    return found != negated;
}

/* One element of the pattern, which is no star, against one character. */
static bool match_character(span *pattern, uint32_t code) {
    uint32_t wanted = take_character(pattern);
    if (wanted == '[') {
        return match_class(pattern, code);
    }
    return wanted == '?' || wanted == code;
}

/* Only the last star needs to be tried again: what an earlier one took, it could take as well. */
static bool match_component(span pattern, span text) {
    span after_star = {NULL, NULL};
    span tried = {NULL, NULL};
    while (text.at < text.end) {
        if (pattern.at < pattern.end && *pattern.at == '*') {
            pattern.at++;
            after_star = pattern;
            tried = text;
            continue;
        }
        span rest = text;
        uint32_t code = take_character(&rest);
        if (pattern.at < pattern.end && match_character(&pattern, code)) {
            text = rest;
            continue;
        }
        if (after_star.at == NULL) {
            return false;
        }
        (void)take_character(&tried);
        text = tried;
        pattern = after_star;
    }
    while (pattern.at < pattern.end && *pattern.at == '*') {
        pattern.at++;
    }
    return pattern.at == pattern.end;
}

bool hm_pattern_match_name(const char *pattern, const char *name) {
    return hm_text_plain(hm_bytes_text(name)) && strchr(name, '/') == NULL &&
           match_component(span_of(pattern, strlen(pattern)), span_of(name, strlen(name)));
}

/* ---- paths ---------------------------------------------------------------------------------- */

static span component_at(const char *path) {
    return span_of(path, strcspn(path, "/"));
}

static const char *behind(span component) {
    return component.end + (*component.end == '/' ? 1 : 0);
}

static bool is_any(span component) {
    return component.end - component.at == 2 && strncmp(component.at, "**", 2) == 0;
}

/* The same with components for characters, and `**` for the star. */
static bool match_components(const char *pattern, const char *path) {
    const char *after_any = NULL;
    const char *tried = NULL;
    while (*path != '\0') {
        span wanted = component_at(pattern);
        if (is_any(wanted)) {
            pattern = behind(wanted);
            if (*pattern == '\0') {
                return true; /* there is at least one component left */
            }
            after_any = pattern;
            tried = path;
            continue;
        }
        if (*pattern != '\0' && match_component(wanted, component_at(path))) {
            pattern = behind(wanted);
            path = behind(component_at(path));
            continue;
        }
        if (after_any == NULL) {
            return false;
        }
        tried = behind(component_at(tried));
        path = tried;
        pattern = after_any;
    }
    return *pattern == '\0';
}

bool hm_pattern_match_path(const char *pattern, const char *path) {
    return hm_text_plain(hm_bytes_text(path)) && pattern[0] == '/' && path[0] == '/' &&
           match_components(pattern + 1, path + 1);
}

/* ---- soundness ------------------------------------------------------------------------------ */

static const char *class_fault(span *pattern) {
    span close = *pattern;
    while (close.at < close.end && *close.at != ']') {
        close.at++;
    }
    if (close.at == close.end) {
        return "a \"[\" without \"]\"";
    }
    pattern->at += *pattern->at == '!' ? 1 : 0;
    if (pattern->at == close.at) {
        return "an empty \"[]\"";
    }
    if (*pattern->at == '^') {
        return "\"[^\": write \"[!\" for \"none of\"";
    }
    while (*pattern->at != ']') {
        uint32_t first = take_character(pattern);
        if (pattern->at[0] == '-' && pattern->at[1] != ']') {
            pattern->at++;
            if (take_character(pattern) < first) {
                return "a range in \"[]\" that runs backwards";
            }
        }
    }
    pattern->at++;
    return NULL;
}

static const char *component_fault(span component, bool is_path) {
    size_t length = (size_t)(component.end - component.at);
    if (length == 0) {
        return "an empty component";
    }
    if ((length == 1 && component.at[0] == '.') ||
        (length == 2 && strncmp(component.at, "..", 2) == 0)) {
        return "\".\" or \"..\", which no real path holds";
    }
    if (is_path && is_any(component)) {
        return NULL;
    }
    while (component.at < component.end) {
        if (strncmp(component.at, "**", 2) == 0) {
            return is_path ? "\"**\" that is not a whole component" : "\"**\", which is for paths";
        }
        uint32_t code = take_character(&component);
        const char *fault = code == '[' ? class_fault(&component) : NULL;
        if (fault != NULL) {
            return fault;
        }
    }
    return NULL;
}

const char *hm_pattern_fault(const char *pattern, bool is_path) {
    if (!hm_text_plain(hm_bytes_text(pattern))) {
        return "a control character";
    }
    if (strchr(pattern, '\\') != NULL) {
        return "a backslash: write \"[*]\" for a star that is meant as such";
    }
    if (!is_path) {
        return strchr(pattern, '/') != NULL
                   ? "a \"/\", which no name holds"
                   : component_fault(span_of(pattern, strlen(pattern)), false);
    }
    if (pattern[0] != '/') {
        return "no \"/\" in front: paths are absolute";
    }
    const char *fault = NULL;
    const char *at = pattern;
    while (fault == NULL && *at == '/') {
        span component = component_at(at + 1);
        fault = component_fault(component, true);
        at = component.end;
    }
    return fault;
}
