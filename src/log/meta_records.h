/* meta_records.h - the records of __meta (docs/formats.md); internal to log/.
 *
 * Key: version u8 (1), kind u8, then what names the thing; a null value deletes it. Big endian;
 * texts are u16 length and bytes. The topic is compacted by key.
 *   1 topic  key: id 16             value: 1, name, partitions i32, count u16, {name,
 * value}..., flags u8 (1: internal; absent in older records: names with "__" are) 2 trim   key:
 * id 16, index i32  value: 1, start i64 3 pin    key: owner, id 16, index i32   value: 1,
 * offset i64 4 note   key: owner             value: 1, bytes */
#ifndef TIDEMARK_LOG_META_RECORDS_H
#define TIDEMARK_LOG_META_RECORDS_H

#include "log/topic.h"

enum meta_kind { META_TOPIC = 1, META_TRIM, META_PIN, META_NOTE };

struct meta_record {
    enum meta_kind kind;
    bool gone; /* a null value */
    uuid id;
    int32_t partition;
    view owner, name, value;
    int32_t partitions;
    bool internal;
    int64_t offset;
    struct setting *settings; /* heap, the caller's (settings_free) */
    size_t setting_count;
};

void meta_key_write(struct writer *out, const struct meta_record *record);
void meta_value_write(struct writer *out, const struct meta_record *record,
                      const struct setting *settings, size_t count);
MUST_CHECK err meta_record_read(view key, view value, struct meta_record *out);

#endif
