/* The ceiling: the least that an echo server can do. What a real server reaches is read against it. */
#pragma once
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "wire.h"

enum { IN = 1 << 14, FDS = 1 << 14 };

struct peer {
    int open;
    size_t kept;
    uint8_t in[IN];
};

/* Writes all; while the client reads slowly it waits, so an overloaded ceiling stalls as a whole. */
static int send_all(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
        if (r < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
        else if (r < 0)
            return -1;
        else
            p += r, n -= (size_t)r;
    }
    return 0;
}

/* Answers the generator's upgrade; returns the bytes used, 0 while it is incomplete, -1 to hang up. */
static ssize_t upgrade(int fd, struct peer *peer, const uint8_t *in, size_t n)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
    const uint8_t *end = memmem(in, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    peer->open = 1;
    if (!memmem(in, n, KEY, strlen(KEY)) || send_all(fd, (const uint8_t *)answer, strlen(answer)))
        return -1;
    return end + 4 - in;
}

/* Echoes every whole frame in the buffer with one send; returns the bytes used or -1 to hang up. */
static ssize_t echo(int fd, const uint8_t *in, size_t n)
{
    static uint8_t out[IN];
    struct head h;
    size_t used = 0, size = 0;
    int closing = 0;
    while (!closing && get_head(in + used, n - used, &h) && n - used >= h.size + h.length) {
        if (!h.masked)
            return -1;
        closing = h.opcode == CLOSE;
        size += put_head(out + size, h.opcode == PING ? PONG : h.opcode, h.length, NULL);
        mask_copy(out + size, in + used + h.size, h.length, in + used + h.size - 4);
        size += h.length;
        used += h.size + h.length;
    }
    if ((size && send_all(fd, out, size)) || closing)
        return -1;
    return (ssize_t)used;
}

static int serve_ready(int fd, struct peer *peer)
{
    ssize_t got = recv(fd, peer->in + peer->kept, IN - peer->kept, 0), used = 0;
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    peer->kept += (size_t)got;
    used = peer->open ? echo(fd, peer->in, peer->kept) : upgrade(fd, peer, peer->in, peer->kept);
    if (used < 0)
        return -1;
    peer->kept -= (size_t)used;
    memmove(peer->in, peer->in + used, peer->kept);
    return peer->kept == IN ? -1 : 0; /* so long a frame is no frame of the generator's */
}

static int serve(int port)
{
    static struct peer peers[FDS];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, epoll = epoll_create1(0);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){FDS, FDS}); /* so that each descriptor has its peer */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096))
        return perror("load serve"), 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){EPOLLIN, {.fd = listener}});
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    peers[fd].open = 0, peers[fd].kept = 0;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
                }
            } else if (serve_ready(fd, &peers[fd])) {
                close(fd);
            }
        }
    }
}
