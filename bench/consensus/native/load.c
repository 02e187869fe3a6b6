/*
 * A load generator for replicated key-value stores: one thread, epoll, one connection a client, one
 * request at a time on each, as fast as answers come. The same program drives both systems:
 *
 *   etcd     gRPC over HTTP/2: KV/Put and KV/Range, header fields indexed after the first request
 *   banyan   HTTP/1.1: PUT and GET /v1/kv/KEY; --sessions gives every client a session of its own
 *   claims   --op claim: a key that nobody had before. KV/Txn that creates it, or PUT /v1/claims/KEY
 *
 * Keys are drawn at random from --keys; with --fill N they are put in order, N puts and no more.
 * Values are random bytes. An answer is right when it is whole
 * and says that it was done; a read must bring back a value of the right length.
 *
 * --timeout gives up on an answer (the connection is opened again), --pause waits before the next
 * request, --events prints a line for each answer: time and latency (ns), port.
 *
 * stdout: "begin" and "end" lines around the measured time, then one line of JSON. Latencies in µs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum {
  EVENTS_MAX = 256,
  CLIENTS_MAX = 4096,
  PORTS_MAX = 8,
  IN_BYTES = 64 << 10,
  OUT_BYTES = 80 << 10,
  VALUE_BYTES_MAX = 48 << 10,
  SUB_BITS = 7, /* Histogram: 128 buckets to each doubling, an error below 1 %. */
  HISTOGRAM_SIZE = 64 << SUB_BITS,
  TICK_MS = 5,
  RETRY_NS = 20000000, /* After a failure; not the pause: whoever failed tries on. */
  HEADER_TABLE_FIRST = 62, /* HPACK: where the dynamic table begins. */
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

/* ---- State ---- */

enum op { PUT, GET, LOCAL, CLAIM };

struct client {
  int fd; /* -1: not open. */
  int port_index;
  bool waiting;       /* A request is out. */
  bool session_asked; /* The request that is out opens the session. */
  uint64_t from_ns;   /* When the request left. */
  uint64_t due_ns;    /* When the next may leave, where none is out. */
  uint64_t seq, session;
  size_t out_len, out_sent, in_len;
  /* HTTP/2: */
  uint32_t stream;
  int64_t window; /* What the server still takes on this connection. */
  size_t message_len;
  bool headers_indexed;
  char in[IN_BYTES], out[OUT_BYTES];
};

static struct {
  int ports[PORTS_MAX], ports_count;
  bool is_etcd, with_sessions, with_events;
  enum op op;
  int clients, value_bytes;
  uint64_t keys, fill, pause_ns, timeout_ns, seed;
  double seconds, warm_seconds;
} options = {.clients = 1, .value_bytes = 256, .keys = 10000, .seconds = 3, .warm_seconds = 0.5, .seed = 1};

static struct {
  uint64_t requests, refused, closed, wrong, timeouts, connects;
  char first_wrong[160];
  struct histogram latency;
} result;

static struct client *clients;
static bool measuring;
static int epoll_fd;
static uint64_t random_state, fill_next, fill_done;
static char value[VALUE_BYTES_MAX];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t next_random(void) { /* splitmix64 */
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void send_next(struct client *c);

/* ---- Connections ---- */

static void open_client(struct client *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = htons((uint16_t)options.ports[c->port_index]);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c->out_len = c->out_sent = c->in_len = 0;
  c->stream = 0;
  c->window = 65535;
  c->headers_indexed = false;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
    close(c->fd);
    c->fd = -1;
    return;
  }
  result.connects++;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

static void drop(struct client *c, uint64_t *counter) {
  if (measuring && c->waiting) (*counter)++;
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->waiting = false;
  c->due_ns = now_ns() + RETRY_NS;
}

static void flush_out(struct client *c) {
  while (c->out_sent < c->out_len) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN || errno == ENOTCONN) return;
      drop(c, &result.closed);
      return;
    }
    c->out_sent += (size_t)n;
  }
  c->out_len = c->out_sent = 0;
}

static void put_bytes(struct client *c, const void *bytes, size_t len) {
  if (c->out_len + len > OUT_BYTES) die("output");
  memcpy(c->out + c->out_len, bytes, len);
  c->out_len += len;
}

/* ---- HTTP/2 and gRPC ---- */

static void put_frame(struct client *c, size_t len, int type, int flags, uint32_t stream) {
  unsigned char head[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len,
      (unsigned char)type, (unsigned char)flags, (unsigned char)(stream >> 24),
      (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
  put_bytes(c, head, sizeof head);
}

/* A literal that the server keeps: the name by its place in the static table, or spelt out. */
static size_t hpack_literal(unsigned char *to, int name_index, const char *name, const char *text) {
  size_t at = 0;
  to[at++] = (unsigned char)(0x40 | name_index);
  if (name_index == 0) {
    to[at++] = (unsigned char)strlen(name);
    memcpy(to + at, name, strlen(name));
    at += strlen(name);
  }
  to[at++] = (unsigned char)strlen(text);
  memcpy(to + at, text, strlen(text));
  return at + strlen(text);
}

static size_t put_varint(unsigned char *to, uint64_t number) {
  size_t at = 0;
  for (; number >= 128; number >>= 7) to[at++] = (unsigned char)(number | 128);
  to[at++] = (unsigned char)number;
  return at;
}

/* Field `number` with so many bytes. */
static size_t put_field(unsigned char *to, int number, const void *bytes, size_t len) {
  size_t at = 0;
  to[at++] = (unsigned char)(number << 3 | 2);
  at += put_varint(to + at, len);
  memcpy(to + at, bytes, len);
  return at + len;
}

/* A transaction: where nobody has created the key, put it. */
static size_t put_txn(unsigned char *to, const char *key) {
  static unsigned char compare[64], put[64 + VALUE_BYTES_MAX], request[80 + VALUE_BYTES_MAX];
  size_t compare_len = 0, put_len = 0, request_len, at;
  compare[compare_len++] = 2 << 3; /* target: the revision of its creation */
  compare[compare_len++] = 1;
  compare_len += put_field(compare + compare_len, 3, key, strlen(key));
  compare[compare_len++] = 5 << 3; /* is 0 */
  compare[compare_len++] = 0;
  put_len += put_field(put, 1, key, strlen(key));
  put_len += put_field(put + put_len, 2, value, (size_t)options.value_bytes);
  request_len = put_field(request, 2, put, put_len);
  at = put_field(to, 1, compare, compare_len);
  return at + put_field(to + at, 2, request, request_len);
}

static void send_grpc(struct client *c, const char *key, enum op op) {
  bool is_put = op == PUT, is_local = op == LOCAL;
  unsigned char head[256], message[256 + VALUE_BYTES_MAX];
  size_t head_len = 0, len = 5;
  if (c->stream == 0) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /* No push; a window of 2^31 - 1 for each stream; no header table for the answers. */
    static const unsigned char settings[] = {0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0,
        0, 4, 0x7f, 0xff, 0xff, 0xff};
    static const unsigned char window[] = {0x7f, 0xfe, 0, 0};
    put_bytes(c, preface, sizeof preface - 1);
    put_frame(c, sizeof settings, 4, 0, 0);
    put_bytes(c, settings, sizeof settings);
    put_frame(c, sizeof window, 8, 0, 0);
    put_bytes(c, window, sizeof window);
    c->stream = 1;
  } else {
    c->stream += 2;
  }
  head[head_len++] = 0x83; /* :method: POST */
  head[head_len++] = 0x86; /* :scheme: http */
  if (!c->headers_indexed) {
    const char *path = op == CLAIM ? "/etcdserverpb.KV/Txn"
        : is_put ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range";
    head_len += hpack_literal(head + head_len, 4, "", path);
    head_len += hpack_literal(head + head_len, 1, "", "127.0.0.1");
    head_len += hpack_literal(head + head_len, 31, "", "application/grpc");
    head_len += hpack_literal(head + head_len, 0, "te", "trailers");
    c->headers_indexed = true;
  } else {
    for (int i = 3; i >= 0; i--) head[head_len++] = (unsigned char)(0x80 | (HEADER_TABLE_FIRST + i));
  }
  len += op == CLAIM ? put_txn(message + len, key) : put_field(message + len, 1, key, strlen(key));
  if (is_put) {
    len += put_field(message + len, 2, value, (size_t)options.value_bytes);
  } else if (is_local) {
    message[len++] = 7 << 3; /* serializable */
    message[len++] = 1;
  }
  size_t body = len - 5;
  message[0] = 0;
  for (int i = 0; i < 4; i++) message[1 + i] = (unsigned char)(body >> (24 - 8 * i));
  if (c->window < (int64_t)len) die("the server's window is used up");
  c->window -= (int64_t)len;
  c->message_len = 0;
  put_frame(c, head_len, 1, 4, c->stream);
  put_bytes(c, head, head_len);
  put_frame(c, len, 0, 1, c->stream);
  put_bytes(c, message, len);
}

/* ---- HTTP/1.1 ---- */

static void send_http(struct client *c, const char *key, enum op op) {
  char head[512], session[128] = "";
  int len;
  if (options.with_sessions && c->session == 0) {
    len = snprintf(head, sizeof head,
        "POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n");
    put_bytes(c, head, (size_t)len);
    c->session_asked = true;
    return;
  }
  c->session_asked = false;
  if (op != PUT && op != CLAIM) {
    len = snprintf(head, sizeof head, "GET /v1/kv/%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", key,
        op == LOCAL ? "?read=local" : "");
    put_bytes(c, head, (size_t)len);
    return;
  }
  if (c->session != 0) {
    unsigned long long seq = (unsigned long long)++c->seq;
    snprintf(session, sizeof session,
        "banyan-session: %llu\r\nbanyan-seq: %llu\r\nbanyan-unacked: %llu\r\n",
        (unsigned long long)c->session, seq, seq);
  }
  len = snprintf(head, sizeof head,
      "PUT /v1/%s/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %d\r\n\r\n",
      op == CLAIM ? "claims" : "kv", key, session, options.value_bytes);
  put_bytes(c, head, (size_t)len);
  put_bytes(c, value, (size_t)options.value_bytes);
}

/* ---- Requests and answers ---- */

static void send_next(struct client *c) {
  char key[32];
  enum op op = options.fill > 0 ? PUT : options.op;
  if (options.fill > 0 && fill_next >= options.fill) return;
  uint64_t number = options.fill > 0 ? fill_next++ % options.keys : next_random() % options.keys;
  static uint64_t claims;
  if (op == CLAIM) number = options.seed << 32 | claims++;
  snprintf(key, sizeof key, "bench-%08llu", (unsigned long long)number);
  uint64_t random = next_random(); /* No two values are the same. */
  memcpy(value, &random, sizeof random);
  if (c->fd < 0) open_client(c);
  if (c->fd < 0) {
    drop(c, &result.refused);
    return;
  }
  if (options.is_etcd) send_grpc(c, key, op);
  else send_http(c, key, op);
  c->waiting = true;
  c->from_ns = now_ns();
  flush_out(c);
}

static void wrong(struct client *c, const char *what, const char *bytes, size_t len) {
  if (result.first_wrong[0] == 0) {
    snprintf(result.first_wrong, sizeof result.first_wrong, "%s: %.*s", what, (int)(len < 80 ? len : 80),
        bytes);
    for (char *p = result.first_wrong; *p != 0; p++) {
      if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\') *p = '.';
    }
  }
  drop(c, &result.wrong);
}

static void answer_done(struct client *c) {
  uint64_t now = now_ns();
  c->waiting = false;
  fill_done++;
  if (measuring) {
    result.requests++;
    record(&result.latency, now - c->from_ns);
  }
  if (options.with_events) {
    printf("%llu %llu %d\n", (unsigned long long)now, (unsigned long long)(now - c->from_ns),
        options.ports[c->port_index]);
  }
  c->due_ns = now + options.pause_ns;
  if (options.pause_ns == 0) send_next(c);
}

/* Takes whole frames off the input. False: the connection is gone. */
static bool read_http2(struct client *c) {
  size_t at = 0;
  bool is_done = false;
  while (c->in_len - at >= 9) {
    const unsigned char *f = (const unsigned char *)c->in + at;
    size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
    int type = f[3], flags = f[4];
    uint32_t stream = (uint32_t)(f[5] & 0x7f) << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
    if (len > IN_BYTES - 9) die("frame");
    if (c->in_len - at < 9 + len) break;
    at += 9 + len;
    if (type == 8 && stream == 0) {
      c->window += (int64_t)f[9] << 24 | (int64_t)f[10] << 16 | (int64_t)f[11] << 8 | f[12];
    } else if ((type == 4 || type == 6) && (flags & 1) == 0) {
      put_frame(c, type == 6 ? len : 0, type, 1, 0);
      if (type == 6) put_bytes(c, f + 9, len);
    } else if (type == 7 || (type == 3 && stream == c->stream)) {
      wrong(c, "reset", (const char *)f, 9);
      return false;
    } else if (stream == c->stream && type == 0) {
      c->message_len += len;
    }
    if (stream != c->stream || (type != 0 && type != 1) || (flags & 1) == 0) continue;
    /* A unary call that failed ends without a message. */
    size_t least = options.op == PUT || options.op == CLAIM || options.fill > 0 ? 6 : 5 + (size_t)options.value_bytes;
    if (c->message_len < least) {
      wrong(c, "refused", (const char *)f + 9, len);
      return false;
    }
    is_done = true;
  }
  memmove(c->in, c->in + at, c->in_len - at);
  c->in_len -= at;
  if (c->out_len > 0) flush_out(c);
  if (is_done && c->fd >= 0) answer_done(c);
  return c->fd >= 0;
}

static bool read_http1(struct client *c) {
  char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
  if (end == NULL) return true;
  *end = 0;
  size_t head = (size_t)(end - c->in) + 4;
  const char *length = strcasestr(c->in, "\r\ncontent-length:");
  size_t body = length == NULL ? 0 : strtoull(length + 17, NULL, 10);
  *end = '\r';
  if (head + body > IN_BYTES - 1) die("answer");
  if (c->in_len < head + body) return true;
  int status = atoi(c->in + 9);
  bool is_get = options.op != PUT && options.op != CLAIM && options.fill == 0 && !c->session_asked;
  bool is_right = status / 100 == 2 && (!is_get || body == (size_t)options.value_bytes);
  if (!is_right || c->in_len > head + body) {
    wrong(c, "answer", c->in, c->in_len);
    return false;
  }
  c->in[c->in_len] = 0;
  c->in_len = 0;
  if (c->session_asked) {
    const char *number = strstr(c->in + head, ":");
    c->session = number == NULL ? 0 : strtoull(number + 1, NULL, 10);
    if (c->session == 0) die("session");
    c->session_asked = false;
    send_next(c);
  } else {
    answer_done(c);
  }
  return c->fd >= 0;
}

static void readable(struct client *c) {
  for (;;) {
    ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - 1 - c->in_len, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      drop(c, n < 0 && errno == ECONNREFUSED ? &result.refused : &result.closed);
      return;
    }
    c->in_len += (size_t)n;
    if (!(options.is_etcd ? read_http2(c) : read_http1(c))) return;
  }
}

/* ---- The run ---- */

static void read_ports(char *text) {
  for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ",")) {
    if (options.ports_count == PORTS_MAX) die("--ports");
    options.ports[options.ports_count++] = atoi(part);
  }
}

static void read_options(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--sessions") == 0) { options.with_sessions = true; continue; }
    if (strcmp(name, "--events") == 0) { options.with_events = true; continue; }
    if (i + 1 == argc) die(name);
    char *text = argv[++i];
    if (strcmp(name, "--ports") == 0) read_ports(text);
    else if (strcmp(name, "--protocol") == 0) options.is_etcd = strcmp(text, "etcd") == 0;
    else if (strcmp(name, "--op") == 0) {
      options.op = strcmp(text, "put") == 0 ? PUT
          : strcmp(text, "get") == 0 ? GET : strcmp(text, "claim") == 0 ? CLAIM : LOCAL;
    }
    else if (strcmp(name, "--clients") == 0) options.clients = atoi(text);
    else if (strcmp(name, "--value") == 0) options.value_bytes = atoi(text);
    else if (strcmp(name, "--fill") == 0) options.fill = strtoull(text, NULL, 10);
    else if (strcmp(name, "--keys") == 0) options.keys = strtoull(text, NULL, 10);
    else if (strcmp(name, "--seed") == 0) options.seed = strtoull(text, NULL, 10);
    else if (strcmp(name, "--seconds") == 0) options.seconds = atof(text);
    else if (strcmp(name, "--warm") == 0) options.warm_seconds = atof(text);
    else if (strcmp(name, "--pause") == 0) options.pause_ns = (uint64_t)(atof(text) * 1e6);
    else if (strcmp(name, "--timeout") == 0) options.timeout_ns = (uint64_t)(atof(text) * 1e6);
    else die(name);
  }
  bool is_sound = options.ports_count > 0 && options.keys > 0 && options.clients > 0 &&
      options.clients <= CLIENTS_MAX && options.value_bytes >= 8 && options.value_bytes <= VALUE_BYTES_MAX;
  if (!is_sound) die("options");
}

/* Sends what is due and gives up on what is late. */
static void tick(uint64_t now) {
  for (int i = 0; i < options.clients; i++) {
    struct client *c = &clients[i];
    if (c->waiting) {
      if (options.timeout_ns != 0 && now - c->from_ns > options.timeout_ns) drop(c, &result.timeouts);
    } else if (now >= c->due_ns) {
      send_next(c);
    }
  }
}

static void print_result(double seconds, double cpu_seconds) {
  const struct histogram *h = &result.latency;
  double mean = h->count == 0 ? 0 : (double)h->sum / (double)h->count / 1000;
  printf("{\"seconds\":%.3f,\"cpuSeconds\":%.3f,\"requests\":%llu,\"wrong\":%llu,\"closed\":%llu,"
         "\"refused\":%llu,\"timeouts\":%llu,\"firstWrong\":\"%s\",\"latencyUs\":{\"mean\":%.1f,"
         "\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}}\n",
         seconds, cpu_seconds, (unsigned long long)result.requests, (unsigned long long)result.wrong,
         (unsigned long long)result.closed, (unsigned long long)result.refused,
         (unsigned long long)result.timeouts, result.first_wrong, mean, quantile_us(h, 0.5),
         quantile_us(h, 0.9), quantile_us(h, 0.99), quantile_us(h, 0.999), (double)h->max / 1000);
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setvbuf(stdout, NULL, _IOLBF, 1 << 16);
  read_options(argc, argv);
  random_state = options.seed;
  for (int i = 0; i < options.value_bytes; i++) value[i] = (char)('a' + next_random() % 26);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  clients = calloc((size_t)options.clients, sizeof *clients);
  if (epoll_fd < 0 || clients == NULL) die("start");
  uint64_t start_ns = now_ns(), begin_ns = 0, last_tick_ns = 0;
  double cpu_before = 0;
  for (int i = 0; i < options.clients; i++) {
    clients[i].fd = -1;
    clients[i].port_index = i % options.ports_count;
    /* Those that pause are spread over their pause. */
    clients[i].due_ns = start_ns + options.pause_ns * (uint64_t)i / (uint64_t)options.clients;
  }
  for (;;) {
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, TICK_MS);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      struct client *c = events[i].data.ptr;
      if (c->fd >= 0 && (events[i].events & EPOLLOUT) != 0) flush_out(c);
      if (c->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0) readable(c);
    }
    uint64_t now = now_ns();
    if (now - last_tick_ns >= TICK_MS * 1000000u) {
      last_tick_ns = now;
      tick(now);
    }
    double elapsed = (double)(now - start_ns) / 1e9;
    if (options.fill > 0) {
      if (fill_done >= options.fill) break;
      if (elapsed > options.seconds) die("filling took too long");
      continue;
    }
    if (!measuring && elapsed >= options.warm_seconds) {
      puts("begin");
      measuring = true;
      begin_ns = now;
      cpu_before = cpu_seconds();
    }
    if (measuring && (double)(now - begin_ns) / 1e9 >= options.seconds) break;
  }
  puts("end");
  print_result((double)(now_ns() - (options.fill > 0 ? start_ns : begin_ns)) / 1e9, cpu_seconds() - cpu_before);
  return 0;
}
