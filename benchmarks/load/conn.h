/* One client connection: connect, TLS, upgrade, frames out, replies in. The modes in load.c decide
 * when a frame is due and what a reply means; nothing here knows the time. */
#pragma once
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "twilio.h"
#include "wire.h"

enum { RING = 8, POOL = 64, FRAME_MAX = 2048, IN_MAX = 1 << 14 };
enum state { GONE, CONNECTING, HANDSHAKE, UPGRADING, OPEN, DRAINING, CLOSING };

struct conn {
    enum state state;
    int fd, slot, said_hello, said_close;
    uint32_t due, sent, replies;       /* frames scheduled, begun, answered */
    uint64_t first, deadline;          /* schedule index of its frame 0; when its life or its end is over */
    uint64_t best;                     /* of a listener: when its call began, by the best frame */
    const void *out;                   /* what is being written now, and how much of it is left */
    size_t left, kept;
    SSL *ssl;
    uint8_t in[IN_MAX];                /* what came and was not used yet */
};

static struct {
    int port, tls, check, listens, twilio, opcode;
    size_t bytes, reply, frame_size;
    char path[256], request[1024];
} opt = {.bytes = 320, .reply = 320};

static struct {
    uint64_t opened, refused, closed, errors, bad, mismatched, lost;
} count;

static const uint8_t mask[4] = {0x5a, 0x11, 0xc3, 0x78};
/* What replies carry, and the frames: masked once, which costs nothing while it measures. */
static uint8_t pool[POOL][FRAME_MAX], frames[POOL][FRAME_MAX + 8];
static uint8_t hello[512]; /* frames that go ahead of the others, */
static size_t hello_size;  /* where there are some */
static int epoll_fd, pending, live;    /* pending: on their way to OPEN; live: OPEN */
static SSL_CTX *tls;

static void on_open(struct conn *c);
static void on_reply(struct conn *c);

/* Each connection has RING different frames, one after the other; returns which is number n. */
static uint32_t in_pool(const struct conn *c, uint32_t n)
{
    return ((uint32_t)c->slot * 5 + n % RING) % POOL;
}

static size_t put_frame(uint8_t *out, const void *content, size_t n)
{
    size_t head = put_head(out, opt.opcode, n, mask);
    mask_copy(out + head, content, n, mask);
    return head + n;
}

static void mask_frames(void)
{
    uint8_t text[FRAME_MAX];
    opt.opcode = opt.twilio ? TEXT : BINARY;
    if (opt.twilio) {
        hello_size = put_frame(hello, CONNECTED, strlen(CONNECTED));
        hello_size += put_frame(hello + hello_size, START, strlen(START));
    }
    for (int f = 0; f < POOL; f++) {
        if (!opt.twilio) {
            opt.frame_size = put_frame(frames[f], pool[f], opt.bytes);
            continue;
        }
        size_t n = put_media(text, BEFORE_SPEECH, pool[f], opt.bytes, AFTER_SPEECH);
        opt.frame_size = put_frame(frames[f], text, n);
        opt.reply = put_media(text, BEFORE_REPLY, pool[f], opt.bytes, AFTER_REPLY);
        memcpy(pool[f], text, opt.reply);
    }
}

static void watch(struct conn *c, int op, uint32_t events)
{
    epoll_ctl(epoll_fd, op, c->fd, &(struct epoll_event){events, {.ptr = c}});
}

/* Ends a connection at once, for the reason that is counted, if any. */
static void drop(struct conn *c, uint64_t *why)
{
    if (c->state == GONE)
        return;
    if (c->state >= OPEN)
        live--;
    else
        pending--;
    if (why)
        ++*why;
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->state = GONE;
}

/* The peer or the network ended it: what that means depends on how far the connection was. */
static void failed(struct conn *c, uint64_t *otherwise)
{
    if (c->state == OPEN || c->state == DRAINING)
        count.lost += c->due - c->replies;
    drop(c, c->state < OPEN ? &count.refused : c->state == CLOSING ? NULL : otherwise);
}

static ssize_t tls_result(SSL *ssl, int r)
{
    if (r > 0)
        return r;
    int why = SSL_get_error(ssl, r);
    ERR_clear_error();
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t wire_write(struct conn *c, const void *p, size_t n)
{
    return c->ssl ? tls_result(c->ssl, SSL_write(c->ssl, p, (int)n)) : send(c->fd, p, n, MSG_NOSIGNAL);
}

static ssize_t wire_read(struct conn *c, void *p, size_t n)
{
    return c->ssl ? tls_result(c->ssl, SSL_read(c->ssl, p, (int)n)) : recv(c->fd, p, n, 0);
}

/* Takes what is to be written next: frames, and behind the last of them the close frame. */
static int next_out(struct conn *c)
{
    static const uint8_t goodbye[8] = {0x88, 0x82, 0x5a, 0x11, 0xc3, 0x78, 0x03 ^ 0x5a, 0xe8 ^ 0x11};
    if (hello_size && c->state == OPEN && !c->said_hello)
        c->out = hello, c->left = hello_size, c->said_hello = 1;
    else if (c->sent < c->due)
        c->out = frames[in_pool(c, c->sent++)], c->left = opt.frame_size;
    else if (c->state == CLOSING && !c->said_close)
        c->out = goodbye, c->left = sizeof goodbye, c->said_close = 1;
    return c->left > 0;
}

/* Writes what is due. What a full socket does not take, megabytes late, waits for the next frame. */
static void flush(struct conn *c)
{
    while (c->left || next_out(c)) {
        ssize_t r = wire_write(c, c->out, c->left);
        if (r < 0 && errno != EAGAIN)
            failed(c, &count.errors);
        if (r < 0)
            return;
        c->out = (const uint8_t *)c->out + r, c->left -= (size_t)r;
    }
}

static void begin_close(struct conn *c, uint64_t deadline)
{
    c->state = CLOSING;
    c->deadline = deadline;
    c->due = c->sent; /* frames that are not begun are not sent any more */
    flush(c);
}

static void on_message(struct conn *c, const struct head *h, const uint8_t *payload)
{
    if (!h->fin || h->rsv || h->masked || !h->minimal) {
        count.bad++;
    } else if (h->opcode == opt.opcode) {
        int expected = opt.listens || c->replies < c->due;
        if (!expected || h->length != opt.reply)
            count.bad++;
        else if (opt.check && memcmp(payload, pool[in_pool(c, c->replies)], opt.reply))
            count.mismatched++;
        if (expected)
            on_reply(c);
    } else if (h->opcode == CLOSE && c->state != CLOSING) {
        failed(c, &count.closed);
    } else if (h->opcode < CLOSE || h->opcode > PONG) { /* no run is silent for so long that a ping matters */
        count.bad++;
    }
}

/* Takes the answer to the upgrade from the buffer; returns the bytes used. */
static size_t take_answer(struct conn *c)
{
    uint8_t *end = memmem(c->in, c->kept, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t size = (size_t)(end - c->in) + 4;
    if (memcmp(c->in, "HTTP/1.1 101", 12) || !memmem(c->in, size, ACCEPT, strlen(ACCEPT))) {
        drop(c, &count.refused);
        return 0;
    }
    c->state = OPEN;
    count.opened++, live++, pending--;
    on_open(c);
    return size;
}

/* Takes what is whole from the buffer. */
static void consume(struct conn *c)
{
    struct head h;
    size_t used = c->state == UPGRADING ? take_answer(c) : 0;
    while (c->state >= OPEN && get_head(c->in + used, c->kept - used, &h) && c->kept - used >= h.size + h.length) {
        on_message(c, &h, c->in + used + h.size);
        used += h.size + h.length;
    }
    c->kept -= used;
    memmove(c->in, c->in + used, c->kept);
}

static void read_ready(struct conn *c)
{
    while (c->state != GONE) {
        size_t room = sizeof c->in - c->kept;
        if (!room) { /* no server here has a reason to send so long a frame */
            failed(c, &count.bad);
            return;
        }
        ssize_t r = wire_read(c, c->in + c->kept, room);
        if (r < 0 && errno == EAGAIN)
            return;
        if (r <= 0) {
            failed(c, r ? &count.errors : &count.closed);
            return;
        }
        c->kept += (size_t)r;
        consume(c);
        if (!c->ssl && (size_t)r < room)
            return;
    }
}

static void start_connect(struct conn *c)
{
    struct sockaddr_in to = loopback(opt.port);
    int one = 1;
    c->due = c->sent = c->replies = 0;
    c->left = c->kept = 0, c->said_hello = c->said_close = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        count.errors++;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    pending++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        drop(c, &count.refused);
    else
        watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* The TCP connection is there: TLS if asked for, then the upgrade request. */
static void connected(struct conn *c)
{
    if (opt.tls && c->state == CONNECTING) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
    }
    if (c->state == CONNECTING)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = HANDSHAKE;
    if (c->ssl && tls_result(c->ssl, SSL_connect(c->ssl)) <= 0) {
        if (errno != EAGAIN)
            drop(c, &count.refused);
        return;
    }
    c->state = UPGRADING;
    c->out = opt.request, c->left = strlen(opt.request);
    flush(c);
}

static void ready(struct conn *c)
{
    if (c->state == CONNECTING || c->state == HANDSHAKE)
        connected(c);
    else
        read_ready(c);
}
