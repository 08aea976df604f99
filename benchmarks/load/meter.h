/* Time, processor time and round trips. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <time.h>

enum { SECOND = 1000000000, LONGEST = 20000000 }; /* ns; the longest round trip told apart, us */

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Counts by whole microseconds: exact percentiles in constant memory. */
struct histogram {
    uint32_t bucket[LONGEST + 1];
    uint64_t n;
};

static void record(struct histogram *h, uint64_t ns, uint64_t times)
{
    h->bucket[ns / 1000 < LONGEST ? ns / 1000 : LONGEST] += (uint32_t)times;
    h->n += times;
}

/* Returns the time, in ms, that this part of all times does not exceed. */
static double percentile(const struct histogram *h, double part)
{
    uint64_t rank = (uint64_t)ceil(part * (double)h->n), seen = 0;
    for (uint32_t us = 0; h->n && us <= LONGEST; us++)
        if ((seen += h->bucket[us]) >= rank)
            return us / 1000.0;
    return 0;
}

/* Returns the processor seconds that a process has used; pid 0 is this one. */
static double processor_seconds(int pid)
{
    clockid_t clock;
    struct timespec t = {0, 0};
    if (!clock_getcpuclockid(pid, &clock))
        clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / SECOND;
}

/* What a window of time cost: its shares of one core stand here from close_window on. */
static struct {
    int server;
    double own_used, server_used, seconds;
    uint64_t began;
} window;

static void open_window(void)
{
    window.own_used = processor_seconds(0);
    window.server_used = processor_seconds(window.server);
    window.began = now();
}

static void close_window(void)
{
    window.seconds = (double)(now() - window.began) / SECOND;
    window.own_used = (processor_seconds(0) - window.own_used) / window.seconds;
    window.server_used = (processor_seconds(window.server) - window.server_used) / window.seconds;
}
