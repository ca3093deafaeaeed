/* An OpenAI-compatible server that keeps its own schedule: the truth that a load generator must
 * report. Every stream's first token is due --ttft-us after its request arrived and the k-th token
 * k * --itl-us later, whatever happened before. One thread, epoll, no prompts read, no model. It sleeps
 * between chunks to the microsecond (epoll_pwait2: Linux 5.11, glibc 2.35) and leaves the cores to others.
 * A nap's least length saves wake-ups, which cost as much as a chunk, and makes it late by half of that.
 *
 * usage: paced_server PORT TTFT_US ITL_US [NAP_US]   (port 0: a free one; it is printed)
 * GET /stats: {"requests", "open", "open_max", "open_mean" (from the first request to the last chunk),
 * "chunks", "cpu_s" (its own), "late_ms": {"p50", "p99"}} of its own writes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define QUEUE (1 << 18)
#define BUCKETS 4000 /* of 0.1 ms */

typedef struct {
    char *in;
    size_t have, room;
    int streaming, asked, sent, prompt_tokens;
    uint32_t life;
} conn;
typedef struct {
    int64_t due_us;
    int fd;
    uint32_t life;
} event;
typedef struct {
    event *ring;
    uint32_t head, tail;
} queue;

static conn conns[MAX_FD];
static queue firsts, nexts;
static int64_t ttft_us, itl_us, nap_us;
static long requests, open_now, open_max, late[BUCKETS + 1], late_count;
static int64_t first_us, last_us, counted_us;
static double open_us; /* integral of open streams over time */
static char chunk[512];
static int chunk_bytes, poller;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Call before open_now changes. */
static void count_open(void) {
    int64_t now = now_us();
    if (counted_us) open_us += (double)open_now * (now - counted_us);
    counted_us = now;
}

static void push(queue *q, event e) { q->ring[q->tail++ & (QUEUE - 1)] = e; }
static event *peek(queue *q) { return q->head == q->tail ? NULL : &q->ring[q->head & (QUEUE - 1)]; }

static void drop(int fd) {
    conn *c = &conns[fd];
    count_open();
    open_now -= c->streaming;
    free(c->in);
    uint32_t life = c->life + 1;
    memset(c, 0, sizeof *c);
    c->life = life;
    close(fd);
}

static void put(int fd, const char *data, int bytes) {
    if (send(fd, data, bytes, MSG_NOSIGNAL) != bytes) drop(fd);
}

static double percentile(double share) {
    long wanted = (long)(late_count * share), seen = 0;
    for (int i = 0; i <= BUCKETS; i++)
        if ((seen += late[i]) > wanted) return i / 10.0;
    return 0;
}

static void answer_get(int fd, const char *head) {
    char body[512], out[1024];
    if (strncmp(head, "GET /stats", 10) == 0)
        snprintf(body, sizeof body,
                 "{\"requests\":%ld,\"open\":%ld,\"open_max\":%ld,\"open_mean\":%.1f,"
                 "\"chunks\":%ld,\"cpu_s\":%.2f,\"late_ms\":{\"p50\":%.1f,\"p99\":%.1f}}",
                 requests, open_now, open_max,
                 last_us > first_us ? open_us / (last_us - first_us) : 0.0, late_count, cpu_s(),
                 percentile(0.5), percentile(0.99));
    else if (strncmp(head, "GET /v1/models", 14) == 0)
        strcpy(body, "{\"object\":\"list\",\"data\":[{\"id\":\"model\",\"object\":\"model\"}]}");
    else
        strcpy(body, "{}");
    int n = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                      "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    put(fd, out, n);
}

static void begin(int fd, const char *body, size_t bytes) {
    conn *c = &conns[fd];
    const char *found = memmem(body, bytes, "\"max_tokens\":", 13);
    c->asked = found ? atoi(found + 13) : 16;
    c->sent = 0;
    c->prompt_tokens = 0;
    const char *prompt = memmem(body, bytes, "\"prompt\":[", 10);
    if (prompt)
        for (c->prompt_tokens = 1; *prompt && *prompt != ']'; prompt++)
            c->prompt_tokens += *prompt == ',';
    c->streaming = 1;
    requests++;
    count_open();
    if (!first_us) first_us = counted_us;
    if (++open_now > open_max) open_max = open_now;
    push(&firsts, (event){now_us() + ttft_us, fd, c->life});
}

static void take(int fd) {
    conn *c = &conns[fd];
    for (;;) {
        if (c->room - c->have < 16384) c->in = realloc(c->in, c->room = c->room * 2 + 32768);
        ssize_t n = recv(fd, c->in + c->have, c->room - c->have - 1, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(fd); return; }
        if (n < 0) break;
        c->have += n;
        c->in[c->have] = 0;
    }
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end || c->streaming) return;
    char *length = strcasestr(c->in, "content-length:");
    size_t head = end + 4 - c->in, body = length && length < end ? atol(length + 15) : 0;
    if (c->have < head + body) return;
    if (strncmp(c->in, "GET", 3) == 0) answer_get(fd, c->in);
    else begin(fd, c->in + head, body);
    if (c->in) { /* an idle connection holds no buffer */
        free(c->in);
        c->in = NULL;
        c->have = c->room = 0;
    }
}

static void emit(event e) {
    conn *c = &conns[e.fd];
    if (c->life != e.life || !c->streaming) return;
    char out[2048];
    int n = 0;
    if (c->sent == 0)
        n = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n");
    memcpy(out + n, chunk, chunk_bytes);
    n += chunk_bytes;
    int last = ++c->sent >= c->asked;
    if (last) {
        char usage[256];
        int u = sprintf(usage, "data: {\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":[],"
                               "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                               "\"total_tokens\":%d}}\n\n",
                        c->prompt_tokens, c->sent, c->prompt_tokens + c->sent);
        n += sprintf(out + n, "%x\r\n%s\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", u, usage);
        c->streaming = 0;
        count_open();
        last_us = counted_us;
        open_now--;
    } else
        push(&nexts, (event){e.due_us + itl_us, e.fd, e.life});
    int64_t bucket = (now_us() - e.due_us) / 100;
    late[bucket < 0 ? 0 : bucket > BUCKETS ? BUCKETS : bucket]++;
    late_count++;
    put(e.fd, out, n);
}

/* Emits all that is due; returns the wait until the next in us, -1 when nothing is. */
static int64_t emit_due(void) {
    for (int budget = 0;; budget++) {
        event *a = peek(&firsts), *b = peek(&nexts);
        queue *q = !b || (a && a->due_us <= b->due_us) ? &firsts : &nexts;
        event *e = peek(q);
        if (!e) return -1;
        int64_t wait = e->due_us - now_us();
        if (wait > 0) return wait;
        if (budget == 64) return 0;
        event due = *e;
        q->head++;
        emit(due);
    }
}

static void welcome(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MAX_FD) { close(fd); continue; }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event want = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &want);
    }
}

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    /* BBR, the default of some systems, paces what is due now, and costs more for each chunk. */
    setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (bind(listener, (void *)&at, bytes) || listen(listener, 4096)) { perror("listen"); exit(1); }
    getsockname(listener, (void *)&at, &bytes);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) { fprintf(stderr, "usage: paced_server PORT TTFT_US ITL_US [NAP_US]\n"); return 2; }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1); /* ns: it sleeps until a chunk is due, and never spins */
    ttft_us = atoll(argv[2]);
    itl_us = atoll(argv[3]);
    nap_us = argc > 4 ? atoll(argv[4]) : 0;
    firsts.ring = calloc(QUEUE, sizeof(event));
    nexts.ring = calloc(QUEUE, sizeof(event));
    const char *data =
        "data: {\"id\":\"cmpl-6b1f0c2d9a3e4f58\",\"object\":\"text_completion\",\"created\":1770000000,"
        "\"model\":\"model\",\"choices\":[{\"index\":0,\"text\":\" water\",\"logprobs\":null,"
        "\"finish_reason\":null,\"stop_reason\":null}],\"usage\":null}\n\n";
    chunk_bytes = sprintf(chunk, "%zx\r\n%s\r\n", strlen(data), data);
    poller = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event want = {.events = EPOLLIN, .data.fd = listener}, got[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &want);
    for (;;) {
        int64_t wait = emit_due();
        if (wait > 0 && wait < nap_us) wait = nap_us;
        struct timespec until = {.tv_sec = wait / 1000000, .tv_nsec = wait % 1000000 * 1000};
        int n = epoll_pwait2(poller, got, 512, wait < 0 ? NULL : &until, NULL);
        for (int i = 0; i < n; i++) {
            if (got[i].data.fd == listener) welcome(listener);
            else take(got[i].data.fd);
        }
    }
}
