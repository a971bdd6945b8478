/* source_shell.c - `tidemark source shell`: psql, recorded.
 *
 *   ask why -> open a session at the server -> its live stream -> relay -> psql -> end
 *
 * The live stream is the session's lease: when this process dies the server sees it go and
 * writes down the session's end; when the server goes, the shell does.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/shell.h"

#define LEAVE_SECONDS 5 /* for what was under way when psql left, and for the lease to end */
#define SOCKET_NAME ".s.PGSQL.5432"

struct shell_options {
    struct common common;
    char *reason, *ticket, *person, *psql;
};

struct live { /* the lease, on a thread of its own; heap, as that may outlive the command */
    struct shell shell;
    char *http, *path;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t known;
    bool began, ended;
    char why[FAULT_TEXT_MAX];
};

static char *ask_line(struct cli *cli, const char *what)
{
    char *line = NULL;
    size_t room = 0;

    if (!isatty(STDIN_FILENO)) {
        return NULL;
    }
    fprintf(stderr, "%s: ", what);
    ssize_t len = getline(&line, &room, stdin);
    view words = len > 0 ? view_trim((view){(const uint8_t *)line, (size_t)len}) : (view){0};
    char *answer = words.len ? arena_text(&cli->arena, words) : NULL;
    free(line);
    return answer;
}

/* Who types: the login behind sudo, where there is one. */
static const char *login(struct cli *cli)
{
    const struct passwd *entry = getpwuid(getuid());
    const char *sudo = getuid() == 0 ? getenv("SUDO_USER") : NULL;

    if (sudo && sudo[0]) {
        return sudo;
    }
    return entry ? arena_text(&cli->arena, view_text(entry->pw_name)) : "unknown";
}

static void member(struct json_writer *j, const char *name, const char *text)
{
    if (text && text[0]) {
        json_name(j, name);
        json_text(j, text);
    }
}

struct asked { /* what a session is opened with */
    const char *reason, *ticket;
};

static err open_session(struct cli *cli, const struct asked *asked, struct json **answer)
{
    const struct shell_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    char host[256] = "";
    const char *tty = ttyname(STDIN_FILENO);

    (void)gethostname(host, sizeof(host) - 1);
    json_object(&j);
    member(&j, "source", cli->words[0]);
    member(&j, "person", o->person ? o->person : login(cli));
    member(&j, "login", login(cli));
    member(&j, "host", host);
    member(&j, "tty", tty);
    member(&j, "reason", asked->reason);
    member(&j, "ticket", asked->ticket);
    json_end_object(&j);
    err e = cli_ask(cli, "POST", "/api/v1/sessions", writer_view(&body), answer);
    writer_fini(&body);
    return e;
}

/* What the source wants to know before a session begins. */
static err ask_why(struct cli *cli, struct asked *asked)
{
    const struct shell_options *o = cli->options;
    struct json *rules = NULL;
    bool wants_ticket = false;
    err e = cli_ask(cli, "GET",
                    cli_path(cli, "/api/v1/sources/%s/shell", cli_escaped(cli, cli->words[0])),
                    (view){0}, &rules);

    if (e) {
        return e;
    }
    e = json_get_bool(rules, "ticket", &wants_ticket);
    asked->reason = o->reason ? o->reason : ask_line(cli, "Why this session");
    if (!e && !asked->reason) {
        return fault(ERR_INVALID, "a session wants a reason: --reason 'why'");
    }
    asked->ticket = o->ticket ? o->ticket : !e && wants_ticket ? ask_line(cli, "Ticket") : NULL;
    if (!e && wants_ticket && !asked->ticket) {
        return fault(ERR_INVALID, "sessions on %s want a ticket: --ticket ID", cli->words[0]);
    }
    return e;
}

static err live_event(void *self, view event, view data)
{
    struct live *live = self;

    (void)event;
    (void)data;
    pthread_mutex_lock(&live->lock);
    live->began = true;
    pthread_cond_signal(&live->known);
    pthread_mutex_unlock(&live->lock);
    return OK;
}

static void *live_run(void *self)
{
    struct live *live = self;
    struct http_client *client = NULL;
    err e = http_client_open(live->http, NULL, &client);

    e = e ? e : http_follow(client, live->path, live_event, live);
    shell_end(&live->shell, "Tidemark has gone away, so nothing more runs here%s%s",
              e ? ": " : "", e ? fault_here.text : "");
    pthread_mutex_lock(&live->lock);
    live->ended = true;
    snprintf(live->why, sizeof(live->why), "%s", e ? fault_here.text : "it ended at once");
    pthread_cond_signal(&live->known);
    pthread_mutex_unlock(&live->lock);
    http_client_close(client);
    return NULL;
}

static err live_start(struct live *live)
{
    if (pthread_create(&live->thread, NULL, live_run, live)) {
        return fault(ERR_IO, "no thread for the session's lease");
    }
    pthread_mutex_lock(&live->lock);
    while (!live->began && !live->ended) {
        pthread_cond_wait(&live->known, &live->lock);
    }
    bool began = live->began;
    pthread_mutex_unlock(&live->lock);
    if (!began) {
        (void)pthread_join(live->thread, NULL);
        return fault(ERR_IO, "the session's lease: %s", live->why);
    }
    return OK;
}

/* A socket that only this user reaches. */
static err listen_in(struct shell *shell, const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    int len =
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, SOCKET_NAME);
    if (len < 0 || (size_t)len >= sizeof(address.sun_path)) {
        return fault(ERR_INVALID, "%s is too long for a socket: set TMPDIR", folder);
    }
    shell->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (shell->listener < 0 ||
        bind(shell->listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(shell->listener, 16)) {
        return fault_errno("%s", address.sun_path);
    }
    return OK;
}

static void *accept_run(void *self)
{
    struct shell *shell = self;

    for (;;) {
        int fd = accept4(shell->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            talk_start(shell, fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return NULL; /* shut down */
        }
    }
}

/* The first place that may be written to and leaves room in a socket's address. */
static err make_folder(char *out, size_t room)
{
    const char *const places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    const size_t longest = sizeof(((struct sockaddr_un *)NULL)->sun_path) -
                           sizeof("/tidemark-shell-XXXXXX/" SOCKET_NAME);

    for (size_t i = 0; i < COUNT(places); i++) {
        const char *below = places[i];
        bool last = i + 1 == COUNT(places);
        if (last || (below && below[0] && strlen(below) <= longest && !access(below, W_OK))) {
            snprintf(out, room, "%s/tidemark-shell-XXXXXX", below);
            break;
        }
    }
    return mkdtemp(out) ? OK : fault_errno("%s", out);
}

/* psql must not find another way in, nor a password. */
static char **environment_of_psql(struct cli *cli)
{
    static const char *const kept[] = {"PGTZ", "PGDATESTYLE", "PGCLIENTENCODING", "PGAPPNAME",
                                       "PGGEQO"};
    size_t count = 0;

    for (char **at = environ; *at; at++) {
        count++;
    }
    char **out = arena_take(&cli->arena, (count + 1) * sizeof(*out));
    count = 0;
    for (char **at = environ; *at; at++) {
        bool keeps = strncmp(*at, "PG", 2) != 0 && strncmp(*at, "TIDEMARK_", 9) != 0;
        for (size_t i = 0; i < COUNT(kept); i++) {
            size_t len = strlen(kept[i]);
            keeps |= !strncmp(*at, kept[i], len) && (*at)[len] == '=';
        }
        if (keeps) {
            out[count++] = *at;
        }
    }
    out[count] = NULL;
    return out;
}

static char **words_of_psql(struct cli *cli, const char *folder, const char *user,
                            const char *database)
{
    const struct shell_options *o = cli->options;
    const char *ours[] = {"-h", folder, "-p", "5432", "-U", user, "-d", database};
    size_t given = (size_t)cli->word_count - 1, count = 0;
    char **out = arena_take(&cli->arena, (given + COUNT(ours) + 2) * sizeof(*out));

    out[count++] = o->psql;
    for (size_t i = 0; i < given; i++) {
        out[count++] = cli->words[i + 1];
    }
    for (size_t i = 0; i < COUNT(ours); i++) {
        out[count++] = arena_text(&cli->arena, view_text(ours[i]));
    }
    out[count] = NULL;
    return out;
}

/* psql gets what the user gave us (a pipe in its words, say), but none of our connections: one
 * of them is the lease, which must end with this process. */
static void keep_sockets(void)
{
    struct stat about;

    for (int fd = STDERR_FILENO + 1, most = (int)sysconf(_SC_OPEN_MAX); fd < most; fd++) {
        if (!fstat(fd, &about) && S_ISSOCK(about.st_mode)) {
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

/* Keys that interrupt are psql's: it turns them into cancels. */
static err run_psql(struct cli *cli, struct shell *shell, char **words, int *status)
{
    struct termios terminal;
    bool has_terminal = !tcgetattr(STDIN_FILENO, &terminal);
    posix_spawnattr_t attributes;
    sigset_t preset;
    pid_t pid = 0;

    keep_sockets();
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    sigemptyset(&preset);
    sigaddset(&preset, SIGINT);
    sigaddset(&preset, SIGQUIT);
    sigaddset(&preset, SIGPIPE);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &preset);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int why = posix_spawnp(&pid, words[0], NULL, &attributes, words, environment_of_psql(cli));
    posix_spawnattr_destroy(&attributes);
    if (why) {
        return fault(ERR_NOT_FOUND, "%s: %s (Debian: postgresql-client)", words[0],
                     strerror(why));
    }
    pthread_mutex_lock(&shell->lock);
    shell->psql = pid;
    if (shell->over) {
        kill(pid, SIGTERM);
    }
    pthread_mutex_unlock(&shell->lock);
    siginfo_t ended; /* its number stays taken until nobody can signal it any more */
    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&shell->lock);
    shell->psql = 0;
    pthread_mutex_unlock(&shell->lock);
    (void)waitpid(pid, status, 0);
    if (has_terminal && WIFSIGNALED(*status)) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
    }
    return OK;
}

static void wait_for_talks(struct shell *shell)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LEAVE_SECONDS;
    pthread_mutex_lock(&shell->lock);
    while (shell->talk_count && !pthread_cond_timedwait(&shell->quiet, &shell->lock, &until)) {
    }
    pthread_mutex_unlock(&shell->lock);
}

static err record_end(struct shell *shell, err e, int status)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    bool killed = !e && WIFSIGNALED(status);

    json_object(&j);
    json_name(&j, "kind");
    json_text(&j, "end");
    json_name(&j, "at_ms");
    json_int(&j, os_real()->now_ms(os_real()));
    json_name(&j, "how");
    json_text(&j, e ? "failed" : killed ? "killed" : "normal");
    json_name(&j, "status");
    json_int(&j, killed ? WTERMSIG(status) : e ? 1 : WEXITSTATUS(status));
    json_end_object(&j);
    err recorded = shell_record(shell, writer_view(&out));
    writer_fini(&out);
    return recorded;
}

/* Lets psql in, and waits for it. */
static err serve_psql(struct cli *cli, struct shell *shell, const char *folder,
                      const char *user, const char *database, int *status)
{
    pthread_t acceptor;
    err e = listen_in(shell, folder);

    if (e) {
        return e;
    }
    if (pthread_create(&acceptor, NULL, accept_run, shell)) {
        return fault(ERR_IO, "no thread for the shell's socket");
    }
    e = run_psql(cli, shell, words_of_psql(cli, folder, user, database), status);
    (void)shutdown(shell->listener, SHUT_RD);
    (void)pthread_join(acceptor, NULL);
    wait_for_talks(shell);
    return e;
}

static err run_in_folder(struct cli *cli, struct shell *shell, int *status)
{
    char folder[256], path[300];
    const char *user = NULL, *database = NULL;
    err e = pq_try(shell->pq, shell, &cli->arena, &user, &database);

    e = e ? e : make_folder(folder, sizeof(folder));
    if (e) {
        return e;
    }
    fprintf(stderr,
            "session:%s on %s: database %s as %s. All you type is recorded.\n"
            "It is read-only; UNLOCK 'why'; unlocks writes, LOCK SESSION; locks them.\n",
            shell->id, shell->source, database, user);
    e = serve_psql(cli, shell, folder, user, database, status);
    if (shell->listener >= 0) {
        close(shell->listener);
    }
    snprintf(path, sizeof(path), "%s/%s", folder, SOCKET_NAME);
    (void)unlink(path);
    (void)rmdir(folder);
    return e;
}

/* False: it hangs with its server, and keeps what it needs until the process ends. */
static bool live_stop(struct live *live, int seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    return !pthread_timedjoin_np(live->thread, NULL, &until);
}

static void live_free(struct live *live)
{
    free(live->shell.reason);
    free(live->shell.over);
    pq_free(live->shell.pq);
    free(live->http);
    free(live->path);
    free(live);
}

static err run_session(struct cli *cli, struct live *live, bool *stopped)
{
    struct shell *shell = &live->shell;
    int status = 0;
    err e = live_start(live);

    *stopped = e != OK;
    if (e) {
        return e;
    }
    e = run_in_folder(cli, shell, &status);
    struct fault why = e ? fault_here : (struct fault){0};
    err recorded = record_end(shell, e, status);
    struct fault unrecorded = recorded ? fault_here : (struct fault){0};
    *stopped = live_stop(live, recorded ? 1 : LEAVE_SECONDS);
    if (e) {
        return fault(why.code, "%s", why.text);
    }
    if (recorded) {
        return fault(ERR_CLOSED, "%s", unrecorded.text);
    }
    fprintf(stderr, "session:%s ended: %lld statements\n", shell->id,
            (long long)shell->statements);
    cli->code = WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILED;
    return OK;
}

static void fill(struct cli *cli, struct live *live, const struct asked *asked,
                 const struct json *session)
{
    const struct shell_options *o = cli->options;
    struct shell *shell = &live->shell;
    view password = json_word(session, "password");

    shell->id = arena_text(&cli->arena, json_word(session, "id"));
    shell->url = arena_text(&cli->arena, json_word(session, "url"));
    shell->password = password.len ? arena_text(&cli->arena, password) : NULL;
    shell->person = o->person ? o->person : login(cli);
    shell->ticket = asked->ticket ? asked->ticket : "";
    shell->asked = asked->reason;
    shell->records = cli->client;
    live->http = xstrdup(o->common.http);
    live->path = text_format("/api/v1/sessions/%s/live", shell->id);
}

static err run_shell(struct cli *cli)
{
    struct live *live = xcalloc(1, sizeof(*live));
    struct asked asked = {0};
    struct json *session = NULL;
    bool stopped = true;
    err e = pq_load(&live->shell.pq);

    pthread_mutex_init(&live->lock, NULL);
    pthread_cond_init(&live->known, NULL);
    pthread_mutex_init(&live->shell.lock, NULL);
    pthread_cond_init(&live->shell.quiet, NULL);
    live->shell.listener = -1;
    live->shell.source = cli->words[0];
    signal(SIGPIPE, SIG_IGN);
    e = e ? e : ask_why(cli, &asked);
    e = e ? e : open_session(cli, &asked, &session);
    if (!e) {
        fill(cli, live, &asked, session);
        e = run_session(cli, live, &stopped);
    }
    if (stopped) {
        live_free(live);
    }
    return e;
}

static const struct option shell_options[] = {
    {CLI_OPTION(shell_options, reason, "reason", TEXT, "",
                "why there is this session; asked for when not given")},
    {CLI_OPTION(shell_options, ticket, "ticket", TEXT, "",
                "the ticket it belongs to; asked for where the source wants one")},
    {CLI_OPTION(shell_options, person, "person", TEXT, "",
                "whose session it is; else the login, which is recorded besides")},
    {CLI_OPTION(shell_options, psql, "psql", TEXT, "psql", "the program to run")},
};
const struct command source_shell = {
    .noun = "source",
    .verb = "shell",
    .words = "NAME [-- PSQL-ARGUMENT]...",
    .help = "psql on a source's database, recorded",
    .more = "Every statement is recorded before it runs. The session is read-only until\n"
            "  UNLOCK 'why these writes are needed';\n"
            "From then on each changed row carries who, why and the session; LOCK SESSION;\n"
            "locks it again. `tidemark session show` replays it.\n"
            "  tidemark source shell shop --reason 'order 42 hangs' -- -c 'TABLE orders'",
    .run = run_shell,
    .options = shell_options,
    .option_count = COUNT(shell_options),
    .self_bytes = sizeof(struct shell_options),
    .words_least = 1,
    .words_most = 64,
    .flags = COMMAND_HTTP,
};
