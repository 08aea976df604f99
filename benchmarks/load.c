/* Load generator for audio WebSockets: one process, one epoll, masked frames built beforehand.
 *
 *   load echo    closed loop: each connection has one frame in flight
 *   load streams open loop: each stream sends on schedule; round trips count from the scheduled time
 *   load storm   all clients connect at once
 *   load hold    opens sessions, echoes a few frames on each, reports, and holds them until it is killed
 *   load soak    streams that come and go for a long time
 *   load listen  callers who say nothing, and hear a frame each 20 ms
 *   load serve   the ceiling: a minimal echo server (load/serve.h)
 *
 * Every reply must be one whole, unfragmented, unmasked binary message of --reply bytes, and with
 * --check 1 the bytes that were sent. With --twilio 1 the generator speaks as Twilio does: --bytes of
 * audio are in a text message, and a reply is the text message that has them too. Prints one JSON object; `main` lists the options.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include "load/conn.h"
#include "load/meter.h"
#include "load/serve.h"

enum mode { ECHO, STREAMS, STORM, HOLD, SOAK, LISTEN };
enum { AT_ONCE = 100, HOLD_FRAMES = 5, INTERVAL = SECOND / 50 };

#define PATIENCE (10ull * SECOND) /* on a busy machine a late reply must not pass for a lost one */

static enum mode mode;
static struct conn *conns;
static int n_conns = 50, echoing;
static double seconds = 1, warmup = 0.3, patience = 1;
static uint64_t start, counted_from, counted_to, echoes;
static struct histogram trips, late; /* late: how far behind its schedule the generator itself sent */

/* One round of the event loop: waits until `until` at most. */
static void turn(uint64_t until)
{
    struct epoll_event events[256];
    uint64_t t = now(), wait = until > t ? until - t : 0;
    struct timespec limit = {(time_t)(wait / SECOND), (long)(wait % SECOND)};
    int n = epoll_pwait2(epoll_fd, events, 256, &limit, NULL);
    for (int i = 0; i < n; i++)
        ready(events[i].data.ptr);
}

/* Frame k of stream i is due at start + (k * streams + i) * step: phases spread over one INTERVAL. */
static uint64_t scheduled(const struct conn *c, uint32_t frame)
{
    return start + ((c->first + frame) * (uint64_t)n_conns + (uint64_t)c->slot) * INTERVAL / (uint64_t)n_conns;
}

static void turn_until(uint64_t t)
{
    while (now() < t)
        turn(t);
}

static uint64_t nanoseconds(double s)
{
    return (uint64_t)(s * SECOND);
}

static void on_open(struct conn *c)
{
    if (mode == SOAK) /* a life of 2 to 20 seconds */
        c->deadline = now() + 2ull * SECOND + (uint64_t)(18.0 * rand() / RAND_MAX * SECOND);
    else if (mode == HOLD)
        c->due = 1, flush(c);
}

/* Frame k should come k intervals after its call began. It is late against its listener's best frame,
 * as soon as the start of the call is over. */
static void hear(struct conn *c, uint32_t frame)
{
    uint64_t t = now(), began = t - (uint64_t)frame * INTERVAL;
    if (t < counted_from || began < c->best)
        c->best = began;
    if (t >= counted_from && t < counted_to)
        record(&trips, began - c->best, 1);
}

static void on_reply(struct conn *c)
{
    uint32_t frame = c->replies++;
    if (mode == LISTEN)
        hear(c, frame);
    if (mode == STREAMS || mode == SOAK) {
        uint64_t due = scheduled(c, frame);
        if (due >= counted_from && due < counted_to)
            record(&trips, now() - due, 1);
    }
    echoes++;
    if (echoing || (mode == HOLD && c->replies < HOLD_FRAMES))
        c->due++, flush(c);
}

static uint64_t outstanding(void)
{
    uint64_t n = 0;
    for (int i = 0; i < n_conns; i++)
        n += conns[i].state == OPEN || conns[i].state == DRAINING ? conns[i].due - conns[i].replies : 0;
    return n;
}

/* Opens the connections from..to, at most `at_once` on their way; returns when all are settled. */
static void open_all(int from, int to, int at_once, uint64_t limit)
{
    uint64_t deadline = now() + limit;
    while ((from < to || pending) && now() < deadline) {
        while (from < to && pending < at_once)
            start_connect(&conns[from++]);
        turn(now() + SECOND / 100);
    }
    for (int i = 0; i < to; i++)
        if (conns[i].state != GONE && conns[i].state < OPEN)
            drop(&conns[i], &count.refused);
}

static void await_replies(uint64_t limit)
{
    for (uint64_t deadline = now() + limit; outstanding() && now() < deadline;)
        turn(now() + SECOND / 100);
}

/* Says goodbye properly, so that the servers' logs stay quiet and the next run starts clean. */
static void close_all(void)
{
    uint64_t deadline = now() + SECOND;
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state >= OPEN && conns[i].state < CLOSING)
            begin_close(&conns[i], deadline);
    while (live && now() < deadline)
        turn(now() + SECOND / 100);
    for (int i = 0; i < n_conns; i++)
        drop(&conns[i], NULL);
}

static void run_echo(void)
{
    open_all(0, n_conns, AT_ONCE, 20ull * SECOND);
    echoing = 1;
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state == OPEN)
            conns[i].due = 1, flush(&conns[i]);
    turn_until(now() + nanoseconds(warmup));
    echoes = 0;
    open_window();
    turn_until(now() + nanoseconds(seconds));
    close_window();
    printf("\"rate\":%.1f,", (double)echoes / window.seconds);
    echoing = 0;
    await_replies(2ull * SECOND);
    count.lost += outstanding();
}

/* Sends what has come due, some of it at a time so that replies are read in between. */
static void send_due(uint64_t *next)
{
    for (int i = 0; i < 64; i++) {
        uint64_t due = start + *next * INTERVAL / (uint64_t)n_conns, t = now();
        if (due > t)
            return;
        struct conn *c = &conns[*next % (uint64_t)n_conns];
        if (c->state == OPEN) {
            if (due >= counted_from && due < counted_to)
                record(&late, t - due, 1);
            if (!c->due++)
                c->first = *next / (uint64_t)n_conns;
            flush(c);
        }
        ++*next;
    }
}

/* Ends lives that are over, in one of four ways, and starts new ones in their place. */
static void churn(void)
{
    uint64_t t = now();
    for (int i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        if (c->state == GONE && pending < AT_ONCE) {
            start_connect(c);
        } else if (c->state == OPEN && t >= c->deadline) {
            int way = rand() % 4;
            if (way == 2) /* vanishes with a reset */
                setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
            if (way >= 2) /* vanishes without a close frame */
                drop(c, NULL);
            else
                c->state = DRAINING, c->deadline = t + PATIENCE;
        } else if (c->state == DRAINING && (c->replies == c->due || t >= c->deadline)) {
            count.lost += c->due - c->replies;
            begin_close(c, t + PATIENCE);
        } else if (c->state == CLOSING && t >= c->deadline) {
            drop(c, &count.errors); /* the server let a close frame go unanswered */
        }
    }
}

static void print_trips(void)
{
    printf("\"measured\":%lu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,", trips.n,
           percentile(&trips, .5), percentile(&trips, .99), percentile(&trips, .999), percentile(&trips, 1));
}

static void run_streams(void)
{
    uint64_t next = 0, look = 0, due;
    if (mode == STREAMS)
        open_all(0, n_conns, AT_ONCE, 30ull * SECOND);
    start = now() + SECOND / 50;
    counted_from = start + nanoseconds(warmup);
    counted_to = counted_from + nanoseconds(seconds);
    for (int opened = 0; (due = start + next * INTERVAL / (uint64_t)n_conns) < counted_to;) {
        turn(due);
        if (!opened && now() >= counted_from)
            opened = 1, open_window();
        if (mode == SOAK && now() >= look)
            churn(), look = now() + SECOND / 100;
        send_due(&next);
        if (now() > counted_to + SECOND / 2)
            break; /* the generator itself cannot keep up */
    }
    uint64_t unsent = due < counted_to ? (counted_to - due) / 1000 * (uint64_t)n_conns / (INTERVAL / 1000) : 0;
    close_window();
    await_replies(mode == SOAK ? PATIENCE : nanoseconds(patience));
    count.lost += outstanding();
    record(&trips, (uint64_t)LONGEST * 1000, count.lost); /* a lost frame is an endless round trip */
    printf("\"streams\":%d,\"unsent\":%lu,\"late_p99_ms\":%.3f,\"late_max_ms\":%.3f,",
           n_conns, unsent, percentile(&late, .99), percentile(&late, 1));
    print_trips();
}

static void run_listen(void)
{
    counted_from = UINT64_MAX;
    open_all(0, n_conns, 1, 20ull * SECOND); /* real callers do not all come in one millisecond */
    counted_from = now() + nanoseconds(warmup), counted_to = counted_from + nanoseconds(seconds);
    turn_until(counted_from);
    open_window();
    turn_until(counted_to);
    close_window();
    print_trips();
}

static void run_storm(void)
{
    uint64_t began = now(), last = began, seen = 0, deadline = began + nanoseconds(seconds);
    open_window();
    for (int i = 0; i < n_conns; i++)
        start_connect(&conns[i]);
    while (pending && now() < deadline) {
        turn(deadline);
        if (count.opened != seen)
            seen = count.opened, last = now();
    }
    close_window();
    count.refused += (uint64_t)pending;
    printf("\"rate\":%.1f,", seen ? (double)seen / ((double)(last - began) / SECOND) : 0);
}

static void run_hold(void)
{
    open_all(0, n_conns, AT_ONCE, 30ull * SECOND);
    await_replies(10ull * SECOND);
    count.lost = outstanding();
}

/* Speech-like little-endian 16-bit samples: voiced tones under a slow envelope, and some noise. */
static void fill_pool(void)
{
    for (int f = 0; f < POOL; f++)
        for (int i = 0; i < FRAME_MAX / 2; i++) {
            double t = (f * 160 + i) / 8000.0, loud = 9000 * fabs(sin(t * 9));
            int16_t sample = (int16_t)(loud * (sin(t * 880) + .5 * sin(t * 5200)) + rand() % 601 - 300);
            memcpy(&pool[f][2 * i], &sample, 2);
        }
}

static int use_option(const char *name, const char *value)
{
    static const struct { const char *name, *form; void *to; } options[] = {
        {"--port", "%d%c", &opt.port}, {"--tls", "%d%c", &opt.tls}, {"--check", "%d%c", &opt.check},
        {"--twilio", "%d%c", &opt.twilio},
        {"--bytes", "%zu%c", &opt.bytes}, {"--reply", "%zu%c", &opt.reply}, {"--path", "%255s%c", &opt.path},
        {"--conns", "%d%c", &n_conns}, {"--server-pid", "%d%c", &window.server},
        {"--seconds", "%lf%c", &seconds}, {"--warmup", "%lf%c", &warmup}, {"--patience", "%lf%c", &patience}};
    char rest; /* with one character too many it is no number: "True" must not pass for 0 */
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(name, options[i].name))
            return sscanf(value, options[i].form, options[i].to, &rest) == 1;
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"echo", "streams", "storm", "hold", "soak", "listen"};
    static void (*const run[])(void) = {run_echo, run_streams, run_storm, run_hold, run_streams, run_listen};
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(atoi(argv[2]));
    while (argc > 1 && mode <= LISTEN && strcmp(argv[1], names[mode]))
        mode++;
    for (int i = 2; i + 1 < argc; i += 2)
        if (!use_option(argv[i], argv[i + 1]))
            return fprintf(stderr, "load: %s %s is no option\n", argv[i], argv[i + 1]), 2;
    if (argc % 2 || mode > LISTEN || !opt.port || !opt.path[0] || !opt.bytes || opt.bytes > FRAME_MAX / (opt.twilio ? 2 : 1))
        return fprintf(stderr, "usage: load echo|streams|storm|hold|soak|listen --port N --path /P [--conns N] ...\n"), 2;
    snprintf(opt.request, sizeof opt.request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n", opt.path, opt.port);
    tls = SSL_CTX_new(TLS_client_method()); /* not verified: the certificate is the benchmark's own */
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    prctl(PR_SET_TIMERSLACK, 1000);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    srand(20);
    fill_pool();
    mask_frames();
    if (mode == LISTEN)
        opt.listens = 1, opt.check = 0;
    epoll_fd = epoll_create1(0);
    conns = calloc((size_t)n_conns, sizeof *conns);
    for (int i = 0; i < n_conns; i++)
        conns[i].slot = i;
    printf("{");
    run[mode]();
    if (mode != HOLD)
        close_all();
    printf("\"opened\":%lu,\"refused\":%lu,\"closed\":%lu,\"errors\":%lu,\"bad\":%lu,\"mismatched\":%lu,"
           "\"lost\":%lu,\"generator_core\":%.3f,\"server_core\":%.3f}\n",
           count.opened, count.refused, count.closed, count.errors, count.bad, count.mismatched, count.lost,
           window.own_used, window.server_used);
    fflush(stdout);
    while (mode == HOLD)
        turn(now() + SECOND);
}
