/* shell_record.c - telling the server, and what it means when that is not possible.
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/shell.h"

err shell_record(struct shell *shell, view json)
{
    struct writer answer = {0};
    unsigned status = 0;
    err e = OK;
    char path[128];

    snprintf(path, sizeof(path), "/api/v1/sessions/%s/records", shell->id);
    pthread_mutex_lock(&shell->lock);
    if (shell->over) {
        e = fault(ERR_CLOSED, "%s", shell->over);
    }
    e = e ? e : http_ask(shell->records, "POST", path, json, &status, &answer);
    e = e ? e : http_answer_check(status, writer_view(&answer));
    pthread_mutex_unlock(&shell->lock);
    writer_fini(&answer);
    return e;
}

/* psql ends by itself when its connection is gone and nothing lets it in again; one that waits
 * at its prompt would not notice. */
void shell_end(struct shell *shell, const char *why, ...)
{
    char *words = NULL;
    va_list args;

    va_start(args, why);
    int len = vasprintf(&words, why, args);
    va_end(args);
    assert(len >= 0);
    pthread_mutex_lock(&shell->lock);
    if (shell->over) {
        free(words);
    } else {
        shell->over = words;
        if (shell->psql > 0) {
            kill(shell->psql, SIGTERM);
        }
    }
    pthread_mutex_unlock(&shell->lock);
}

void shell_context(struct shell *shell, int64_t number, struct writer *out)
{
    struct json_writer j = json_to(out);

    pthread_mutex_lock(&shell->lock);
    json_object(&j);
    json_name(&j, "user");
    json_text(&j, shell->person);
    json_name(&j, "session");
    json_text(&j, shell->id);
    json_name(&j, "reason");
    json_text(&j, shell->reason ? shell->reason : shell->asked);
    json_name(&j, "session_reason");
    json_text(&j, shell->asked);
    if (shell->ticket[0]) {
        json_name(&j, "ticket");
        json_text(&j, shell->ticket);
    }
    json_name(&j, "statement");
    json_int(&j, number);
    json_name(&j, "source");
    json_text(&j, "tidemark shell");
    json_end_object(&j);
    pthread_mutex_unlock(&shell->lock);
}
