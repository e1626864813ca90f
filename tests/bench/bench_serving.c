/*
 * bench_serving.c - the whole server under 1, 16, 128 and 512 concurrent streams
 *
 * Starts `tokenring serve` on a free port (arguments are passed on), opens the streams, and keeps
 * each busy with one chat request after another. A client of its own: one epoll loop, HTTP/1.1,
 * one connection per stream. Prints requests/s, tokens/s, time to first token, time between
 * events, and CPU time per token of each process, read from /proc.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum { MAX_STREAMS = 512, MAX_TOKENS = 128, MAX_SAMPLES = 4000000, MAX_PROCESSES = 16 };

struct stream {
    int fd;
    char tail[64]; /* end of what was read, to find the last event */
    size_t tail_len;
    int64_t sent_us, last_us;
    bool first_seen;
};

struct samples {
    double *ms;
    size_t num;
};

struct process {
    int pid;
    char title[64];
    double start_s;
};

struct bench {
    int port, epoll;
    pid_t server;
    struct stream streams[MAX_STREAMS];
    struct samples ttft, itl;
    uint64_t num_requests, num_events;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_serving: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void add(struct samples *s, double ms)
{
    if (s->num < MAX_SAMPLES)
        s->ms[s->num++] = ms;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(struct samples *s, double p)
{
    if (s->num == 0)
        return 0;
    qsort(s->ms, s->num, sizeof(s->ms[0]), compare);
    return s->ms[(size_t)((double)(s->num - 1) * p)];
}

/* --- the server ------------------------------------------------------------------------------ */

static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("no port");
    close(fd);
    return ntohs(address.sin_port);
}

static int dial(int port)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool is_ready(int port)
{
    static const char ask[] = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    char answer[64] = { 0 };
    const int fd = dial(port);
    if (fd < 0)
        return false;
    const bool sent = write(fd, ask, sizeof(ask) - 1) > 0 && read(fd, answer, 63) > 0;
    close(fd);
    return sent && strncmp(answer, "HTTP/1.1 200", 12) == 0;
}

static void start_server(struct bench *b, int argc, char **argv)
{
    const char *program = getenv("TOKENRING") != NULL ? getenv("TOKENRING") : "build/tokenring";
    char port[16], *args[64] = { (char *)program, "serve", "--port", port, "--no-log-requests" };
    b->port = free_port();
    snprintf(port, sizeof(port), "%d", b->port);
    for (int i = 1; i < argc && i < 50; i++)
        args[4 + i] = argv[i];
    b->server = fork();
    if (b->server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void)!freopen("/dev/null", "w", stdout);
        execv(program, args);
        die(program);
    }
    for (int i = 0; i < 600 && !is_ready(b->port); i++)
        usleep(50000);
    if (!is_ready(b->port)) {
        kill(b->server, SIGTERM);
        die("the server is not ready");
    }
}

static double cpu_seconds(int pid)
{
    char path[64], text[1024] = { 0 };
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    const size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    const char *behind = len > 0 ? strrchr(text, ')') : NULL;
    if (behind != NULL)
        sscanf(behind, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static int list_processes(pid_t server, struct process *out)
{
    char path[64], line[256] = { 0 };
    int num = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", server, server);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL)
        die(path);
    fclose(file);
    for (char *word = strtok(line, " \n"); word != NULL && num < MAX_PROCESSES;
         word = strtok(NULL, " \n")) {
        struct process *p = &out[num++];
        *p = (struct process){ .pid = atoi(word) };
        snprintf(path, sizeof(path), "/proc/%d/cmdline", p->pid);
        FILE *title = fopen(path, "r");
        if (title != NULL) {
            (void)!fgets(p->title, sizeof(p->title), title);
            fclose(title);
        }
        p->start_s = cpu_seconds(p->pid);
    }
    return num;
}

/* --- streams ---------------------------------------------------------------------------------- */

static void send_request(struct bench *b, struct stream *s)
{
    char body[512], head[768];
    const unsigned seed = (unsigned)(b->num_requests * 7919 + (uint64_t)(s - b->streams));
    const int len = snprintf(body, sizeof(body),
                             "{\"stream\":true,\"ignore_eos\":true,\"max_tokens\":%d,\"seed\":%u,"
                             "\"temperature\":0.8,\"messages\":[{\"role\":\"user\",\"content\":"
                             "\"Tell me a story.\"}]}",
                             MAX_TOKENS, seed);
    const int n = snprintf(head, sizeof(head),
                           "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: "
                           "application/json\r\ncontent-length: %d\r\n\r\n%s",
                           len, body);
    s->sent_us = clock_now_us();
    s->first_seen = false;
    s->tail_len = 0;
    if (write(s->fd, head, (size_t)n) != n)
        die("a request could not be sent");
}

static void open_stream(struct bench *b, struct stream *s)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };
    s->fd = dial(b->port);
    if (s->fd < 0 || epoll_ctl(b->epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
        die("a connection could not be opened");
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    send_request(b, s);
}

static size_t count_events(const char *data, size_t len)
{
    static const char content[] = "\"content\":\"";
    size_t num = 0;
    for (const char *at = data;
         (at = memmem(at, len - (size_t)(at - data), content, sizeof(content) - 1)) != NULL; at++)
        num += at[sizeof(content) - 1] != '"'; /* the role chunk's is empty */
    return num;
}

static bool ends_stream(struct stream *s, const char *data, size_t len)
{
    static const char end[] = "0\r\n\r\n";
    const size_t keep = len < sizeof(s->tail) / 2 ? len : sizeof(s->tail) / 2;
    if (s->tail_len + keep > sizeof(s->tail)) {
        memmove(s->tail, s->tail + s->tail_len - 16, 16);
        s->tail_len = 16;
    }
    memcpy(s->tail + s->tail_len, data + len - keep, keep);
    s->tail_len += keep;
    return s->tail_len >= 5 && memcmp(s->tail + s->tail_len - 5, end, 5) == 0;
}

static void read_stream(struct bench *b, struct stream *s, bool go_on)
{
    static char data[1 << 18];
    const ssize_t len = read(s->fd, data, sizeof(data));
    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0)
        die("a stream was cut");
    if (memcmp(data, "HTTP/1.1 ", len < 9 ? (size_t)len : 9) == 0 &&
        memcmp(data + 9, "200", 3) != 0)
        die(data);
    const int64_t now = clock_now_us();
    const size_t events = count_events(data, (size_t)len);
    b->num_events += events;
    if (events > 0 && !s->first_seen)
        add(&b->ttft, (double)(now - s->sent_us) / 1e3);
    else if (events > 0)
        add(&b->itl, (double)(now - s->last_us) / 1e3);
    if (events > 0) {
        s->first_seen = true;
        s->last_us = now;
    }
    if (!ends_stream(s, data, (size_t)len))
        return;
    b->num_requests++;
    if (go_on) {
        send_request(b, s);
        return;
    }
    close(s->fd);
    s->fd = -1;
}

static int num_open(const struct bench *b, int num)
{
    int open = 0;
    for (int i = 0; i < num; i++)
        open += b->streams[i].fd >= 0;
    return open;
}

static void run_level(struct bench *b, int num, double seconds)
{
    struct process processes[MAX_PROCESSES];
    const int num_processes = list_processes(b->server, processes);

    b->ttft.num = b->itl.num = 0;
    b->num_requests = b->num_events = 0;
    const int64_t start = clock_now_us();
    for (int i = 0; i < num; i++)
        open_stream(b, &b->streams[i]);
    while (num_open(b, num) > 0) {
        struct epoll_event events[MAX_STREAMS];
        const int n = epoll_wait(b->epoll, events, MAX_STREAMS, 30000);
        if (n <= 0)
            die("nothing came for 30 s");
        const bool go_on = (double)(clock_now_us() - start) / 1e6 < seconds;
        for (int i = 0; i < n; i++)
            read_stream(b, events[i].data.ptr, go_on);
    }
    const double wall = (double)(clock_now_us() - start) / 1e6;
    const double tokens = (double)b->num_requests * MAX_TOKENS;
    printf("%7d %8.1f %10.0f %9.1f %9.1f %8.2f %8.2f ", num, (double)b->num_requests / wall,
           tokens / wall, percentile(&b->ttft, 0.5), percentile(&b->ttft, 0.99),
           percentile(&b->itl, 0.5), percentile(&b->itl, 0.99));
    for (int i = 0; i < num_processes; i++)
        printf(" %s %.1f", processes[i].title + strlen("tokenring: "),
               (cpu_seconds(processes[i].pid) - processes[i].start_s) * 1e6 / tokens);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct bench b;
    static const int levels[] = { 1, 16, 128, 512 };

    signal(SIGPIPE, SIG_IGN);
    b.ttft.ms = malloc(MAX_SAMPLES * sizeof(double));
    b.itl.ms = malloc(MAX_SAMPLES * sizeof(double));
    b.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b.ttft.ms == NULL || b.itl.ms == NULL || b.epoll < 0)
        die("start");
    start_server(&b, argc, argv);
    run_level(&b, 4, 1); /* warm-up, printed too so that nothing is hidden */
    printf("\n%7s %8s %10s %9s %9s %8s %8s  %s\n", "streams", "req/s", "tokens/s", "ttft p50",
           "ttft p99", "itl p50", "itl p99", "CPU us per token of each process (times in ms)");
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        run_level(&b, levels[i], 6);
    kill(b.server, SIGTERM);
    waitpid(b.server, NULL, 0);
    return EXIT_SUCCESS;
}
