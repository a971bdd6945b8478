/* server.h - `tidemark server`: opens everything, serves until it is told to stop. */
#ifndef TIDEMARK_SERVER_H
#define TIDEMARK_SERVER_H

/* argv[0] is "server"; gives the exit code: 0 after SIGTERM or SIGINT, 1 when it cannot start,
 * 2 for a mistake in the options. */
int server_main(int argc, char **argv);

#endif
