/* Frames over SRT in live mode, as groups of messages: what a program around libsrt would do.
 *
 *   srt_frames receive ADDRESS PORT LATENCY_MS FRAMES
 *   srt_frames send ADDRESS PORT LATENCY_MS FRAMES
 *
 * Two sources as `framelane compare` makes them, visible of 60 kB and infrared of 20 kB, 30 frames a second of each, both
 * due at the same moment, the smaller one first. Each message is 1,316 bytes, SRT's usual length, of which 24 say
 * which frame and part it is, and when the frame was due. Both ends are on one machine and have one clock. A frame is
 * complete when all its parts have come; its latency is from due to then. Nothing is stored or hashed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <srt/srt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MESSAGE = 1316, HEADER = 24, PART = MESSAGE - HEADER, SOURCES = 2, FPS = 30 };
static const int BYTES[SOURCES] = {20000, 60000};
static const char *const NAMES[SOURCES] = {"infrared", "visible"};

struct header {
    uint32_t source, frame, part, parts;
    uint64_t due_ns;
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "srt_frames: %s: %s\n", what, srt_getlasterror_str());
    exit(1);
}

static void set(SRTSOCKET s, SRT_SOCKOPT option, const void *value, int length) {
    if (srt_setsockopt(s, 0, option, value, length) == SRT_ERROR) fail("srt_setsockopt");
}

static SRTSOCKET open_live(int latency_ms) {
    int live = SRTT_LIVE, payload = MESSAGE, yes = 1, buffer = 12 << 20, window = 16384;
    int64_t unlimited = 0; /* by what is sent, and an overhead for repetitions */
    int overhead = 100;
    SRTSOCKET s = srt_create_socket();
    if (s == SRT_INVALID_SOCK) fail("srt_create_socket");
    set(s, SRTO_TRANSTYPE, &live, sizeof live);
    set(s, SRTO_PAYLOADSIZE, &payload, sizeof payload);
    set(s, SRTO_LATENCY, &latency_ms, sizeof latency_ms);
    set(s, SRTO_TLPKTDROP, &yes, sizeof yes);
    set(s, SRTO_FC, &window, sizeof window);
    set(s, SRTO_SNDBUF, &buffer, sizeof buffer);
    set(s, SRTO_RCVBUF, &buffer, sizeof buffer);
    set(s, SRTO_MAXBW, &unlimited, sizeof unlimited);
    set(s, SRTO_OHEADBW, &overhead, sizeof overhead);
    return s;
}

static void send_all(SRTSOCKET s, uint32_t frames) {
    char message[MESSAGE];
    memset(message, 7, sizeof message);
    uint64_t start = now_ns() + 100000000u;
    for (uint32_t frame = 0; frame < frames; frame++) {
        uint64_t due = start + (uint64_t)frame * 1000000000u / FPS;
        struct timespec at = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {}
        for (uint32_t source = 0; source < SOURCES; source++) {
            uint32_t parts = (uint32_t)((BYTES[source] + PART - 1) / PART);
            for (uint32_t part = 0; part < parts; part++) {
                struct header header = {source, frame, part, parts, due};
                int rest = BYTES[source] - (int)part * PART;
                memcpy(message, &header, HEADER);
                if (srt_sendmsg2(s, message, HEADER + (rest < PART ? rest : PART), NULL) == SRT_ERROR)
                    fail("srt_sendmsg2");
            }
        }
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void receive_all(SRTSOCKET s, uint32_t frames) {
    char message[MESSAGE];
    uint32_t *came[SOURCES];
    double *late[SOURCES];
    uint32_t complete[SOURCES] = {0};
    for (int source = 0; source < SOURCES; source++) {
        came[source] = calloc(frames, sizeof **came);
        late[source] = calloc(frames, sizeof **late);
        if (!came[source] || !late[source]) exit(1);
    }
    for (;;) {
        int length = srt_recvmsg(s, message, sizeof message);
        struct header header;
        if (length == SRT_ERROR) break; /* the sender has gone */
        if (length < HEADER) continue;
        memcpy(&header, message, HEADER);
        if (header.source >= SOURCES || header.frame >= frames) continue;
        if (++came[header.source][header.frame] == header.parts)
            late[header.source][complete[header.source]++] = (double)(now_ns() - header.due_ns) / 1e6;
    }
    for (int source = SOURCES - 1; source >= 0; source--) {
        uint32_t n = complete[source];
        qsort(late[source], n, sizeof **late, by_value);
        printf("%s %u/%u", NAMES[source], n, frames);
        const double quantiles[] = {0.5, 0.95, 0.99};
        for (int i = 0; n > 0 && i < 3; i++) {
            uint32_t place = (uint32_t)((double)n * quantiles[i]);
            printf(" %.1f", late[source][place < n ? place : n - 1]);
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: srt_frames receive|send ADDRESS PORT LATENCY_MS FRAMES\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
    uint32_t frames = (uint32_t)atoi(argv[5]);
    if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) return 2;
    if (srt_startup() < 0) fail("srt_startup");
    SRTSOCKET s = open_live(atoi(argv[4]));
    if (strcmp(argv[1], "receive") == 0) {
        if (srt_bind(s, (struct sockaddr *)&address, sizeof address) == SRT_ERROR) fail("srt_bind");
        if (srt_listen(s, 1) == SRT_ERROR) fail("srt_listen");
        printf("listening\n");
        fflush(stdout);
        SRTSOCKET from = srt_accept(s, NULL, NULL);
        if (from == SRT_INVALID_SOCK) fail("srt_accept");
        receive_all(from, frames);
    } else {
        if (srt_connect(s, (struct sockaddr *)&address, sizeof address) == SRT_ERROR) fail("srt_connect");
        send_all(s, frames);
        struct timespec last = {2, 0}; /* what is still to be repeated; a close gives it up */
        nanosleep(&last, NULL);
        srt_close(s);
    }
    srt_cleanup();
    return 0;
}
