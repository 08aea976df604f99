/* The ceiling: the least that an echo server can do. What real servers reach is read against it. */
#pragma once
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "wire.h"

enum { IN = 1 << 14, FDS = 1 << 14 };

struct peer {
    int open;
    size_t kept;
    uint8_t in[IN];
};

/* The sockets block: while one client reads slowly, an overloaded ceiling stalls as a whole. */
static int send_all(int fd, const void *p, size_t n)
{
    return send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
}

/* Writes one whole message of at most 65,535 bytes without its mask; returns the frame's size. */
static size_t put_frame(uint8_t *out, int opcode, const uint8_t *masked, size_t length)
{
    const uint8_t *mask = masked - 4;
    size_t head = length < 126 ? 2 : 4;
    out[0] = (uint8_t)(0x80 | opcode);
    out[1] = (uint8_t)(head == 2 ? length : 126);
    if (head == 4) {
        out[2] = (uint8_t)(length >> 8);
        out[3] = (uint8_t)length;
    }
    for (size_t i = 0; i < length; i++)
        out[head + i] = masked[i] ^ mask[i % 4];
    return head + length;
}

/* Echoes every whole frame in the buffer with one send. */
static int echo(int fd, struct peer *peer)
{
    static uint8_t out[IN];
    struct head h;
    size_t used = 0, size = 0;
    int closing = 0;
    while (!closing && get_head(peer->in + used, peer->kept - used, &h) &&
           peer->kept - used >= h.size + h.length) {
        closing = h.opcode == CLOSE;
        size += put_frame(out + size, h.opcode, peer->in + used + h.size, h.length);
        used += h.size + h.length;
    }
    peer->kept -= used;
    memmove(peer->in, peer->in + used, peer->kept);
    return (size && send_all(fd, out, size)) || closing ? -1 : 0;
}

/* Answers the upgrade, behind which the generator says nothing until it has the answer. */
static int upgrade(int fd, struct peer *peer)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
    if (!memmem(peer->in, peer->kept, "\r\n\r\n", 4))
        return 0;
    peer->open = 1;
    peer->kept = 0;
    return send_all(fd, answer, strlen(answer));
}

/* Reads what has come and answers it; returns -1 to hang up. */
static int serve_ready(int fd, struct peer *peer)
{
    ssize_t got = recv(fd, peer->in + peer->kept, IN - peer->kept, 0);
    if (got <= 0) /* gone, or a frame longer than the generator's are */
        return -1;
    peer->kept += (size_t)got;
    return peer->open ? echo(fd, peer) : upgrade(fd, peer);
}

static int serve(int port)
{
    static struct peer peers[FDS];
    struct sockaddr_in at = loopback(port);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096))
        return perror("load serve"), 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){EPOLLIN, {.fd = listener}});
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd != listener) {
                if (serve_ready(fd, &peers[fd]))
                    close(fd);
            } else if ((fd = accept(listener, NULL, NULL)) >= FDS) {
                close(fd);
            } else if (fd >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                peers[fd].open = 0;
                peers[fd].kept = 0;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
            }
        }
    }
}
