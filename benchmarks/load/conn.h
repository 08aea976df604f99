/* One client connection: connect, TLS, upgrade, frames out, replies in. The modes in load.c decide
 * when a frame is due and what a reply means; nothing here knows the time. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "wire.h"

enum { RING = 8, POOL = 64, FRAME_MAX = 2048, IN_MAX = 1 << 14 };
enum state { GONE, CONNECTING, HANDSHAKE, UPGRADING, OPEN, DRAINING, CLOSING };

struct conn {
    enum state state;
    int fd, slot, wants_write, is_frame;
    uint32_t due, sent, replies;       /* frames scheduled, wholly written, answered */
    uint64_t first, deadline;          /* schedule index of its frame 0; when its life or its end is over */
    const uint8_t *out;                /* what is being written now, and how much of it is left */
    size_t left, control_size, kept;
    SSL *ssl;
    uint8_t *frames;                   /* RING masked frames, ready to send */
    uint8_t control[512], in[IN_MAX];  /* pongs and a close in waiting; what came and was not used yet */
};

static struct {
    int port, tls, check;
    size_t bytes, reply, frame_size;
    char path[256], request[1024];
} opt = {.bytes = 320, .reply = 320};

static struct {
    uint64_t opened, refused, closed, errors, bad, mismatched, lost;
} count;

static uint8_t pool[POOL][FRAME_MAX];  /* what all frames carry, before masking */
static int epoll_fd, pending, live;    /* pending: on their way to OPEN; live: OPEN */
static SSL_CTX *tls;

static void on_open(struct conn *c);
static void on_reply(struct conn *c);

static const uint8_t *plain(const struct conn *c, uint32_t frame)
{
    return pool[((uint32_t)c->slot * 5 + frame % RING) % POOL];
}

/* Masks RING frames once, so that masking costs the generator nothing while it measures. */
static void build_frames(struct conn *c)
{
    uint8_t head[8], mask[4];
    for (int i = 0; i < 4; i++)
        mask[i] = (uint8_t)rand();
    opt.frame_size = put_head(head, BINARY, opt.bytes, mask) + opt.bytes;
    c->frames = malloc(RING * opt.frame_size);
    for (uint32_t f = 0; f < RING; f++) {
        uint8_t *at = c->frames + f * opt.frame_size;
        at += put_head(at, BINARY, opt.bytes, mask);
        mask_copy(at, plain(c, f), opt.bytes, mask);
    }
}

static void watch(struct conn *c, int op, uint32_t events)
{
    epoll_ctl(epoll_fd, op, c->fd, &(struct epoll_event){events, {.ptr = c}});
}

/* Ends a connection at once; what it still owed counts as lost only where `owed` says so. */
static void drop(struct conn *c, uint64_t *why, int owed)
{
    if (c->state == GONE)
        return;
    if (c->state >= OPEN)
        live--;
    else
        pending--;
    if (why)
        ++*why;
    if (owed)
        count.lost += c->due - c->replies;
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->state = GONE;
}

/* The peer or the network ended it: what that means depends on how far the connection was. */
static void failed(struct conn *c, uint64_t *otherwise)
{
    drop(c, c->state < OPEN ? &count.refused : c->state == CLOSING ? NULL : otherwise, c->state < CLOSING);
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

/* Writes what is due: first what is begun, then control frames, then frames. */
static void flush(struct conn *c)
{
    while (c->state != GONE) {
        if (!c->left && c->control_size) {
            c->out = c->control, c->left = c->control_size, c->is_frame = 0;
        } else if (!c->left && c->sent < c->due) {
            c->out = c->frames + c->sent % RING * opt.frame_size;
            c->left = opt.frame_size, c->is_frame = 1;
        }
        if (!c->left)
            break;
        ssize_t r = wire_write(c, c->out, c->left);
        if (r < 0 && errno != EAGAIN) {
            failed(c, &count.errors);
            return;
        }
        if (r < 0) {
            if (!c->wants_write)
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->wants_write = 1;
            return;
        }
        c->out += r, c->left -= (size_t)r;
        if (!c->left && c->is_frame)
            c->sent++;
        else if (!c->left)
            c->control_size = 0;
    }
    if (c->state != GONE && c->wants_write) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        c->wants_write = 0;
    }
}

/* Queues a control frame; a pong that finds no room is left out, as section 5.5.3 allows. */
static void control(struct conn *c, int opcode, const uint8_t *payload, size_t n)
{
    static const uint8_t mask[4] = {0x5a, 0x11, 0xc3, 0x78};
    if ((c->left && !c->is_frame) || c->control_size + n + 6 > sizeof c->control)
        return;
    uint8_t *at = c->control + c->control_size;
    size_t head = put_head(at, opcode, n, mask);
    mask_copy(at + head, payload, n, mask);
    c->control_size += head + n;
    flush(c);
}

static void begin_close(struct conn *c, uint64_t deadline)
{
    c->state = CLOSING;
    c->deadline = deadline;
    c->due = c->sent + (c->left && c->is_frame); /* frames that are not begun are not sent any more */
    control(c, CLOSE, (const uint8_t[]){0x03, 0xe8}, 2);
}

static void on_message(struct conn *c, const struct head *h, const uint8_t *payload)
{
    if (!h->fin || h->rsv || h->masked || !h->minimal) {
        count.bad++;
    } else if (h->opcode == BINARY) {
        if (c->replies == c->due || h->length != opt.reply)
            count.bad++;
        else if (opt.check && memcmp(payload, plain(c, c->replies), opt.reply))
            count.mismatched++;
        if (c->replies < c->due)
            on_reply(c);
    } else if (h->opcode == PING) {
        control(c, PONG, payload, h->length);
    } else if (h->opcode == CLOSE && c->state != CLOSING) {
        failed(c, &count.closed);
    } else if (h->opcode != CLOSE && h->opcode != PONG && h->opcode != TEXT) {
        count.bad++;
    }
}

/* Takes whole messages from the buffer; returns the bytes used. */
static size_t consume(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = 0;
    if (c->state == UPGRADING) {
        uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
        if (!end)
            return 0;
        if (n < 12 || memcmp(p, "HTTP/1.1 101", 12) || !memmem(p, (size_t)(end - p), ACCEPT, 28)) {
            drop(c, &count.refused, 0);
            return n;
        }
        used = (size_t)(end - p) + 4;
        c->state = OPEN;
        count.opened++, live++, pending--;
        on_open(c);
    }
    struct head h;
    while (c->state >= OPEN && get_head(p + used, n - used, &h) && n - used >= h.size + h.length) {
        on_message(c, &h, p + used + h.size);
        used += h.size + h.length;
    }
    return c->state == GONE ? n : used;
}

static void read_ready(struct conn *c)
{
    for (;;) {
        size_t room = sizeof c->in - c->kept;
        ssize_t r = wire_read(c, c->in + c->kept, room);
        if (r < 0 && errno == EAGAIN)
            return;
        if (r <= 0) {
            failed(c, r ? &count.errors : &count.closed);
            return;
        }
        c->kept += (size_t)r;
        size_t used = consume(c, c->in, c->kept);
        if (c->state == GONE)
            return;
        c->kept -= used;
        memmove(c->in, c->in + used, c->kept);
        if (c->kept == sizeof c->in) { /* no server here has a reason to send so long a frame */
            drop(c, &count.bad, 1);
            return;
        }
        if (!c->ssl && (size_t)r < room)
            return;
    }
}

static void start_connect(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    if (!c->frames)
        build_frames(c);
    c->due = c->sent = c->replies = 0;
    c->left = c->control_size = c->kept = 0;
    c->wants_write = c->is_frame = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        count.errors++;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    pending++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        drop(c, &count.refused, 0);
        return;
    }
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* The TCP connection is there: TLS if asked for, then the upgrade request. */
static void connected(struct conn *c)
{
    int error = 0;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error) {
        drop(c, &count.refused, 0);
        return;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (opt.tls && c->state == CONNECTING) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        c->state = HANDSHAKE;
    }
    if (c->state == HANDSHAKE && tls_result(c->ssl, SSL_connect(c->ssl)) <= 0) {
        if (errno != EAGAIN)
            drop(c, &count.refused, 0);
        return;
    }
    c->state = UPGRADING;
    c->out = (const uint8_t *)opt.request, c->left = strlen(opt.request);
    flush(c);
}

static void ready(struct conn *c, uint32_t events)
{
    if (c->state == CONNECTING || c->state == HANDSHAKE) {
        connected(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state != GONE)
        read_ready(c);
    if (events & EPOLLOUT && c->state != GONE)
        flush(c);
}
