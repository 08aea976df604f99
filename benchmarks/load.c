/* Load generator for audio WebSockets: one process, one epoll, frames that are built beforehand.
 *
 *   load echo    closed loop: each connection has one frame in flight
 *   load streams open loop: each stream sends on schedule; round trips count from the frame's time
 *   load storm   all clients connect at once
 *   load soak    streams that come and go for a long time
 *   load listen  callers who say nothing, and hear a frame each 20 ms
 *
 * Standard input has what the clients say, and what is due for it. Every reply must be that, to the
 * byte, as one whole, unfragmented, unmasked message. It runs until it is killed.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include "load/conn.h"
#include "load/meter.h"

enum { AT_ONCE = 100, INTERVAL = SECOND / 50 };

static enum mode { ECHO, STREAMS, STORM, SOAK, LISTEN } mode;
static struct conn *conns;
static int n_conns, echoing;
static double seconds, warmup, patience, rate;
static uint64_t began, counted_from, counted_to, echoes, unsent;
static struct histogram trips, late; /* late: how late the generator itself sent */

/* One round of the event loop: waits until `until` at most. */
static void turn(uint64_t until)
{
    struct epoll_event events[256];
    uint64_t t = now(), wait = until > t ? until - t : 0;
    struct timespec limit = {(time_t)(wait / SECOND), (long)(wait % SECOND)};
    int n = epoll_pwait2(epoll_fd, events, 256, &limit, NULL);
    for (int i = 0; i < n; i++)
        read_ready(events[i].data.ptr);
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

/* Frame n of all is due then: the phases of the streams are spread over one INTERVAL. */
static uint64_t scheduled(uint64_t n)
{
    return began + n * INTERVAL / (uint64_t)n_conns;
}

static int counts(uint64_t t)
{
    return t >= counted_from && t < counted_to;
}

/* Frame k should come k intervals after its call began. It is late against its listener's best
 * frame, as soon as the start of the call is over. */
static void hear(struct conn *c, uint32_t frame)
{
    uint64_t t = now(), origin = t - (uint64_t)frame * INTERVAL;
    if (t < counted_from || origin < c->best)
        c->best = origin;
    if (counts(t))
        record(&trips, origin - c->best, 1);
}

static void on_reply(struct conn *c)
{
    uint32_t frame = c->replies++;
    echoes++;
    if (mode == LISTEN)
        hear(c, frame);
    if (mode == STREAMS || mode == SOAK) {
        uint64_t due = scheduled((c->first + frame) * (uint64_t)n_conns + (uint64_t)c->slot);
        if (counts(due))
            record(&trips, now() - due, 1);
    }
    if (echoing)
        send_another(c);
}

static uint64_t outstanding(void)
{
    uint64_t n = 0;
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state == OPEN)
            n += conns[i].due - conns[i].replies;
    return n;
}

/* Opens all connections, at most `at_once` on their way; returns when all are settled. */
static void open_all(int at_once)
{
    uint64_t deadline = now() + 30ull * SECOND;
    for (int next = 0; (next < n_conns || pending) && now() < deadline;) {
        while (next < n_conns && pending < at_once)
            start(&conns[next++]);
        turn(now() + SECOND / 100);
    }
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state < OPEN)
            drop(&conns[i], &count.refused);
}

static void await_replies(double limit)
{
    uint64_t deadline = now() + nanoseconds(limit);
    while (outstanding() && now() < deadline)
        turn(now() + SECOND / 100);
    count.lost += outstanding();
}

static void run_echo(void)
{
    open_all(AT_ONCE);
    echoing = 1;
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state == OPEN)
            send_another(&conns[i]);
    turn_until(now() + nanoseconds(warmup));
    echoes = 0;
    open_window();
    turn_until(now() + nanoseconds(seconds));
    close_window();
    rate = (double)echoes / window.seconds;
    echoing = 0;
    await_replies(2);
}

/* Sends what has come due, some of it at a time so that replies are read in between. */
static void send_due(uint64_t *next)
{
    for (int i = 0; i < 64; i++) {
        uint64_t due = scheduled(*next), t = now();
        if (due > t)
            return;
        struct conn *c = &conns[*next % (uint64_t)n_conns];
        if (c->state == OPEN) {
            if (counts(due))
                record(&late, t - due, 1);
            if (!c->due)
                c->first = *next / (uint64_t)n_conns;
            send_another(c);
        }
        ++*next;
    }
}

/* Ends lives that are over, in one of four ways, and starts new ones in their place. */
static void churn(void)
{
    static const struct linger reset = {1, 0};
    uint64_t t = now();
    for (int i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        if (c->state == GONE && pending < AT_ONCE) {
            start(c);
            c->deadline = t + nanoseconds(2 + 18.0 * rand() / RAND_MAX); /* a life of seconds */
            c->way = rand() % 4;
        } else if (c->state == OPEN && t >= c->deadline && c->way < 2) {
            if (c->replies == c->due) /* or else as soon as that is so */
                begin_close(c, t + nanoseconds(patience));
        } else if (c->state == OPEN && t >= c->deadline) { /* vanishes without a close frame */
            if (c->way == 2)
                setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            drop(c, NULL);
        } else if (c->state == CLOSING && t >= c->deadline) {
            drop(c, &count.errors); /* the server let a close frame go unanswered */
        }
    }
}

static void run_streams(void)
{
    uint64_t next = 0, look = 0;
    if (mode == STREAMS)
        open_all(AT_ONCE);
    began = now() + INTERVAL;
    counted_from = began + nanoseconds(warmup);
    counted_to = counted_from + nanoseconds(seconds);
    while (scheduled(next) < counted_to) {
        turn(scheduled(next));
        if (!window.began && now() >= counted_from)
            open_window();
        if (mode == SOAK && now() >= look) {
            churn();
            look = now() + SECOND / 100;
        }
        send_due(&next);
        if (now() > counted_to + SECOND / 2)
            break; /* the generator itself cannot keep up */
    }
    while (scheduled(next + unsent) < counted_to)
        unsent++;
    close_window();
    rate = (double)trips.n / window.seconds;
    await_replies(patience);
    record(&trips, (uint64_t)LONGEST * 1000, count.lost); /* lost: an endless round trip */
}

static void run_listen(void)
{
    listens = 1;
    counted_from = UINT64_MAX;
    open_all(1); /* real callers do not all come in one millisecond */
    counted_from = now() + nanoseconds(warmup);
    counted_to = counted_from + nanoseconds(seconds);
    turn_until(counted_from);
    open_window();
    turn_until(counted_to);
    close_window();
    rate = (double)trips.n / window.seconds;
}

static void run_storm(void)
{
    uint64_t first = now(), last = first, seen = 0, deadline = first + nanoseconds(seconds);
    open_window();
    for (int i = 0; i < n_conns; i++)
        start(&conns[i]);
    while (pending && now() < deadline) {
        turn(deadline);
        if (count.opened != seen) {
            seen = count.opened;
            last = now();
        }
    }
    close_window();
    count.refused += (uint64_t)pending;
    rate = seen ? (double)seen / ((double)(last - first) / SECOND) : 0;
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {{"echo", run_echo}, {"streams", run_streams}, {"storm", run_storm},
             {"soak", run_streams}, {"listen", run_listen}};

static int use_option(const char *text)
{
    return sscanf(text, "--port=%d", &port) || sscanf(text, "--tls=%d", &with_tls) ||
           sscanf(text, "--conns=%d", &n_conns) || sscanf(text, "--seconds=%lf", &seconds) ||
           sscanf(text, "--warmup=%lf", &warmup) || sscanf(text, "--patience=%lf", &patience) ||
           sscanf(text, "--server-pid=%d", &window.server);
}

static void read_message(struct message *m)
{
    if (fread(&m->size, sizeof m->size, 1, stdin) != 1 || m->size > sizeof m->bytes ||
        fread(m->bytes, 1, m->size, stdin) != m->size)
        exit(fprintf(stderr, "load: standard input is not what harness/talk.py makes\n"));
}

/* Prints all figures as one JSON object, whether this mode has them or not. */
static void report(void)
{
    printf("{\"streams\":%d,\"rate\":%.1f,\"generator_core\":%.3f,\"server_core\":%.3f,",
           n_conns, rate, window.own_used, window.server_used);
    printf("\"measured\":%lu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,",
           trips.n, percentile(&trips, .5), percentile(&trips, .99), percentile(&trips, .999),
           percentile(&trips, 1));
    printf("\"late_p99_ms\":%.3f,\"late_max_ms\":%.3f,\"unsent\":%lu,\"opened\":%lu,",
           percentile(&late, .99), percentile(&late, 1), unsent, count.opened);
    printf("\"refused\":%lu,\"closed\":%lu,\"errors\":%lu,\"bad\":%lu,\"mismatched\":%lu,",
           count.refused, count.closed, count.errors, count.bad, count.mismatched);
    printf("\"lost\":%lu}\n", count.lost);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    while (argc > 1 && mode <= LISTEN && strcmp(argv[1], modes[mode].name))
        mode++;
    for (int i = 2; i < argc; i++)
        if (!use_option(argv[i]))
            return fprintf(stderr, "load: %s is no option\n", argv[i]), 2;
    if (mode > LISTEN || !port || !n_conns)
        return fprintf(stderr, "load: no mode, --port or --conns\n"), 2;
    read_message(&request);
    read_message(&hello);
    for (int i = 0; i < POOL; i++) {
        read_message(&frames[i]);
        read_message(&replies[i]);
    }
    /* Not verified: the certificate is the benchmark's own. */
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    prctl(PR_SET_TIMERSLACK, 1000);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    srand(20);
    epoll_fd = epoll_create1(0);
    conns = calloc((size_t)n_conns, sizeof *conns);
    for (int i = 0; i < n_conns; i++)
        conns[i].slot = i;
    modes[mode].run();
    report();
    for (;;) /* holds what is open until it is killed */
        turn(now() + SECOND);
}
