/**
 * Every limit of the product, in one place, by room. Configuration may lower most of them; where it
 * may raise one, the ceiling stands here too. Relations between limits are asserted on load.
 */

import { assert } from './assert.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** HTTP/1.1, public listener and upstream connections. */
export const HTTP_LIMITS = {
  /** Request or status line, bytes. */
  startLineBytesMax: 8 * KIB,
  /** The whole header section, bytes. */
  headerSectionBytesMax: 32 * KIB,
  headerFieldsMax: 128,
  /** A request body, bytes. Images travel inside JSON as base64. */
  requestBodyBytesMax: 32 * MIB,
  /** A response body that is held whole (not streamed), bytes. */
  responseBodyBytesMax: 64 * MIB,
  /** One chunk-size line with its extensions, bytes. */
  chunkLineBytesMax: 1 * KIB,
  /** Trailer section, bytes. */
  trailerBytesMax: 8 * KIB,
  connectionsMax: 20_000,
  connectionsPerAddressMax: 10_000,
  /** Listening sockets that share one port: connections that a turn of the event loop can accept. */
  listeningSockets: 64,
  /** From the first byte of a request to the end of its header section, ms. */
  headerReadMs: 10_000,
  /** From the end of the header section to the end of the body, ms. */
  bodyReadMs: 60_000,
  /** A kept-alive connection without a request, ms. */
  keepAliveIdleMs: 75_000,
  /** Bytes waiting for a client's socket before the upstream is paused. */
  writeHighWaterBytes: 256 * KIB,
  writeLowWaterBytes: 64 * KIB,
  /** A client that reads nothing while bytes wait for it is dropped after, ms. */
  writeStallMs: 60_000,
  /** Idle upstream connections kept for each origin. */
  upstreamIdleConnectionsMax: 256,
  upstreamConnectionsMax: 4_096,
  /** Shorter than the common server's 5 s, so that we close an idle connection first, ms. */
  upstreamIdleMs: 4_000,
  /** Digits of a chunk size: a chunk is under 16^10 bytes. */
  chunkSizeDigitsMax: 10,
  /** Bytes after a request that wait for its answer (pipelining); past it reading pauses. */
  pipelineBytesMax: 64 * KIB,
  /** A paused client is read now and then, to see whether it left; past this it is cut off. */
  pipelineBytesCut: 256 * KIB,
  /** All request bodies together, from their first byte to the end of their exchange, bytes. */
  requestBodiesBytesMax: 1024 * MIB,
  /** Body buffer before the first byte of a body arrives, bytes; it grows with what comes. */
  requestBodyBytesInitial: 64 * KIB,
  /** Memory of bodies that is kept to be used again, bytes. */
  freeBodyBytesMax: 32 * MIB,
  /** How long a closing connection reads on, so that its last answer is not lost to a reset, ms. */
  lingerMs: 1_000,
  /** Closing connections that linger past the limit of connections; more are cut at once. */
  lingeringMax: 1_000,
  /** Calls of one origin that wait for a connection. */
  upstreamWaitersMax: 4_096,
  /** 1xx responses before the one that counts. */
  interimResponsesMax: 16,
  /** How long a target that left the configuration can still be called, ms. */
  upstreamRetiredMs: 600_000,
  /** How often time limits of connections are looked at; they hold to within this, ms. */
  sweepMs: 500,
  /** One read of a socket, bytes. */
  readBufferBytes: 64 * KIB,
  /** Staged output of one connection, bytes. */
  writeBlockBytes: 16 * KIB,
  /** Streams under way get this much of a turn of the event loop, bytes: some 10 ms of work. */
  turnBytes: 1 * MIB,
  /** What handling a piece of a stream costs beside its bytes, in bytes. */
  turnPieceBytes: 2 * KIB,
  /** A stream with more than this waiting floods, bytes: it is not read until they are handled. */
  lateFloodBytes: 8 * KIB,
} as const;

/** Request bodies as JSON. */
export const JSON_LIMITS = {
  depthMax: 64,
  /** Keys and array elements together. */
  nodesMax: 1_000_000,
  /** Keys alone: each costs a parser ten times what an element does. */
  keysMax: 200_000,
  /** Members of the outermost object. */
  topMembersMax: 256,
  /** One number, bytes as written; and it must fit a double. */
  numberBytesMax: 128,
} as const;

/** What a request may ask for, and what is kept of an upstream's error. */
export const REQUEST_LIMITS = {
  modelNameBytesMax: 256,
  sessionKeyCharsMax: 256,
  choicesMax: 128,
  /** Bytes of the prompt's beginning that are hashed for prefix affinity. */
  prefixBytesMax: 2048,
  /** A provider's error message as shown, characters. */
  upstreamMessageCharsMax: 2048,
  /** Bytes of an error's body that are read. */
  upstreamErrorBytesMax: 64 * KIB,
  retryAfterMsMax: 24 * 3600 * 1000,
  /** Tool calls, content blocks and choices of one translated answer. */
  answerBlocksMax: 4096,
} as const;

/** Server-sent events. */
export const SSE_LIMITS = {
  /** One event, bytes. */
  eventBytesMax: 8 * MIB,
} as const;

/** One exchange. */
export const EXCHANGE_LIMITS = {
  /** Attempts for one exchange, the first and forwarded ones included. */
  attemptsMax: 8,
  attemptsDefault: 4,
  fallbackModelsMax: 8,
  /** Output held back until the first content, bytes; past it the answer is passed on. */
  heldBytesMax: 1 * MIB,
  /** What is read of a target's error body, bytes. */
  errorBodyBytesMax: 64 * KIB,
  /** Longest wait before a retry, whatever Retry-After says, ms. */
  retryWaitMsMax: 5_000,
  /** Bytes of an answer kept so that it can go on elsewhere; a longer one is not continued. */
  continuationBytesMax: 1 * MIB,
  /** The events that those bytes stand for, bytes: they are told apart again when a target dies. */
  continuationEventBytesMax: 32 * MIB,
  /** Kept bytes of all answers of a node together; past it new ones are not kept. */
  continuationBytesAllMax: 256 * MIB,
  /** Decisions kept of one exchange. */
  traceEntriesMax: 32,
  /** Exchanges under way in one node. */
  exchangesMax: 20_000,
  /** A comment keeps the client's connection awake while a model thinks, every, ms. */
  keepAliveCommentMs: 10_000,
  connectMsDefault: 2_000,
  firstByteMsDefault: 60_000,
  idleMsDefault: 30_000,
  totalMsDefault: 600_000,
  deadlineMsMax: 24 * 3600 * 1000,
} as const;

/** What a node does under more load than it can carry. */
export const ADMISSION_LIMITS = {
  /** How often the lag of the event loop is sampled, ms. */
  sampleMs: 25,
  /** A lag counts as standing when it held through so long, and through two samples at least, ms. */
  intervalMs: 200,
  /** A loop that waits more than the rest of its time is late for want of a processor. */
  busyShareMin: 0.7,
  /** Lag is counted by the share of time that the loop's thread had a processor; by this at least. */
  processorShareMin: 0.25,
  /** The lag that may stand unless the configuration says else, ms. */
  loopLagMsDefault: 100,
  loopLagMsMax: 10_000,
  /** Pressure, of one class, that an interval of just too much lag adds; more lag adds more. */
  pressureRise: 0.25,
  pressureRiseMax: 1,
  /** Pressure that an interval without lag takes away: all of it is gone within 6 s. */
  pressureFall: 0.1,
  /** What the refused are told to wait at least, ms. */
  retryAfterMs: 1_000,
  /** Exchanges under way of one key, where it is bounded. */
  inFlightPerKeyMax: 1_000_000,
} as const;

assert(
  ADMISSION_LIMITS.sampleMs * 2 <= ADMISSION_LIMITS.intervalMs,
  'an interval holds two samples of a loop that is on time',
);

/** Logs, metrics and the admin API. */
export const OBSERVE_LIMITS = {
  /** Past it new label values are counted as `other`. */
  seriesPerMetricMax: 2_000,
  /** Text of one field of a log line. */
  logFieldCharsMax: 1_024,
  /** Lines are written together once they come to this, bytes, */
  logWriteBytesMin: 8 * KIB,
  /** … or after this, ms. */
  logFlushMs: 50,
  /** Lines waiting for a slow reader; past it they are dropped and counted. */
  logBufferBytesMax: 4 * MIB,
  /** At its end the process waits for a slow reader of its log at most so long, ms. */
  logLastFlushMs: 1_000,
  adminBodyBytesMax: 512 * KIB,
  adminConnectionsMax: 256,
  /** One admin request, all of it, ms. */
  adminRequestMs: 10_000,
  /** An answer that the command line reads, bytes. */
  adminAnswerBytesMax: 16 * MIB,
} as const;

/** Active probes of targets. */
export const PROBE_LIMITS = {
  /** How often routers are asked which probes are due, ms. */
  tickMs: 100,
  connectMs: 1_000,
  /** From the start of a probe to its answer's head, ms. */
  answerMs: 2_000,
  /** Probes under way in one node. */
  inFlightMax: 64,
} as const;

/** Child processes: embedded model servers and the demo's regions. */
export const CHILD_LIMITS = {
  /** A crashed child starts again after this, doubling to the most, ms. */
  restartMsBase: 250,
  restartMsMax: 10_000,
  /** A child that ran this long has recovered: the next crash begins with the base again, ms. */
  stableMs: 30_000,
  /** From SIGTERM to SIGKILL, ms. */
  stopMs: 3_000,
  /** A starting child is asked for its health every, ms. */
  readyPollMs: 100,
  /** One such question, ms. */
  readyAskMs: 1_000,
} as const;

/** The embedded model server. */
export const LLAMA_LIMITS = {
  requestBodyBytesMax: 1 * MIB,
  messagesMax: 512,
  /** Requests that wait for a sequence, unless the command line says else. */
  queueDepthDefault: 64,
  queueDepthMax: 4_096,
  sequencesMax: 256,
  stopsMax: 16,
  stopCharsMax: 256,
  /** Tokens of a prompt that are evaluated between two looks at the client, so that it can leave. */
  prefillTokens: 128,
  /** The least room for an answer: a prompt that leaves less is refused, tokens. */
  answerTokensMin: 16,
  /** Tokens held back while they end inside a character; a character has at most 4 bytes. */
  heldTokensMax: 8,
  /** What a full queue tells the client to wait, seconds. */
  retryAfterSeconds: 1,
  connectionsMax: 1_024,
  requestMs: 10_000,
} as const;

/** The demo: three regions on one machine under a supervisor. */
export const DEMO_LIMITS = {
  regionsMax: 8,
  modelServersMax: 8,
  /** One question to one node, ms. */
  askMs: 1_500,
  /** From start to every region ready; past it the start has failed, ms. */
  readyMs: 120_000,
  readyPollMs: 100,
  /** A node gets SIGTERM, and SIGKILL after this, ms. */
  stopMs: 8_000,
  /** How often the status page's figures are taken, ms. */
  sampleMs: 1_000,
  chatBodyBytesMax: 64 * KIB,
  /** A chat of the status page, all of it, ms. */
  chatMs: 120_000,
  /** Turns that `banyan chat` remembers. */
  chatTurnsMax: 32,
  pageBytesMax: 256 * KIB,
} as const;

/** The configuration file and the command line. */
export const CONFIG_LIMITS = {
  fileBytesMax: 1 * MIB,
  /** Nodes of the YAML tree, aliases counted each time they stand for something. */
  nodesMax: 100_000,
  depthMax: 16,
  keysMax: 10_000,
  targetsMax: 1_000,
  modelsMax: 1_000,
  targetsPerModelMax: 64,
  regionsMax: 32,
  peersMax: 64,
  headersPerTargetMax: 32,
  textCharsMax: 4_096,
  /** Problems shown of one file. */
  problemsMax: 100,
  /** Changes of the file within this time are one change, ms. */
  reloadDebounceMs: 200,
  /** A graceful stop lets streams finish within, ms. */
  drainMsDefault: 30_000,
  drainMsMax: 3_600_000,
} as const;

/** Routing: targets, health, retries, rate limits, the choice of a region. */
export const ROUTING_LIMITS = {
  /** Targets of one model in one region. */
  targetsPerModelMax: 256,
  weightMax: 1_000,
  /** Sessions whose home target is remembered, per model; the oldest go first. */
  sessionHomesMax: 65_536,
  /** A session without requests forgets its home after, ms (most cache reuse is within 100 s). */
  sessionHomeMs: 120_000,
  /** Prefixes whose popularity is counted, per model. */
  prefixesMax: 4_096,
  /** An upstream's Retry-After is believed up to, ms. */
  restMsMax: 300_000,
  /** An exchange waits for the same target at most, ms. */
  retryWaitMsMax: 5_000,
  /** Regions known to one node. */
  regionsMax: 64,
  /** Requests remembered for the correction of an old digest, per region. */
  sendsPerRegionMax: 1_024,
  /** API keys with a rate limit in one node. */
  limitedKeysMax: 100_000,
} as const;

assert(
  HTTP_LIMITS.writeLowWaterBytes < HTTP_LIMITS.writeHighWaterBytes,
  'a paused upstream resumes below the mark that paused it',
);
assert(
  HTTP_LIMITS.startLineBytesMax < HTTP_LIMITS.headerSectionBytesMax,
  'a start line fits into the header section',
);
assert(
  HTTP_LIMITS.sweepMs < HTTP_LIMITS.lingerMs && HTTP_LIMITS.sweepMs < HTTP_LIMITS.upstreamIdleMs,
  'the shortest time limit of a connection is seen in time',
);
assert(
  HTTP_LIMITS.requestBodyBytesMax <= HTTP_LIMITS.requestBodiesBytesMax,
  'the largest body fits into what all bodies may take',
);
assert(
  EXCHANGE_LIMITS.attemptsDefault <= EXCHANGE_LIMITS.attemptsMax,
  'the default number of attempts is allowed',
);
assert(
  EXCHANGE_LIMITS.keepAliveCommentMs < HTTP_LIMITS.keepAliveIdleMs,
  'a thinking model keeps its connection awake',
);

/** Links to peer regions: frames, streams, heartbeats. */
export const PEER_LIMITS = {
  /** Payload of one frame, bytes. */
  framePayloadBytesMax: 128 * KIB,
  /** Payload of one frame of a body: what one turn of a stream may take, bytes. */
  dataBytesMax: 16 * KIB,
  /** Models told of in one digest; a node with more tells of the first. */
  digestModelsMax: 512,
  digestRegionsMax: 64,
  digestBytesMax: 96 * KIB,
  /** Text after a reason, characters. */
  detailCharsMax: 512,
  /** Streams under way that one side may have opened. */
  streamsMax: 2_048,
  /** What a stream may send unread at its start, and what it may grow to, bytes. */
  windowBytesInitial: 64 * KIB,
  windowBytesMax: 2 * MIB,
  /** Growth of windows over all streams of one link, bytes. */
  windowGrowthBytesMax: 64 * MIB,
  /** Request bodies that a link holds, bytes: past it new requests are refused. */
  requestBodiesBytesMax: 256 * MIB,
  /** Bytes waiting in the socket before streams wait for their turn. */
  socketHighWaterBytes: 64 * KIB,
  /** Bytes inside an artificial delay. */
  delayLineBytesMax: 16 * MIB,
  /** Control frames waiting to be written; a peer that reads none is dropped past it, bytes. */
  controlBytesMax: 8 * MIB,
  /** Response bytes of one stream waiting to be framed: high and low water. */
  replyHighWaterBytes: 256 * KIB,
  replyLowWaterBytes: 64 * KIB,
  heartbeatMs: 100,
  /** Nothing heard for so long: the link is closed and its streams fail, ms. */
  silenceMs: 5_000,
  /** Nothing heard for so long: the address is probed, ms. */
  probeAfterMs: 700,
  probeTimeoutMs: 1_500,
  /** A connection attempt to the end of the hello exchange, ms. */
  handshakeMs: 4_000,
  backoffMsMin: 100,
  backoffMsMax: 3_000,
  /** A graceful stop of one link, ms. */
  closeMs: 10_000,
  /** Connections of the peer listener: a pair may have two for a moment. */
  connectionsMax: 256,
} as const;

/** What is kept of other regions. */
export const REGION_LIMITS = {
  /** Changes of state remembered for each region. */
  transitionsMax: 64,
  /** Intervals between heartbeats that the detector remembers. */
  intervalsMax: 200,
  rttMsMax: 60_000,
} as const;

assert(
  PEER_LIMITS.dataBytesMax < PEER_LIMITS.framePayloadBytesMax &&
    PEER_LIMITS.digestBytesMax < PEER_LIMITS.framePayloadBytesMax,
  'what one frame carries fits into a frame',
);
assert(
  HTTP_LIMITS.headerSectionBytesMax * 2 + HTTP_LIMITS.startLineBytesMax <
    PEER_LIMITS.framePayloadBytesMax,
  'the head of any request that was accepted fits into a frame',
);
assert(
  PEER_LIMITS.probeAfterMs < PEER_LIMITS.silenceMs,
  'a silent peer is probed before its link is closed',
);

/** Raft: sizes and times of the consensus core, with the defaults of a cluster over continents. */
export const RAFT_LIMITS = {
  /** Terms, indices and ids are below this. */
  integerMax: Number.MAX_SAFE_INTEGER,
  /** Voters of both halves and learners together. */
  membersMax: 64,
  votersMax: 9,
  regionCharsMax: 64,
  clusterCharsMax: 64,
  priorityMax: 100,
  levelMax: 65_535,
  /** One command, bytes. */
  entryBytesMax: 1 * MIB,
  /** What an entry counts for besides its data, bytes. */
  entryOverheadBytes: 64,
  /** Entries of one message, bytes; at least one entry goes whatever it has. */
  appendBytesMax: 1 * MIB,
  appendEntriesMax: 4_096,
  /** Messages and bytes on the way to one follower (bytes / round trip bounds the rate). */
  inFlightCountMax: 256,
  inFlightBytesMax: 16 * MIB,
  /** Bytes that wait for a quorum; past it proposals are refused. */
  uncommittedBytesMax: 64 * MIB,
  /** Bytes given to the state machine and not yet applied. */
  applyBytesMax: 16 * MIB,
  /** The log since the last snapshot is held in memory: past it a snapshot is asked for. */
  logBytesMax: 256 * MIB,
  /** A snapshot is held in memory, whole. */
  snapshotBytesMax: 512 * MIB,
  snapshotChunkBytes: 256 * KIB,
  snapshotWindowBytes: 4 * MIB,
  trailingEntries: 10_000,
  promoteLagEntries: 64,
  /** Proposals, reads and operations under way at one node, each. */
  requestsMax: 65_536,
  /** Forwarded messages remembered of one sender, so that a copy is not taken again. */
  forwardsRememberedMax: 4_096,
  /** Senders, each start of one apart, of which they are remembered. */
  forwardersMax: 1_024,
  heartbeatMs: 200,
  electionMs: 2_000,
  electionMsMax: 50_000,
  /** Ranks of priority that still wait longer before an election. */
  priorityRanksMax: 3,
  diskStallMs: 4_000,
  requestMs: 10_000,
  handOverMs: 10_000,
  /** Persists that wait for the disk; more are a stalled disk. */
  persistsMax: 65_536,
  /** Alarms raised by one process, each reason and node once. */
  alarmsMax: 1_024,
  /** Checkpoints remembered for comparison. */
  checkpointsMax: 16,
  /** Client sessions: the oldest goes when one more comes. */
  sessionsMax: 10_000,
  /** A session unused for so long, by log time, goes, ms. */
  sessionIdleMs: 3_600_000,
  /** Calls of one session from its oldest unacknowledged one. */
  sessionCallsMax: 1_024,
  /** Replies kept of one session, bytes; a longer reply is kept as too long to repeat. */
  sessionReplyBytesMax: 64 * KIB,
} as const;

assert(
  RAFT_LIMITS.heartbeatMs * 5 <= RAFT_LIMITS.electionMs,
  'a follower misses several heartbeats before it campaigns',
);
assert(
  RAFT_LIMITS.entryBytesMax + RAFT_LIMITS.entryOverheadBytes <= RAFT_LIMITS.uncommittedBytesMax &&
    RAFT_LIMITS.appendBytesMax <= RAFT_LIMITS.inFlightBytesMax,
  'one entry fits into what may be uncommitted, one message into what may be in flight',
);
assert(
  RAFT_LIMITS.snapshotChunkBytes <= RAFT_LIMITS.snapshotWindowBytes,
  'a chunk fits into the window',
);

/** The durable log: sizes of its files. */
export const STORAGE_LIMITS = {
  /** One segment, preallocated. */
  segmentBytes: 16 * MIB,
  segmentBytesMin: 4 * KIB,
  segmentBytesMax: 256 * MIB,
  /** What one commit takes at most; more waits for the next. */
  groupBytesMax: 4 * MIB,
  clusterBytesMax: 64,
  fillChunkBytes: 96 * KIB, // ext4 keeps pages in pieces as large as what wrote them first.
  snapshotChunkBytes: 1 * MIB, // One write of a snapshot file.
  snapshotSyncChunks: 4, // So many of them before a sync.
  snapshotMetaBytesMax: 1 * MIB,
} as const;
