/* RFC 6455 on the wire: frame headers, and what the opening handshake needs. No I/O here. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* A client may repeat its key: the server only proves that it read it. So the answer is a constant. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct head {
    int fin, rsv, opcode, masked, minimal;
    size_t size, length;
};

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
    size_t n = 0, flag = mask ? 0x80 : 0;
    out[n++] = (uint8_t)(0x80 | opcode);
    if (length < 126) {
        out[n++] = (uint8_t)(flag | length);
    } else {
        out[n++] = (uint8_t)(flag | 126);
        out[n++] = (uint8_t)(length >> 8);
        out[n++] = (uint8_t)length;
    }
    if (mask) {
        memcpy(out + n, mask, 4);
        n += 4;
    }
    return n;
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

/* SHA-1 of a message of at most 119 bytes (two blocks): key and GUID together are 60. */
static void sha1(const char *message, size_t n, uint8_t digest[20])
{
    uint8_t data[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    size_t blocks = n + 9 <= 64 ? 1 : 2;
    memcpy(data, message, n);
    data[n] = 0x80;
    data[blocks * 64 - 2] = (uint8_t)(n * 8 >> 8);
    data[blocks * 64 - 1] = (uint8_t)(n * 8);
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *p = data + b * 64;
        for (int t = 0; t < 80; t++) {
            uint32_t x = t < 16 ? (uint32_t)p[4 * t] << 24 | (uint32_t)p[4 * t + 1] << 16
                                      | (uint32_t)p[4 * t + 2] << 8 | p[4 * t + 3]
                                : w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
            w[t] = t < 16 ? x : x << 1 | x >> 31;
        }
        uint32_t a = h[0], c1 = h[1], c = h[2], d = h[3], e = h[4];
        for (int t = 0; t < 80; t++) {
            uint32_t f = t < 20 ? ((c1 & c) | (~c1 & d)) + 0x5A827999
                       : t < 40 ? (c1 ^ c ^ d) + 0x6ED9EBA1
                       : t < 60 ? ((c1 & c) | (c1 & d) | (c & d)) + 0x8F1BBCDC
                                : (c1 ^ c ^ d) + 0xCA62C1D6;
            uint32_t next = (a << 5 | a >> 27) + f + e + w[t];
            e = d, d = c, c = c1 << 30 | c1 >> 2, c1 = a, a = next;
        }
        h[0] += a, h[1] += c1, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

/* The Sec-WebSocket-Accept value for a 24-character key: 28 characters of base64. */
static void accept_value(const char *key, char out[29])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char message[64];
    uint8_t d[21] = {0};
    snprintf(message, sizeof message, "%.24s%s", key, GUID);
    sha1(message, strlen(message), d);
    for (int i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)d[3 * i] << 16 | (uint32_t)d[3 * i + 1] << 8 | d[3 * i + 2];
        for (int j = 0; j < 4; j++)
            out[4 * i + j] = letters[v >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}
