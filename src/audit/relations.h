/* relations.h - the tables and types that the server described on this connection; internal.
 *
 * The server says what a table looks like once and again when it changed. A description that
 * is no news keeps its object, so that who has looked it up may go by the pointer. One thread.
 */
#ifndef TIDEMARK_AUDIT_RELATIONS_H
#define TIDEMARK_AUDIT_RELATIONS_H

#include "audit/pgoutput.h"

struct relations { /* zeroed: none */
    struct map by_oid;
};
void relations_fini(struct relations *relations);
struct relation *relations_get(const struct relations *relations, uint32_t oid); /* NULL */
uint64_t relations_arrival(const struct relations *relations, uint32_t oid);     /* 0: none */
/* Held anew. arrival: when it was described, counted on the connection. */
void relations_put(struct relations *relations, struct relation *relation, uint64_t arrival);
void relations_copy(struct relations *to, const struct relations *from);

struct types { /* zeroed: none */
    struct map by_oid;
};
void types_fini(struct types *types);
void types_put(struct types *types, uint32_t oid, view schema, view name);
/* Sets the type_name of columns whose type was described; borrowed. */
void types_name(const struct types *types, struct relation *relation);

#endif
