/* One client connection: connect, TLS, upgrade, frames out, replies in. The modes in load.c decide
 * when a frame is due and what a reply means; nothing here knows the time. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLOSE = 8, PONG = 10 }; /* opcodes */
enum { POOL = 64, MESSAGE_MAX = 2048, IN_MAX = 1 << 14 };
enum state { GONE, UPGRADING, OPEN, CLOSING };

/* A client may repeat its key: the server only proves that it read it. So this never changes. */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct conn {
    enum state state;
    int fd, slot, said_close, way;     /* way: in which a life of a soak ends */
    uint32_t due, sent, replies;       /* frames scheduled, begun, answered */
    uint64_t first, deadline;          /* its frame 0 in the schedule; when its life is over */
    uint64_t best;                     /* of a listener: when its call began, by the best frame */
    const uint8_t *out;                /* what is being written now, and how much of it is left */
    size_t left, kept;
    SSL *ssl;
    uint8_t in[IN_MAX];                /* what came and was not used yet */
};

/* A frame's header, as RFC 6455 has it. */
struct head {
    int fin, rsv, opcode, masked, minimal;
    size_t size, length;
};

struct message {
    uint32_t size;
    uint8_t bytes[MESSAGE_MAX];
};

/* What a client says, and the payloads that are due for its frames: all made by harness/talk.py. */
static struct message request, hello, frames[POOL], replies[POOL];
static int port, with_tls, listens;
static int epoll_fd, pending;          /* pending: so many are on their way to OPEN */
static SSL_CTX *tls;

static struct {
    uint64_t opened, refused, closed, errors, bad, mismatched, lost;
} count;

static void on_reply(struct conn *c);

/* Returns which frame is a connection's number n: each begins at another place of the pool. */
static uint32_t in_pool(const struct conn *c, uint32_t n)
{
    return ((uint32_t)c->slot + n) % POOL;
}

/* Ends a connection at once, for the reason that is counted, if any. */
static void drop(struct conn *c, uint64_t *why)
{
    if (c->state == GONE)
        return;
    if (c->state < OPEN)
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
    if (c->state == OPEN)
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
    if (c->ssl)
        return tls_result(c->ssl, SSL_write(c->ssl, p, (int)n));
    return send(c->fd, p, n, MSG_NOSIGNAL);
}

static ssize_t wire_read(struct conn *c, void *p, size_t n)
{
    if (c->ssl)
        return tls_result(c->ssl, SSL_read(c->ssl, p, (int)n));
    return recv(c->fd, p, n, 0);
}

static void put(struct conn *c, const struct message *m)
{
    c->out = m->bytes;
    c->left = m->size;
}

/* Takes what is to be written next: frames, and behind the last of them the close frame. */
static void next_out(struct conn *c)
{
    static const struct message goodbye = {8, {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}};
    if (c->sent < c->due) {
        put(c, &frames[in_pool(c, c->sent++)]);
    } else if (c->state == CLOSING && !c->said_close) {
        c->said_close = 1;
        put(c, &goodbye);
    }
}

/* Writes what is due. What a full socket does not take waits for the next frame. */
static void flush(struct conn *c)
{
    for (;;) {
        if (!c->left)
            next_out(c);
        if (!c->left)
            return;
        ssize_t r = wire_write(c, c->out, c->left);
        if (r < 0 && errno != EAGAIN)
            failed(c, &count.errors);
        if (r < 0)
            return;
        c->out += r;
        c->left -= (size_t)r;
    }
}

static void send_another(struct conn *c)
{
    c->due++;
    flush(c);
}

static void begin_close(struct conn *c, uint64_t deadline)
{
    c->state = CLOSING;
    c->deadline = deadline;
    c->due = c->sent; /* frames that are not begun are not sent any more */
    flush(c);
}

/* Reads a frame's header from n bytes; returns 0 while bytes of it are missing. */
static int get_head(const uint8_t *p, size_t n, struct head *h)
{
    if (n < 2)
        return 0;
    size_t extra = (p[1] & 127) == 126 ? 2 : (p[1] & 127) == 127 ? 8 : 0;
    h->fin = p[0] >> 7;
    h->rsv = p[0] & 0x70;
    h->opcode = p[0] & 15;
    h->masked = p[1] >> 7;
    h->size = 2 + extra + (h->masked ? 4 : 0);
    if (n < h->size)
        return 0;
    h->length = extra ? 0 : p[1] & 127;
    for (size_t i = 0; i < extra; i++)
        h->length = h->length << 8 | p[2 + i];
    h->minimal = !extra || h->length > (extra == 2 ? 125 : 65535);
    return 1;
}

static void on_message(struct conn *c, const struct head *h, const uint8_t *payload)
{
    if (!h->fin || h->rsv || h->masked || !h->minimal) {
        count.bad++;
    } else if (h->opcode == (frames[0].bytes[0] & 15)) {
        const struct message *reply = &replies[in_pool(c, c->replies)];
        int expected = listens || c->replies < c->due;
        if (!expected || h->length != reply->size)
            count.bad++;
        else if (memcmp(payload, reply->bytes, reply->size))
            count.mismatched++;
        if (expected)
            on_reply(c);
    } else if (h->opcode == CLOSE && c->state != CLOSING) {
        failed(c, &count.closed);
    } else if (h->opcode < CLOSE || h->opcode > PONG) { /* pings need no answer in a short run */
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
    count.opened++;
    pending--;
    put(c, &hello);
    flush(c);
    return size;
}

/* Takes what is whole from the buffer. */
static void consume(struct conn *c)
{
    struct head h;
    size_t used = c->state == UPGRADING ? take_answer(c) : 0;
    while (c->state >= OPEN && get_head(c->in + used, c->kept - used, &h) &&
           c->kept - used >= h.size + h.length) {
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

/* Waits for both handshakes: on loopback the kernel accepts at once. */
static int connect_now(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){5, 0}, sizeof(struct timeval));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to))
        return 0;
    if (with_tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        if (SSL_connect(c->ssl) != 1)
            return 0;
    }
    return !fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void start(struct conn *c)
{
    c->due = c->sent = c->replies = 0;
    c->left = c->kept = 0;
    c->said_close = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) {
        count.errors++;
        return;
    }
    c->state = UPGRADING;
    pending++;
    if (!connect_now(c)) {
        drop(c, &count.refused);
        return;
    }
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){EPOLLIN, {.ptr = c}});
    put(c, &request);
    flush(c);
}
