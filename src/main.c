/* main.c - the program's first word decides: the server, or a command that speaks to one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/bench.h"
#include "server.h"

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "server")) {
        return server_main(argc - 1, argv + 1);
    }
    return cli_bench(argc - 2, argv + 2);
}
