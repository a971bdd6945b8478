/* wire.h - reading and writing binary formats: a cursor whose error sticks, and a growing
 * writer.
 *
 * A decoder reads like the format and is checked once, at its end: after a short read every
 * further read yields zero and r->bad stays set. Integers are big endian unless the name ends
 * in _le; var* are the unsigned and zigzag varints of protobuf, as Kafka uses them. */
#ifndef TIDEMARK_BASE_WIRE_H
#define TIDEMARK_BASE_WIRE_H

#include "base/mem.h"
#include "base/view.h"

struct reader {
    view rest; /* what is not read yet */
    bool bad;  /* once set, every further read yields zero */
};

view read_bytes(struct reader *r, size_t len);
uint8_t read_u8(struct reader *r);
int8_t read_i8(struct reader *r);
bool read_bool(struct reader *r);
uint16_t read_u16(struct reader *r);
int16_t read_i16(struct reader *r);
uint32_t read_u32(struct reader *r);
int32_t read_i32(struct reader *r);
uint64_t read_u64(struct reader *r);
int64_t read_i64(struct reader *r);
double read_f64(struct reader *r);
uint32_t read_uvarint(struct reader *r);  /* at most 5 bytes */
uint64_t read_uvarlong(struct reader *r); /* at most 10 bytes */
int32_t read_varint(struct reader *r);    /* zigzag */
int64_t read_varlong(struct reader *r);   /* zigzag */

/* For patching and peeking at known places. */
void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

/* A growing byte string. Zeroed = empty and ready; writer_fini frees. */
struct writer {
    uint8_t *at;
    size_t len, room;
};

void write_bytes(struct writer *w, const void *at, size_t len);
void write_view(struct writer *w, view v);
void write_u8(struct writer *w, uint8_t value);
void write_i8(struct writer *w, int8_t value);
void write_bool(struct writer *w, bool value);
void write_u16(struct writer *w, uint16_t value);
void write_i16(struct writer *w, int16_t value);
void write_u32(struct writer *w, uint32_t value);
void write_i32(struct writer *w, int32_t value);
void write_u64(struct writer *w, uint64_t value);
void write_i64(struct writer *w, int64_t value);
void write_f64(struct writer *w, double value);
void write_uvarint(struct writer *w, uint32_t value);
void write_uvarlong(struct writer *w, uint64_t value);
void write_varint(struct writer *w, int32_t value);
void write_varlong(struct writer *w, int64_t value);
PRINTF_LIKE(2, 3) void write_format(struct writer *w, const char *format, ...);
uint8_t *write_space(struct writer *w, size_t len); /* len bytes more, zeroed, to be filled */
view writer_view(const struct writer *w);           /* valid until the next write */
void writer_reset(struct writer *w);                /* empty, keeps its memory */
void writer_fini(struct writer *w);

/* CRC-32C (Castagnoli), RFC 3720 appendix B.4; crc32c(0, "123456789") = 0xE3069283. Chains:
 * crc32c(crc32c(0, a), b) is the checksum of a followed by b. */
uint32_t crc32c(uint32_t before, view v);

#endif
