/* token_test.c - opening a server, the files of its token, and clients that find nobody.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

struct fixture {
    char folder[64];
    struct http *http;
};

static void open_server(struct fixture *f)
{
    struct http_config config = {.listen = "127.0.0.1:0", .data_folder = f->folder};

    assert_int_equal(http_open(os_real(), &config, &f->http), OK);
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    snprintf(f->folder, sizeof(f->folder), "/tmp/http-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", f->folder, 1), 0);
    assert_int_equal(unsetenv("TIDEMARK_TOKEN"), 0);
    open_server(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    http_close(f->http);
    assert_int_equal(os_remove_tree(os_real(), f->folder), OK);
    free(f);
    return 0;
}

static void the_token_files_are_private_and_go_with_the_server(void **state)
{
    struct fixture *f = *state;
    char *paths[] = {text_format("%s/http.token", f->folder),
                     text_format("%s/tidemark/%d.token", f->folder, http_port(f->http))};
    char found[HTTP_TOKEN_BYTES];
    int port = http_port(f->http);
    struct stat st;

    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_int_equal(stat(paths[i], &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_size, HTTP_TOKEN_BYTES - 1);
    }
    assert_int_equal(http_token_find(port, found), OK);
    assert_string_equal(found, http_token(f->http));
    http_close(f->http);
    f->http = NULL;
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_int_not_equal(stat(paths[i], &st), 0);
        free(paths[i]);
    }
    assert_int_equal(http_token_find(port, found), ERR_NOT_FOUND);
}

static void a_runtime_folder_of_others_is_not_used(void **state)
{
    struct fixture *f = *state;
    char found[HTTP_TOKEN_BYTES];
    char *folder = text_format("%s/tidemark", f->folder), *moved = text_format("%s.x", folder);

    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(http_token_find(http_port(f->http), found), ERR_DENIED);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_int_equal(rename(folder, moved), 0);
    assert_int_equal(symlink(moved, folder), 0);
    assert_int_not_equal(http_token_find(http_port(f->http), found), OK);
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(rename(moved, folder), 0);
    assert_int_equal(http_token_find(http_port(f->http), found), OK);
    free(folder);
    free(moved);
}

static void mistakes_in_the_address_are_named(void **state)
{
    struct fixture *f = *state;
    struct http *other;
    struct http_config config = {.listen = http_address(f->http), .data_folder = f->folder};

    assert_int_equal(http_open(os_real(), &config, &other), ERR_BUSY);
    assert_non_null(strstr(fault_here.text, "in use"));
    config.listen = "0.0.0.0:0";
    assert_int_equal(http_open(os_real(), &config, &other), ERR_DENIED);
    assert_non_null(strstr(fault_here.text, "--insecure-listen"));
    config.listen = "8080";
    assert_int_equal(http_open(os_real(), &config, &other), ERR_INVALID);
    config.listen = "127.0.0.1:99999";
    assert_int_equal(http_open(os_real(), &config, &other), ERR_INVALID);
    config.listen = "0.0.0.0:0";
    config.insecure_listen = true;
    config.data_folder = "/nowhere/at/all";
    assert_int_equal(http_open(os_real(), &config, &other), ERR_NOT_FOUND);
}

static void the_client_says_when_nothing_listens(void **state)
{
    struct fixture *f = *state;
    struct http_client *client;
    struct writer answer = {0};
    unsigned status;
    char *address = xstrdup(http_address(f->http));

    http_close(f->http);
    f->http = NULL;
    assert_int_equal(http_client_open(address, NULL, &client), OK);
    assert_int_equal(http_ask(client, "GET", "/healthz", (view){0}, &status, &answer),
                     ERR_CLOSED);
    assert_non_null(strstr(fault_here.text, "is the server running?"));
    http_client_close(client);
    assert_int_equal(http_client_open("nonsense", NULL, &client), ERR_INVALID);
    assert_int_equal(http_client_open("127.0.0.1:1", "short", &client), ERR_INVALID);
    writer_fini(&answer);
    free(address);
}

static void each_start_makes_another_token(void **state)
{
    struct fixture *f = *state;
    char *before = xstrdup(http_token(f->http));

    http_close(f->http);
    open_server(f);
    assert_int_equal(strlen(before), HTTP_TOKEN_BYTES - 1);
    assert_string_not_equal(before, http_token(f->http));
    free(before);
}

static void what_a_killed_server_left_is_replaced(void **state)
{
    struct fixture *f = *state;
    int port = http_port(f->http);
    char *listen = text_format("127.0.0.1:%d", port), found[HTTP_TOKEN_BYTES];
    char *left = text_format("%s/tidemark/%d.token", f->folder, port);
    char *elsewhere = text_format("%s/elsewhere", f->folder);
    struct stat st;

    http_close(f->http);
    assert_int_equal(symlink(elsewhere, left), 0); /* and it is not written through */
    struct http_config config = {.listen = listen, .data_folder = f->folder};
    assert_int_equal(http_open(os_real(), &config, &f->http), OK);
    assert_int_equal(http_token_find(port, found), OK);
    assert_string_equal(found, http_token(f->http));
    assert_int_not_equal(lstat(elsewhere, &st), 0);
    free(listen);
    free(left);
    free(elsewhere);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(the_token_files_are_private_and_go_with_the_server),
        SERVED(each_start_makes_another_token),
        SERVED(what_a_killed_server_left_is_replaced),
        SERVED(a_runtime_folder_of_others_is_not_used),
        SERVED(mistakes_in_the_address_are_named),
        SERVED(the_client_says_when_nothing_listens),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
