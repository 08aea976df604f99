/* RFC 6455 on the wire: frame headers, masks, and the handshake's constants. No I/O here. */
#pragma once
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PONG = 10 };

/* A client may repeat its key: the server only proves that it read it. So the answer is a constant. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct head {
    int fin, rsv, opcode, masked, minimal;
    size_t size, length;
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
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

/* Writes the header of a whole, unfragmented message of at most 65,535 bytes; returns its size. */
static size_t put_head(uint8_t *out, int opcode, size_t length, const uint8_t *mask)
{
    size_t n = length < 126 ? 2 : 4;
    out[0] = (uint8_t)(0x80 | opcode);
    out[1] = (uint8_t)((mask ? 0x80 : 0) | (n == 2 ? length : 126));
    if (n == 4)
        out[2] = (uint8_t)(length >> 8), out[3] = (uint8_t)length;
    if (mask)
        memcpy(out + n, mask, 4);
    return mask ? n + 4 : n;
}

/* Copies with the mask applied, eight bytes at a time: at the ceiling every nanosecond is on show. */
static void mask_copy(uint8_t *out, const uint8_t *in, size_t n, const uint8_t mask[4])
{
    uint64_t wide, word;
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= wide;
        memcpy(out + i, &word, 8);
    }
    for (; i < n; i++)
        out[i] = in[i] ^ mask[i & 3];
}
