/* RFC 6455 on the wire: frame headers, and the answer to the handshake. No I/O here. */
#pragma once
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BINARY = 2, CLOSE = 8, PONG = 10 };

/* A client may repeat its key: the server only proves that it read it. So this never changes. */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct head {
    int fin, rsv, opcode, masked, minimal;
    size_t size, length;
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
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
