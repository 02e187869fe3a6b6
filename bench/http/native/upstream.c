/*
 * A model server that costs next to nothing: answers POST /v1/chat/completions with canned bytes,
 * so that what a benchmark measures is the gateway in front. One thread, epoll, HTTP/1.1 keep-alive.
 *
 * The request's body says what to answer, by a word in its first message (all gateways pass it on):
 *
 *   bench:json=1024             one JSON answer of exactly that many bytes, with usage
 *   bench:sse=200,write=1,gap=0 a stream of 200 events of about 200 bytes, each its own HTTP chunk,
 *                               `write` of them a write; `gap` ms between writes, 0: as fast as the
 *                               socket takes them, streams taking turns
 *
 * Each event carries its number, so that a lost, doubled or reordered one changes the bytes.
 *
 *   upstream PORT [PORT ...]    prints "ready" once all ports listen on 127.0.0.1
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  EVENTS_MAX = 256,
  PORTS_MAX = 16,
  REQUEST_BYTES_MAX = 16 << 20,
  ANSWERS_MAX = 32,
  STREAM_EVENTS_MAX = 100000,
  JSON_BYTES_MIN = 512,
  JSON_BYTES_MAX = 4 << 20,
};

/* One canned answer, made on first use and kept. `ends[i]`: where the i-th piece of it ends. */
struct answer {
  bool stream;
  int size; /* Bytes of the JSON, or events of the stream. */
  char *bytes;
  size_t *ends;
  int pieces;
};

struct conn {
  int fd;
  bool listener;
  bool queued;   /* In the run queue. */
  bool blocked;  /* The socket took no more; EPOLLOUT moves it on. */
  int heap_slot; /* In the timer heap, or -1. */
  uint64_t due_ns;
  struct conn *next;

  char *in;
  size_t in_len, in_cap;

  const struct answer *answer; /* Under way, or NULL. */
  size_t sent;                 /* Bytes written of it. */
  int allowed;                 /* Pieces that may be written so far. */
  int pieces_per_write, gap_ms;
};

static struct answer answers[ANSWERS_MAX];
static int answer_count;
static struct conn *run_head, *run_tail;
static struct conn **heap;
static int heap_len, heap_cap;
static int epoll_fd;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void *must(void *memory) {
  if (memory == NULL) die("memory");
  return memory;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Canned answers ---- */

static const char HEAD_JSON[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n";
static const char HEAD_SSE[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

static void make_json(struct answer *a) {
  static const char before[] =
      "{\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":\"chat.completion\","
      "\"created\":1767225600,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":"
      "{\"role\":\"assistant\",\"content\":\"";
  static const char after[] =
      "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":480,"
      "\"completion_tokens\":160,\"total_tokens\":640}}";
  static const char word[] = "parcel ";
  int fill = a->size - (int)(sizeof before - 1) - (int)(sizeof after - 1);
  char *out = a->bytes = must(malloc((size_t)a->size + 256));
  out += sprintf(out, HEAD_JSON, a->size);
  out = stpcpy(out, before);
  for (int i = 0; i < fill; i++) *out++ = word[i % (int)(sizeof word - 1)];
  out = stpcpy(out, after);
  a->pieces = 1;
  a->ends = must(malloc(sizeof *a->ends));
  a->ends[0] = (size_t)(out - a->bytes);
}

/* Appends one SSE event as an HTTP chunk of its own. */
static char *add_event(char *out, const char *format, ...) {
  char event[512];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(event, sizeof event, format, args);
  va_end(args);
  return out + sprintf(out, "%x\r\n%s\r\n", len, event);
}

#define EVENT_BEGIN                                                                     \
  "data: {\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":"                  \
  "\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"bench-model\",\"choices\":"

/* The last piece carries the finish, the usage, [DONE] and the last chunk with it. */
static void make_stream(struct answer *a) {
  char *out = a->bytes = must(malloc((size_t)a->size * 256 + 4096));
  a->ends = must(malloc(sizeof *a->ends * (size_t)a->size));
  a->pieces = a->size;
  out = stpcpy(out, HEAD_SSE);
  for (int i = 0; i < a->size; i++) {
    const char *role = i == 0 ? "\"role\":\"assistant\"," : "";
    out = add_event(out, EVENT_BEGIN "[{\"index\":0,\"delta\":{%s\"content\":\" w%05d\"},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n", role, i);
    if (i == a->size - 1) {
      out = add_event(out, EVENT_BEGIN "[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                      "\"finish_reason\":\"stop\"}]}\n\n");
      out = add_event(out, EVENT_BEGIN "[],\"usage\":{\"prompt_tokens\":480,"
                      "\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", i + 1, i + 481);
      out = add_event(out, "data: [DONE]\n\n");
      out = stpcpy(out, "0\r\n\r\n");
    }
    a->ends[i] = (size_t)(out - a->bytes);
  }
}

/* The answer of that shape, or NULL where the request asks for none that can be made. */
static const struct answer *answer_of(bool stream, int size) {
  for (int i = 0; i < answer_count; i++)
    if (answers[i].stream == stream && answers[i].size == size) return &answers[i];
  if (answer_count == ANSWERS_MAX) return NULL;
  if (stream ? size < 1 || size > STREAM_EVENTS_MAX
             : size < JSON_BYTES_MIN || size > JSON_BYTES_MAX)
    return NULL;
  struct answer *a = &answers[answer_count++];
  *a = (struct answer){.stream = stream, .size = size};
  if (stream) make_stream(a);
  else make_json(a);
  return a;
}

/* ---- Turns: a queue of streams that may write now, a heap of those that wait for a time ---- */

static void run_later(struct conn *c) {
  if (c->queued) return;
  c->queued = true;
  c->next = NULL;
  if (run_tail == NULL) run_head = c;
  else run_tail->next = c;
  run_tail = c;
}

static void heap_put(int slot, struct conn *c) {
  heap[slot] = c;
  c->heap_slot = slot;
}

static void heap_sift(int slot) {
  struct conn *c = heap[slot];
  while (slot > 0 && heap[(slot - 1) / 2]->due_ns > c->due_ns) {
    heap_put(slot, heap[(slot - 1) / 2]);
    slot = (slot - 1) / 2;
  }
  for (int child; (child = 2 * slot + 1) < heap_len; slot = child) {
    if (child + 1 < heap_len && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
    if (heap[child]->due_ns >= c->due_ns) break;
    heap_put(slot, heap[child]);
  }
  heap_put(slot, c);
}

static void run_at(struct conn *c, uint64_t due_ns) {
  if (heap_len == heap_cap) {
    heap_cap = heap_cap == 0 ? 256 : heap_cap * 2;
    heap = must(realloc(heap, sizeof *heap * (size_t)heap_cap));
  }
  c->due_ns = due_ns;
  heap_put(heap_len, c);
  heap_len++;
  heap_sift(heap_len - 1);
}

static void heap_remove(struct conn *c) {
  int slot = c->heap_slot;
  if (slot < 0) return;
  c->heap_slot = -1;
  heap_len--;
  if (slot == heap_len) return;
  heap_put(slot, heap[heap_len]);
  heap_sift(slot);
}

/* ---- Connections ---- */

static void drop(struct conn *c) {
  heap_remove(c);
  close(c->fd);
  c->fd = -1;
  c->answer = NULL;
  free(c->in);
  c->in = NULL;
  if (!c->queued) free(c); /* Else the run queue frees it when its turn comes. */
}

/* Writes what is allowed and not yet sent. False: the connection is gone. */
static bool flush(struct conn *c) {
  const struct answer *a = c->answer;
  size_t until = a->ends[c->allowed - 1];
  while (c->sent < until) {
    ssize_t n = send(c->fd, a->bytes + c->sent, until - c->sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) {
        c->blocked = true;
        return true;
      }
      drop(c);
      return false;
    }
    c->sent += (size_t)n;
  }
  return true;
}

static void read_requests(struct conn *c);

/* One turn: what one write sends. Then the next turn is arranged, or the next request is read. */
static void turn(struct conn *c) {
  if (!c->blocked) {
    c->allowed += c->pieces_per_write;
    if (c->allowed > c->answer->pieces) c->allowed = c->answer->pieces;
  }
  c->blocked = false;
  if (!flush(c) || c->blocked) return;
  if (c->sent == c->answer->ends[c->answer->pieces - 1]) {
    c->answer = NULL;
    if (c->in_len > 0) read_requests(c);
  } else if (c->gap_ms == 0) {
    run_later(c);
  } else {
    run_at(c, now_ns() + (uint64_t)c->gap_ms * 1000000u);
  }
}

/* The number behind `name=` in `text`, or `otherwise`. */
static int parameter(const char *text, size_t len, const char *name, int otherwise) {
  const char *found = memmem(text, len, name, strlen(name));
  return found == NULL ? otherwise : atoi(found + strlen(name));
}

static bool begin_answer(struct conn *c, const char *body, size_t len) {
  const char *order = memmem(body, len, "bench:", 6);
  if (order == NULL) return false;
  const char *space = memchr(order, ' ', len - (size_t)(order - body));
  if (space == NULL) return false;
  size_t order_len = (size_t)(space - order);
  int events = parameter(order, order_len, "sse=", 0);
  int bytes = parameter(order, order_len, "json=", 0);
  c->answer = answer_of(events > 0, events > 0 ? events : bytes);
  if (c->answer == NULL) return false;
  c->sent = 0;
  c->allowed = 0;
  c->blocked = false;
  c->pieces_per_write = parameter(order, order_len, "write=", 1);
  if (c->pieces_per_write < 1) c->pieces_per_write = 1;
  c->gap_ms = parameter(order, order_len, "gap=", 0);
  turn(c);
  return true;
}

/* Length of the body that the head declares, or -1 where it declares none. */
static long body_length(const char *head, size_t len) {
  static const char name[] = "\ncontent-length:";
  for (const char *at = head; (at = memchr(at, '\n', len - (size_t)(at - head))) != NULL; at++) {
    if (len - (size_t)(at - head) < sizeof name) return -1;
    if (strncasecmp(at, name, sizeof name - 1) == 0) return atol(at + sizeof name - 1);
  }
  return -1;
}

/* Begins the answer to the first whole request in `in`, if there is one. */
static void read_requests(struct conn *c) {
  const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
  if (end == NULL) return;
  size_t head_len = (size_t)(end - c->in) + 4;
  bool is_get = c->in_len >= 4 && memcmp(c->in, "GET ", 4) == 0;
  long body_len = is_get ? 0 : body_length(c->in, head_len);
  static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  static const char fine[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  if (body_len < 0 || body_len > REQUEST_BYTES_MAX) {
    send(c->fd, bad, sizeof bad - 1, MSG_NOSIGNAL);
    drop(c);
    return;
  }
  size_t whole = head_len + (size_t)body_len;
  if (c->in_len < whole) return;
  /* The order is parsed before the bytes move; `turn` may read the next request, so move first. */
  char *body = must(memcpy(must(malloc((size_t)body_len + 1)), c->in + head_len, (size_t)body_len));
  memmove(c->in, c->in + whole, c->in_len - whole);
  c->in_len -= whole;
  if (is_get) {
    send(c->fd, fine, sizeof fine - 1, MSG_NOSIGNAL); /* Health checks. */
  } else if (!begin_answer(c, body, (size_t)body_len)) {
    send(c->fd, bad, sizeof bad - 1, MSG_NOSIGNAL);
    drop(c);
  }
  free(body);
}

static void readable(struct conn *c) {
  for (;;) {
    if (c->in_cap - c->in_len < 4096) {
      if (c->in_cap >= REQUEST_BYTES_MAX + 65536) return drop(c);
      c->in_cap = c->in_cap == 0 ? 8192 : c->in_cap * 2;
      c->in = must(realloc(c->in, c->in_cap));
    }
    size_t room = c->in_cap - c->in_len;
    ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return drop(c);
    c->in_len += (size_t)n;
    if ((size_t)n < room) break; /* More comes with an event of its own. */
  }
  if (c->answer == NULL) read_requests(c);
}

static void watch(struct conn *c, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

static void accept_all(const struct conn *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct conn *c = must(calloc(1, sizeof *c));
    c->fd = fd;
    c->heap_slot = -1;
    watch(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  }
}

static void listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0) die("listen");
  struct conn *c = must(calloc(1, sizeof *c));
  c->fd = fd;
  c->listener = true;
  c->heap_slot = -1;
  watch(c, EPOLLIN);
}

/* One turn for each stream that may write now; those that stay take their next one next time. */
static void run_turns(void) {
  struct conn *c = run_head;
  run_head = run_tail = NULL;
  while (c != NULL) {
    struct conn *next = c->next;
    c->queued = false;
    if (c->fd < 0) free(c);
    else if (c->answer != NULL) turn(c);
    c = next;
  }
  uint64_t now = heap_len > 0 ? now_ns() : 0;
  while (heap_len > 0 && heap[0]->due_ns <= now) {
    struct conn *due = heap[0];
    heap_remove(due);
    turn(due);
  }
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > PORTS_MAX + 1) {
    fprintf(stderr, "usage: upstream PORT [PORT ...]\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* Never outlives the driver. */
  prctl(PR_SET_TIMERSLACK, 1000);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 1; i < argc; i++) listen_on(atoi(argv[i]));
  printf("ready\n");
  fflush(stdout);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    int wait_ms = -1;
    if (run_head != NULL) wait_ms = 0;
    else if (heap_len > 0) {
      uint64_t now = now_ns();
      wait_ms = heap[0]->due_ns <= now ? 0 : (int)((heap[0]->due_ns - now + 999999) / 1000000);
    }
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, wait_ms);
    for (int i = 0; i < count; i++) {
      struct conn *c = events[i].data.ptr;
      uint32_t what = events[i].events;
      if (c->listener) accept_all(c);
      else if (what & (EPOLLERR | EPOLLHUP)) drop(c);
      else {
        /* A stalled stream moves on in the run queue; `c` may be gone once it was read. */
        if ((what & EPOLLOUT) && c->blocked && c->answer != NULL) run_later(c);
        if (what & (EPOLLIN | EPOLLRDHUP)) readable(c);
      }
    }
    run_turns();
  }
}
