/*
 * A load generator for HTTP/1.1 gateways: one thread, epoll, keep-alive, one request at a time on
 * each connection. It sends the same bytes each time and checks every answer.
 *
 * Closed loop (no --rate): each connection sends again as soon as its answer is whole.
 * Open loop (--rate): requests are due at fixed times and wait for a free connection; latency runs
 * from the due time, so that a stall is told in full (no coordinated omission).
 *
 * An answer is right when its status is 200, its framing is whole and, unless --loose, its body
 * is byte for byte the first one seen. Pieces of a stream are counted as events (blank lines).
 *
 * stdout: "begin" and "end" lines around the measured time, then one line of JSON. Latencies in µs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
  EVENTS_MAX = 256,
  HEAD_BYTES_MAX = 16384,
  BODY_BYTES_MAX = 8 << 20,
  READ_BYTES = 256 << 10,
  CONNECTIONS_MAX = 100000,
  SUB_BITS = 7, /* Histogram: 128 buckets to each doubling, an error below 1 %. */
  HISTOGRAM_SIZE = 64 << SUB_BITS,
  STALL_MS = 5000,
};

/* ---- Histogram of nanoseconds ---- */

struct histogram {
  uint64_t counts[HISTOGRAM_SIZE];
  uint64_t count, max, sum;
};

static void record(struct histogram *h, uint64_t ns) {
  int shift = 63 - __builtin_clzll(ns | (1u << SUB_BITS)) - SUB_BITS;
  h->counts[((uint64_t)shift << SUB_BITS) + (ns >> shift)]++;
  h->count++;
  h->sum += ns;
  if (ns > h->max) h->max = ns;
}

static double quantile_us(const struct histogram *h, double q) {
  uint64_t wanted = (uint64_t)(q * (double)h->count), seen = 0;
  for (int i = 0; i < HISTOGRAM_SIZE; i++) {
    seen += h->counts[i];
    if (seen <= wanted) continue;
    int shift = i >> SUB_BITS > 0 ? (i >> SUB_BITS) - 1 : 0;
    uint64_t low = ((uint64_t)i - ((uint64_t)shift << SUB_BITS)) << shift;
    double middle = (double)low + (double)((uint64_t)1 << shift) / 2;
    return (middle < (double)h->max ? middle : (double)h->max) / 1000;
  }
  return (double)h->max / 1000;
}

static void print_histogram(const char *name, const struct histogram *h) {
  double mean = h->count == 0 ? 0 : (double)h->sum / (double)h->count / 1000;
  printf("\"%s\":{\"count\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,"
         "\"p999\":%.1f,\"max\":%.1f},", name, (unsigned long long)h->count, mean,
         quantile_us(h, 0.5), quantile_us(h, 0.9), quantile_us(h, 0.99), quantile_us(h, 0.999),
         (double)h->max / 1000);
}

/* ---- State ---- */

enum phase { IDLE, HEAD, BODY_LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct conn {
  int fd; /* -1: not open. */
  enum phase phase;
  size_t sent;           /* Of the request. */
  uint64_t from_ns;      /* Latency runs from here. */
  uint64_t heard_ns;     /* Last byte in. */
  uint64_t body_left;    /* Of the body or the chunk. */
  uint64_t body_at;      /* Bytes of the body seen so far. */
  uint64_t events;       /* Loose: blank lines seen. */
  bool last_was_newline; /* Loose. */
  bool bad;              /* The body differed. */
  bool will_close;
  int line_len;          /* Bytes of the chunk-size or trailer line so far. */
  uint64_t chunk_size;
  char *head;
  int head_len;
  struct conn *next_free;
};

static struct {
  struct sockaddr_in to;
  const char *path, *key, *body_path, *sample_path;
  int connections;
  double seconds, warm_seconds, ramp_seconds, rate;
  bool loose;
} options = {.path = "/v1/chat/completions", .connections = 64, .seconds = 3, .warm_seconds = 0.5};

static struct {
  uint64_t requests, chunks, bytes, connects;
  uint64_t bad_status, bad_body, bad_framing, closed, refused, stalled, late;
  int first_bad_status;
  struct histogram latency, first_byte;
} result;

static char *request;
static size_t request_len;
static char *reference; /* The first whole body; `events_before[i]` counts its blank lines. */
static size_t reference_len;
static uint32_t *events_before;
static char *candidate; /* The body of the first connection that answers, while it grows. */
static size_t candidate_len;
static struct conn *candidate_of;
static struct conn *conns, *free_conns;
static bool measuring;
static int epoll_fd;
static uint64_t due_count, started_count, open_start_ns; /* Open loop. */

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void *must(void *memory) {
  if (memory == NULL) die("memory");
  return memory;
}

/* ---- Sending ---- */

static void fail(struct conn *c, uint64_t *counter);

static void open_conn(struct conn *c) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (struct sockaddr *)&options.to, sizeof options.to) < 0 &&
      errno != EINPROGRESS) {
    close(c->fd);
    c->fd = -1;
    result.refused++;
    return;
  }
  result.connects++;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

static void write_request(struct conn *c) {
  while (c->sent < request_len) {
    ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN || errno == ENOTCONN) return;
      fail(c, &result.closed);
      return;
    }
    c->sent += (size_t)n;
  }
}

static void start(struct conn *c, uint64_t from_ns) {
  c->phase = HEAD;
  c->sent = 0;
  c->from_ns = c->heard_ns = from_ns;
  c->body_at = c->body_left = c->events = 0;
  c->head_len = c->line_len = 0;
  c->bad = c->last_was_newline = c->will_close = false;
  if (c->fd < 0) open_conn(c);
  if (c->fd >= 0) write_request(c);
}

/* Open loop: sends what is due on the connections that are free. */
static void start_due(uint64_t now) {
  double spacing_ns = 1e9 / options.rate;
  if (now < open_start_ns) return;
  due_count = (uint64_t)((double)(now - open_start_ns) / spacing_ns) + 1;
  while (started_count < due_count && free_conns != NULL) {
    struct conn *c = free_conns;
    free_conns = c->next_free;
    start(c, open_start_ns + (uint64_t)((double)started_count * spacing_ns));
    started_count++;
  }
}

static void rest(struct conn *c) {
  c->phase = IDLE;
  if (options.rate == 0) {
    start(c, now_ns());
  } else {
    c->next_free = free_conns;
    free_conns = c;
    start_due(now_ns());
  }
}

static void fail(struct conn *c, uint64_t *counter) {
  if (measuring) (*counter)++;
  if (candidate_of == c) candidate_of = NULL;
  close(c->fd);
  c->fd = -1;
  if (options.rate == 0) {
    /* Begin again through the event loop of a fresh connection, not by recursion. */
    c->phase = HEAD;
    c->sent = 0;
    c->head_len = c->line_len = 0;
    c->body_at = c->events = 0;
    c->bad = false;
    c->from_ns = c->heard_ns = now_ns();
    open_conn(c);
  } else {
    c->phase = IDLE;
    c->next_free = free_conns;
    free_conns = c;
  }
}

/* ---- Reading ---- */

static void keep_reference(void) {
  reference = candidate;
  reference_len = candidate_len;
  events_before = must(calloc(reference_len + 1, sizeof *events_before));
  uint32_t events = 0;
  for (size_t i = 0; i < reference_len; i++) {
    events_before[i] = events;
    if (i > 0 && reference[i] == '\n' && reference[i - 1] == '\n') events++;
  }
  events_before[reference_len] = events;
  if (options.sample_path == NULL) return;
  FILE *file = fopen(options.sample_path, "w");
  if (file == NULL) die(options.sample_path);
  fwrite(reference, 1, reference_len, file);
  fclose(file);
}

static void body_bytes(struct conn *c, const char *bytes, size_t len) {
  if (c->body_at == 0 && len > 0 && measuring) record(&result.first_byte, now_ns() - c->from_ns);
  if (reference == NULL && candidate_of == NULL && c->body_at == 0) {
    candidate_of = c;
    candidate_len = 0;
    if (candidate == NULL) candidate = must(malloc(BODY_BYTES_MAX));
  }
  if (candidate_of == c && candidate_len + len <= BODY_BYTES_MAX) {
    memcpy(candidate + candidate_len, bytes, len);
    candidate_len += len;
  }
  uint64_t events = 0;
  if (!options.loose && reference != NULL) {
    if (c->body_at + len > reference_len ||
        memcmp(reference + c->body_at, bytes, len) != 0) {
      c->bad = true;
    } else {
      events = events_before[c->body_at + len] - events_before[c->body_at];
    }
  } else {
    for (size_t i = 0; i < len; i++) {
      if (bytes[i] == '\n' && c->last_was_newline) events++;
      c->last_was_newline = bytes[i] == '\n';
    }
  }
  c->body_at += len;
  if (measuring) {
    result.chunks += events;
    result.bytes += len;
  }
}

static void answer_done(struct conn *c) {
  if (candidate_of == c) {
    candidate_of = NULL;
    if (reference == NULL && candidate_len == c->body_at) keep_reference();
  }
  bool same = options.loose || reference == NULL || (c->body_at == reference_len && !c->bad);
  if (measuring) {
    if (!same) result.bad_body++;
    result.requests++;
    record(&result.latency, now_ns() - c->from_ns);
  }
  if (c->will_close) {
    close(c->fd);
    c->fd = -1;
  }
}

/* Reads a whole head in `c->head`. False: it was refused and the connection dropped. */
static bool read_head(struct conn *c) {
  c->head[c->head_len] = 0;
  int status = c->head_len > 12 ? atoi(c->head + 9) : 0;
  if (status != 200) {
    if (measuring) result.first_bad_status = status;
    fail(c, &result.bad_status);
    return false;
  }
  c->phase = IDLE;
  for (char *line = strstr(c->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, "content-length:", 15) == 0) {
      c->phase = BODY_LENGTH;
      c->body_left = strtoull(line + 15, NULL, 10);
    } else if (strncasecmp(line, "transfer-encoding: chunked", 26) == 0) {
      c->phase = CHUNK_SIZE;
      c->chunk_size = 0;
    } else if (strncasecmp(line, "connection: close", 17) == 0) {
      c->will_close = true;
    }
  }
  if (c->phase != IDLE) return true;
  fail(c, &result.bad_framing);
  return false;
}

/* Reads the answer in `bytes`. True: it is whole; nothing may follow, as one request is out. */
static bool read_answer(struct conn *c, const char *bytes, size_t len, bool *gone) {
  const char *end = bytes + len;
  while (bytes < end) {
    switch (c->phase) {
      case HEAD: {
        while (bytes < end && c->head_len < HEAD_BYTES_MAX - 1) {
          char byte = c->head[c->head_len++] = *bytes++;
          if (byte == '\n' && c->head_len >= 4 &&
              memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) == 0) {
            if (!read_head(c)) {
              *gone = true;
              return false;
            }
            break;
          }
        }
        if (c->phase == HEAD && c->head_len >= HEAD_BYTES_MAX - 1) {
          fail(c, &result.bad_framing);
          *gone = true;
          return false;
        }
        if (c->phase == BODY_LENGTH && c->body_left == 0) return true;
        break;
      }
      case BODY_LENGTH:
      case CHUNK_DATA: {
        size_t now = (size_t)(end - bytes);
        if (now > c->body_left) now = (size_t)c->body_left;
        body_bytes(c, bytes, now);
        bytes += now;
        c->body_left -= now;
        if (c->body_left > 0) break;
        if (c->phase == BODY_LENGTH) return bytes == end;
        c->phase = CHUNK_END;
        break;
      }
      case CHUNK_SIZE: {
        char byte = *bytes++;
        if (byte == '\n') {
          c->body_left = c->chunk_size;
          c->phase = c->chunk_size == 0 ? TRAILER : CHUNK_DATA;
          c->chunk_size = 0;
          c->line_len = 0;
        } else if (byte != '\r') {
          int digit = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;
          c->chunk_size = c->chunk_size * 16 + (uint64_t)digit;
        }
        break;
      }
      case CHUNK_END:
        if (*bytes++ == '\n') c->phase = CHUNK_SIZE;
        break;
      case TRAILER: {
        char byte = *bytes++;
        if (byte == '\n') {
          if (c->line_len == 0) return bytes == end;
          c->line_len = 0;
        } else if (byte != '\r') {
          c->line_len++;
        }
        break;
      }
      case IDLE: /* Bytes that no request asked for. */
        fail(c, &result.bad_framing);
        *gone = true;
        return false;
    }
  }
  return false;
}

static void readable(struct conn *c) {
  static char buffer[READ_BYTES];
  for (;;) {
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      if (c->phase == IDLE) { /* An idle connection may be closed: open a new one when needed. */
        close(c->fd);
        c->fd = -1;
      } else {
        fail(c, &result.closed);
      }
      return;
    }
    c->heard_ns = now_ns();
    bool gone = false;
    if (read_answer(c, buffer, (size_t)n, &gone)) {
      answer_done(c);
      rest(c);
      return; /* The next answer comes with an event of its own. */
    }
    if (gone || (size_t)n < sizeof buffer) return;
  }
}

/* ---- The run ---- */

static void load_request(void) {
  char *body = must(malloc(BODY_BYTES_MAX));
  FILE *file = fopen(options.body_path, "r");
  if (file == NULL) die(options.body_path);
  size_t body_len = fread(body, 1, BODY_BYTES_MAX, file);
  fclose(file);
  request = must(malloc(body_len + 4096));
  int head = snprintf(request, 4096,
      "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
      "Content-Type: application/json\r\nUser-Agent: OpenAI/JS 7.57.0\r\n"
      "X-Stainless-Lang: js\r\nX-Stainless-Package-Version: 7.57.0\r\nX-Stainless-OS: Linux\r\n"
      "X-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\n"
      "X-Stainless-Retry-Count: 0\r\n%s\r\nContent-Length: %zu\r\n\r\n",
      options.path, ntohs(options.to.sin_port), options.key, body_len);
  if (head >= 4096) die("header");
  memcpy(request + head, body, body_len);
  request_len = (size_t)head + body_len;
  free(body);
}

static void read_options(int argc, char **argv) {
  options.to.sin_family = AF_INET;
  options.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  options.key = "Authorization: Bearer bench";
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--loose") == 0) {
      options.loose = true;
      continue;
    }
    if (i + 1 == argc) die(name);
    const char *value = argv[++i];
    if (strcmp(name, "--port") == 0) options.to.sin_port = htons((uint16_t)atoi(value));
    else if (strcmp(name, "--path") == 0) options.path = value;
    else if (strcmp(name, "--headers") == 0) options.key = value; /* Lines joined by CR LF. */
    else if (strcmp(name, "--body") == 0) options.body_path = value;
    else if (strcmp(name, "--sample") == 0) options.sample_path = value;
    else if (strcmp(name, "--connections") == 0) options.connections = atoi(value);
    else if (strcmp(name, "--seconds") == 0) options.seconds = atof(value);
    else if (strcmp(name, "--warm") == 0) options.warm_seconds = atof(value);
    else if (strcmp(name, "--ramp") == 0) options.ramp_seconds = atof(value);
    else if (strcmp(name, "--rate") == 0) options.rate = atof(value);
    else {
      fprintf(stderr, "load: unknown option %s\n", name);
      exit(2);
    }
  }
  if (options.to.sin_port == 0 || options.body_path == NULL || options.connections < 1 ||
      options.connections > CONNECTIONS_MAX) {
    fprintf(stderr, "usage: load --port N --body FILE [--connections N] [--seconds S] [--warm S]\n"
            "  [--ramp S] [--rate PER_SECOND] [--path P] [--headers LINES] [--sample FILE] [--loose]\n");
    exit(2);
  }
}

static void print_result(double seconds) {
  uint64_t now = now_ns();
  for (int i = 0; i < options.connections; i++) {
    struct conn *c = &conns[i];
    if (c->phase != IDLE && now - c->heard_ns > (uint64_t)STALL_MS * 1000000u) result.stalled++;
  }
  if (options.rate > 0) {
    start_due(now);
    result.late = due_count - started_count;
  }
  printf("{\"seconds\":%.3f,\"requests\":%llu,\"chunks\":%llu,\"bytes\":%llu,\"connects\":%llu,",
         seconds, (unsigned long long)result.requests, (unsigned long long)result.chunks,
         (unsigned long long)result.bytes, (unsigned long long)result.connects);
  print_histogram("latencyUs", &result.latency);
  print_histogram("firstByteUs", &result.first_byte);
  printf("\"sampleBytes\":%zu,\"unsent\":%llu,\"errors\":{\"status\":%llu,\"lastStatus\":%d,"
         "\"body\":%llu,\"framing\":%llu,\"closed\":%llu,\"refused\":%llu,\"stalled\":%llu}}\n",
         reference_len, (unsigned long long)result.late, (unsigned long long)result.bad_status,
         result.first_bad_status, (unsigned long long)result.bad_body,
         (unsigned long long)result.bad_framing, (unsigned long long)result.closed,
         (unsigned long long)result.refused, (unsigned long long)result.stalled);
  fflush(stdout);
}

static void say(const char *line) {
  puts(line);
  fflush(stdout);
}

/* How long epoll may wait: never past `until`. The open loop's requests come by its timer. */
static int wait_ms(uint64_t until) {
  uint64_t now = now_ns();
  if (now >= until) return 0;
  uint64_t ms = (until - now) / 1000000u + 1;
  return ms > 10 ? 10 : (int)ms;
}

static void serve_until(uint64_t until, int timer_fd) {
  struct epoll_event events[EVENTS_MAX];
  while (now_ns() < until) {
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, wait_ms(until));
    for (int i = 0; i < count; i++) {
      struct conn *c = events[i].data.ptr;
      if (c == NULL) {
        uint64_t expirations;
        if (read(timer_fd, &expirations, sizeof expirations) > 0) start_due(now_ns());
        continue;
      }
      if (c->fd < 0) continue;
      uint32_t what = events[i].events;
      if ((what & EPOLLOUT) && c->phase == HEAD && c->sent < request_len) {
        int fd = c->fd;
        write_request(c);
        if (c->fd != fd) continue;
      }
      if (what & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) readable(c);
    }
  }
}

/* A timer that ticks at the rate; where several requests are due at once, one tick starts all. */
static int start_timer(void) {
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  uint64_t spacing = (uint64_t)(1e9 / options.rate);
  struct timespec each = {.tv_sec = (time_t)(spacing / 1000000000u),
                          .tv_nsec = (long)(spacing % 1000000000u)};
  open_start_ns = now_ns() + 1000000;
  struct itimerspec when = {.it_interval = each};
  when.it_value.tv_sec = (time_t)(open_start_ns / 1000000000u);
  when.it_value.tv_nsec = (long)(open_start_ns % 1000000000u);
  timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  return fd;
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  load_request();
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* Never outlives the driver. */
  prctl(PR_SET_TIMERSLACK, 1000);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  conns = must(calloc((size_t)options.connections, sizeof *conns));
  int timer_fd = -1;
  uint64_t begin = now_ns();
  for (int i = 0; i < options.connections; i++) {
    struct conn *c = &conns[i];
    c->fd = -1;
    c->head = must(malloc(HEAD_BYTES_MAX));
    if (options.rate == 0) {
      double share = (double)i / options.connections;
      serve_until(begin + (uint64_t)(options.ramp_seconds * 1e9 * share), timer_fd);
      start(c, now_ns());
    } else {
      c->next_free = free_conns;
      free_conns = c;
      open_conn(c);
    }
  }
  if (options.rate > 0) timer_fd = start_timer();
  serve_until(now_ns() + (uint64_t)(options.warm_seconds * 1e9), timer_fd);
  measuring = true;
  uint64_t from = now_ns();
  say("begin");
  serve_until(from + (uint64_t)(options.seconds * 1e9), timer_fd);
  double seconds = (double)(now_ns() - from) / 1e9;
  measuring = false;
  say("end");
  serve_until(now_ns() + 50000000u, timer_fd); /* The driver reads the CPU's clock meanwhile. */
  print_result(seconds);
  return 0;
}
