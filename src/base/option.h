/* option.h - options are tables: one row gives name, kind, place, preset and help.
 *
 * The same rows fill the struct from a YAML file, TIDEMARK_* variables and --flags (later
 * wins), refuse unknown names with the nearest known one, and print --help and the reference
 * page. In a file a dot in a name is nesting: kafka.listen is {kafka: {listen: ...}} or
 * "kafka.listen: ...". A flag is the name with dots and underscores as dashes (--kafka-listen),
 * a variable the same in upper case (TIDEMARK_KAFKA_LISTEN); a row's short flag has a variable
 * too. Amounts are not negative unless a row's least says so. All texts in a filled struct are
 * heap copies; an empty one is NULL; options_fini. One thread at a time. */
#ifndef TIDEMARK_BASE_OPTION_H
#define TIDEMARK_BASE_OPTION_H

#include "base/wire.h"

enum option_kind {
    OPTION_TEXT,   /* char *, heap */
    OPTION_COUNT,  /* int64_t >= 0 */
    OPTION_INT,    /* int64_t */
    OPTION_BYTES,  /* int64_t, 64KiB */
    OPTION_MILLIS, /* int64_t, 30s */
    OPTION_BOOL,   /* bool; as a flag without value: true */
    OPTION_CHOICE, /* int64_t: index into choices */
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    const char *preset; /* NULL: must be given; "" with TEXT: NULL pointer */
    const char *help;
    const char *flag;           /* another name of the flag, without dashes, or NULL */
    const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
    int64_t least, most;        /* bounds of number kinds; most 0: none above, both 0: none */
};

#define OPTION(owner, field, kind_, preset_, help_)                                            \
    {                                                                                          \
        .name = #field, .kind = OPTION_##kind_, .offset = offsetof(owner, field),              \
        .preset = preset_, .help = help_                                                       \
    }

#define OPTION_NAME_BYTES 128 /* the longest name, with its NUL */

const struct option *option_find(const struct option *rows, size_t count, view name);
/* The name as its flag (without dashes in front) and as its variable. */
void option_flag(const struct option *row, char out[OPTION_NAME_BYTES]);
void option_variable(const struct option *row, char out[OPTION_NAME_BYTES]);

/* Presets into self. Must be the first call. */
MUST_CHECK err options_preset(const struct option *rows, size_t count, void *self);
/* One value by its full name; where names the place in errors ("server.yaml:3:5", "--data"). */
MUST_CHECK err option_set(const struct option *rows, size_t count, void *self, view name,
                          view value, const char *where);
/* A YAML file's text; path is for messages, which name line, column and the nearest name. */
MUST_CHECK err options_from_yaml(const struct option *rows, size_t count, void *self,
                                 const char *path, view text);
/* TIDEMARK_* of the environment that name a row; an unknown TIDEMARK_ name is an error. */
MUST_CHECK err options_from_environment(const struct option *rows, size_t count, void *self,
                                        char *const *environment);
/* Consumes --name value and --name=value; what is left (words) stays in argv[0..*argc). */
MUST_CHECK err options_from_flags(const struct option *rows, size_t count, void *self,
                                  int *argc, char **argv);
MUST_CHECK err options_complete(const struct option *rows, size_t count, const void *self);
/* The value as text, as a file would hold it. */
void option_print(const struct option *row, const void *self, struct writer *out);
void options_help(const struct option *rows, size_t count, struct writer *out); /* --help */
void options_reference(const struct option *rows, size_t count,
                       struct writer *out); /* docs, md */
void options_fini(const struct option *rows, size_t count, void *self);

#endif
