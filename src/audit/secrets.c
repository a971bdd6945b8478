/* secrets.c - passwords and keys in files. SPDX-License-Identifier: Apache-2.0 */
#include "audit/secrets.h"

#include <stdlib.h>
#include <string.h>

#define FOLDER "secrets"
#define SECRET_BYTES_MAX 65536

static err path_of(struct audit *audit, const char *source, const char *what, char **folder,
                   char **name)
{
    *name = text_format("%s.%s", source, what);
    *folder = text_format("%s/" FOLDER, audit->config.data_folder);
    err e = os_make_folder(audit->os, *folder);
    if (e) {
        free(*name);
        free(*folder);
    }
    return e;
}

static err keep(struct audit *audit, const char *source, const char *what, view bytes)
{
    char *folder, *name;
    err e = path_of(audit, source, what, &folder, &name);

    if (e) {
        return e;
    }
    e = os_replace_file(audit->os, folder, name, bytes);
    free(folder);
    free(name);
    return e;
}

static err find(struct audit *audit, const char *source, const char *what, struct buf **out)
{
    char *path = text_format("%s/" FOLDER "/%s.%s", audit->config.data_folder, source, what);
    err e = os_read_file(audit->os, path, SECRET_BYTES_MAX, out);

    free(path);
    return e;
}

static void forget(struct audit *audit, const char *source, const char *what)
{
    char *path = text_format("%s/" FOLDER "/%s.%s", audit->config.data_folder, source, what);

    if (audit->os->path_remove(audit->os, path) == ERR_IO) {
        trace_warn("audit", "a secret stays behind: %s", fault_here.text);
    }
    free(path);
}

err secrets_keep(struct audit *audit, const char *source, const char *password)
{
    if (!password) {
        forget(audit, source, "password");
        return OK;
    }
    return keep(audit, source, "password", view_text(password));
}

err secrets_find(struct audit *audit, const char *source, char **out)
{
    struct buf *bytes = NULL;
    err e = find(audit, source, "password", &bytes);

    *out = NULL;
    if (e == ERR_NOT_FOUND) {
        return OK;
    }
    if (!e) {
        *out = text_of((view){bytes->bytes, bytes->len});
    }
    buf_drop(bytes);
    return e;
}

err secrets_mask_key(struct audit *audit, const char *source, uint8_t out[RULES_KEY_BYTES])
{
    struct buf *bytes = NULL;
    err e = find(audit, source, "mask-key", &bytes);

    if (e == ERR_NOT_FOUND) {
        audit->os->random(audit->os, out, RULES_KEY_BYTES);
        return keep(audit, source, "mask-key", (view){out, RULES_KEY_BYTES});
    }
    if (!e && bytes->len != RULES_KEY_BYTES) {
        e = fault(ERR_CORRUPT, "the key of masked columns of %s is damaged", source);
    }
    if (!e) {
        memcpy(out, bytes->bytes, RULES_KEY_BYTES);
    }
    buf_drop(bytes);
    return e;
}

void secrets_forget(struct audit *audit, const char *source)
{
    forget(audit, source, "password");
    forget(audit, source, "mask-key");
}
