/* bench.h - `tidemark bench`: a load generator for any Kafka broker. */
#ifndef TIDEMARK_CLI_BENCH_H
#define TIDEMARK_CLI_BENCH_H

/* argv[0] is the verb ("produce", ...); gives the exit code. */
int cli_bench(int argc, char **argv);

#endif
