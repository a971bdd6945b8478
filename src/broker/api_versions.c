/* api_versions.c - ApiVersions (18): what we speak; KIP-35, KIP-511, KIP-584, KIP-1242.
 *
 * The response header is always version 0. A version we do not know is answered in version 0
 * with our own range, so that the client comes back with one we do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <ctype.h>

#define TAG_SUPPORTED 0
#define TAG_EPOCH 1
#define TAG_FINALIZED 2
#define END_TXN 26
#define END_TXN_BUMPS 5       /* its first version where every end bumps the epoch (KIP-890) */
#define TRANSACTION_VERSION 2 /* feature level: epoch per transaction */
#define MINIMUM_ZERO_FROM 4   /* first version that may say a feature starts at level 0 */

struct ask {
    view software, version, cluster_id;
    int32_t node_id;
};

void api_versions_read(struct request *r)
{
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->node_id = -1;
    if (r->version >= 3) {
        ask->software = read_text(&r->body, true);
        ask->version = read_text(&r->body, true);
    }
    if (r->version >= 5) {
        ask->cluster_id = read_text_or_null(&r->body, true);
        ask->node_id = read_i32(&r->body);
    }
    read_tags(&r->body, r->flexible);
}

/* Letters and digits, with dots and dashes between them. */
static bool is_software_word(view v)
{
    for (size_t i = 0; i < v.len; i++) {
        bool inner = i > 0 && i + 1 < v.len;
        if (!isalnum(v.at[i]) && !(inner && (v.at[i] == '.' || v.at[i] == '-'))) {
            return false;
        }
    }
    return v.len > 0;
}

static int16_t check(const struct request *r)
{
    const struct ask *ask = r->ask;

    if (!ask) {
        return KAFKA_UNSUPPORTED_VERSION; /* dispatch did not read it */
    }
    if (r->version >= 3 &&
        (!is_software_word(ask->software) || !is_software_word(ask->version))) {
        return KAFKA_INVALID_REQUEST;
    }
    if (ask->cluster_id.at && ask->node_id != -1 &&
        (!view_is_text(ask->cluster_id, r->broker->cluster_id) || ask->node_id != NODE_ID)) {
        return KAFKA_REBOOTSTRAP_REQUIRED; /* the client means another cluster or broker */
    }
    return KAFKA_NONE;
}

static void write_api(struct request *r, const struct api *api)
{
    write_i16(&r->answer, api->key);
    write_i16(&r->answer, api->oldest);
    write_i16(&r->answer, api->newest);
    write_no_tags(&r->answer, r->flexible);
}

/* One feature: name, two levels, in the order of the field that holds it. */
static void write_feature(struct writer *w, int16_t first, int16_t second)
{
    write_count(w, true, 1);
    write_text(w, true, VIEW("transaction.version"));
    write_i16(w, first);
    write_i16(w, second);
    write_no_tags(w, true);
}

static void write_features(struct request *r)
{
    const struct api *end_txn = api_find(END_TXN);
    struct writer field = {0};
    bool says_zero = r->version >= MINIMUM_ZERO_FROM;
    uint8_t epoch[8] = {0};

    if (!end_txn || end_txn->newest < END_TXN_BUMPS) {
        write_no_tags(&r->answer, true);
        return;
    }
    write_uvarint(&r->answer, says_zero ? 3 : 2);
    if (says_zero) {
        write_feature(&field, 0, TRANSACTION_VERSION);
        write_tag(&r->answer, TAG_SUPPORTED, writer_view(&field));
    }
    write_tag(&r->answer, TAG_EPOCH, (view){epoch, sizeof(epoch)});
    writer_reset(&field);
    write_feature(&field, TRANSACTION_VERSION, TRANSACTION_VERSION);
    write_tag(&r->answer, TAG_FINALIZED, writer_view(&field));
    writer_fini(&field);
}

void api_versions_handle(struct request *r)
{
    struct writer *w = &r->answer;
    int16_t error = check(r);

    write_i16(w, error);
    if (error == KAFKA_UNSUPPORTED_VERSION) { /* in version 0, with our own range alone */
        write_count(w, false, 1);
        write_api(r, r->api);
        request_reply(r);
        return;
    }
    if (error) {
        write_count(w, r->flexible, 0);
    } else {
        write_count(w, r->flexible, api_count);
        for (size_t i = 0; i < api_count; i++) {
            write_api(r, &apis[i]);
        }
    }
    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    if (r->version >= 3) {
        write_features(r);
    }
    request_reply(r);
}
