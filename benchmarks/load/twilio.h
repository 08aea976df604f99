/* What Twilio says, and what a bot says to it: JSON text messages, with mu-law audio as base64. */
#pragma once
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#define SID "MZ00000000000000000000000000000000"
#define FORMAT "\"mediaFormat\":{\"encoding\":\"audio/x-mulaw\",\"sampleRate\":8000,\"channels\":1}"
#define CONNECTED "{\"event\":\"connected\",\"protocol\":\"Call\",\"version\":\"1.0.0\"}"
#define START "{\"event\":\"start\",\"sequenceNumber\":\"1\",\"start\":{\"streamSid\":\"" SID "\",\"tracks\":[\"inbound\"]," \
              "\"customParameters\":{}," FORMAT "},\"streamSid\":\"" SID "\"}"
#define BEFORE_SPEECH "{\"event\":\"media\",\"sequenceNumber\":\"3002\",\"media\":{\"track\":\"inbound\"," \
                      "\"chunk\":\"3001\",\"timestamp\":\"60000\",\"payload\":\""
#define AFTER_SPEECH "\"},\"streamSid\":\"" SID "\"}"
#define BEFORE_REPLY "{\"event\":\"media\",\"streamSid\":\"" SID "\",\"media\":{\"payload\":\""
#define AFTER_REPLY "\"}}"

/* Writes a media message around n bytes of audio; returns its size. */
static size_t put_media(uint8_t *out, const char *before, const uint8_t *audio, size_t n, const char *after)
{
    size_t size = strlen(before), end = strlen(after);
    memcpy(out, before, size);
    size += (size_t)EVP_EncodeBlock(out + size, audio, (int)n);
    memcpy(out + size, after, end);
    return size + end;
}
