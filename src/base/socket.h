/* socket.h - a connected TCP socket, set up for messages that wait for answers. */
#ifndef TIDEMARK_BASE_SOCKET_H
#define TIDEMARK_BASE_SOCKET_H

/* No wait to fill packets (TCP_NODELAY). Between two ends on one machine there is no path whose
 * rate must be found: a congestion control that paces what it sends (BBR, the preset of many
 * servers) only starves it, to a quarter of what loopback carries; such a socket takes Reno,
 * which every kernel has and every user may choose. Failing is harmless. */
void socket_tune(int fd);

#endif
