/**
 * Structured logs: one JSON object a line, bounded in length and in memory. No prompt, no answer and
 * no secret is logged; field names that carry secrets are redacted should one slip in.
 */

import { pino } from 'pino';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import type { AttemptRecord, ExchangeRecord, Observer } from '../../replica/observer.ts';
import { FdWriter } from './fdWriter.ts';
import { LineStage } from './lineStage.ts';

/** Values of a log line. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
/** Levels, from the most to the least talkative. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Where things are told. `event` is a constant in kebab case; what varies goes into fields. */
export interface Log {
  /** Guards lines on hot paths. */
  readonly isDebug: boolean;
  readonly isInfo: boolean;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /**
   * A line at info whose fields are JSON already (`"a":1,"b":"x"`), for lines of the request path:
   * a fifth of the cost of `info`. The caller bounds and quotes, and guards with `isInfo`.
   */
  infoLine(event: string, fields: string): void;
}

/** A log with its owner's side. */
export interface LogOwner extends Log {
  setLevel(level: LogLevel): void;
  /** Whole lines of another process of the node, as they are. */
  pass(lines: string): void;
  /** Lines lost because the reader of our output was too slow. */
  dropped(): number;
  /** Writes what is still held, for the end of the process. */
  flush(): void;
}

/** Where lines go: a file descriptor or, in tests, a function. */
export type LogSink = { readonly fd: number } | { readonly write: (line: string) => void };

const SECRET_FIELDS = ['key', 'apiKey', 'authorization', 'cookie', 'password', 'secret', 'token'];

/** Makes a log. `base` is in every line: the region and the node. */
export function createLog(level: LogLevel, base: LogFields, sink: LogSink): LogOwner {
  const writer = 'fd' in sink ? new FdWriter(sink.fd) : null;
  const stage = writer === null ? null : new LineStage((text) => writer.write(text));
  const write = 'fd' in sink ? (line: string): void => stage?.push(line) : sink.write;
  const logger = pino(
    {
      level,
      base,
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS, censor: '***' },
    },
    { write },
  );
  const flush = (): void => {
    stage?.flush();
    writer?.flushSync();
  };
  if (writer !== null) process.once('exit', flush);
  const time = new IsoTime();
  const fixed = JSON.stringify(base).slice(1, -1);
  const prefix = fixed === '' ? '' : `${fixed},`;
  const line =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (event: string, fields: LogFields = {}) => {
      logger[name](bounded(fields), event);
      // What an operator waits for is not kept until more comes.
      if (name === 'error') stage?.flush();
    };
  return {
    get isDebug() {
      return logger.isLevelEnabled('debug');
    },
    get isInfo() {
      return logger.isLevelEnabled('info');
    },
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    infoLine: (event, fields) => {
      const head = `{"level":"info","time":"${time.text()}",${prefix}"event":"${event}",`;
      write(`${head}${fields}}\n`);
    },
    pass: write,
    setLevel: (next) => {
      logger.level = next;
    },
    dropped: () => writer?.dropped ?? 0,
    flush,
  };
}

/** Now as ISO 8601 in UTC, made once a millisecond. @hot */
class IsoTime {
  #ms = -1;
  #text = '';

  text(): string {
    const ms = Date.now();
    if (ms !== this.#ms) {
      this.#ms = ms;
      this.#text = new Date(ms).toISOString();
    }
    return this.#text;
  }
}

/** Cuts long text: a line must not grow with what a client or an upstream sent. */
function bounded(fields: LogFields): LogFields {
  let copy: Record<string, LogFields[string]> | null = null;
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value !== 'string' || value.length <= OBSERVE_LIMITS.logFieldCharsMax) continue;
    copy ??= { ...fields };
    copy[name] = `${value.slice(0, OBSERVE_LIMITS.logFieldCharsMax)}…`;
  }
  return copy ?? fields;
}

/** The log as an `Observer`: one line for each exchange, attempts at debug, health as it changes. */
export function createLogObserver(log: Log): Observer {
  let shedClasses = 0;
  return {
    exchangeStarted: () => {},
    exchangeDone: (record) => {
      if (log.isInfo) log.infoLine('exchange', exchangeLine(record));
    },
    attemptDone: (record) => {
      if (log.isDebug) log.debug('attempt', attemptFields(record));
    },
    targetHealth: (model, target, state, reason) =>
      log.warn('target-health', { model, target, state, reason }),
    retrySuppressed: (model, why) => {
      if (log.isDebug) log.debug('retry-suppressed', { model, why });
    },
    shed: () => {}, // The line of the exchange says `overloaded`.
    loadMeasured: (loopLagMs, pressure) => {
      const classes = Math.ceil(pressure);
      if (classes === shedClasses) return;
      shedClasses = classes;
      log.warn('overload', { loopLagMs: round(loopLagMs), pressure: round(pressure), classes });
    },
  };
}

/** One exchange as the inside of a JSON object. Written by hand: it is on every request's path. */
export function exchangeLine(record: ExchangeRecord): string {
  const { usage } = record;
  let line =
    `"requestId":${quoted(record.requestId)},"operation":"${record.operation}",` +
    `"model":${quoted(record.model)},"keyName":${quoted(record.keyName)},` +
    `"isStream":${record.isStream},"end":"${record.end}","status":${record.status}`;
  if (record.modelServed !== record.model) line += `,"modelServed":${quoted(record.modelServed)}`;
  if (record.errorCode !== null) line += `,"errorCode":"${record.errorCode}"`;
  line +=
    `,"target":${quoted(record.target)},"servedRegion":${quoted(record.servedRegion)}` +
    `,"attempts":${record.attempts}`;
  if (record.hedge !== null) line += `,"hedge":"${record.hedge}"`;
  if (record.forwardedFrom !== '') line += `,"forwardedFrom":${quoted(record.forwardedFrom)}`;
  if (usage !== null) {
    line +=
      `,"inputTokens":${usage.inputTokens},"outputTokens":${usage.outputTokens}` +
      `,"cachedInputTokens":${usage.cachedInputTokens},"isUsageExact":${usage.isExact}`;
  }
  line += `,"totalMs":${round(record.totalMs)},"overheadMs":${round(record.overheadMs)}`;
  if (record.firstContentMs !== null) line += `,"firstContentMs":${round(record.firstContentMs)}`;
  line += `,"requestBytes":${record.requestBytes},"responseBytes":${record.responseBytes}`;
  // A request that went straight through needs no story.
  if (record.attempts > 1 || record.end === 'failed') {
    line += `,"trace":${quoted(record.trace.join('; '))}`;
    if (record.tries.length > 1) line += `,"tries":[${record.tries.map(tryFields).join(',')}]`;
  }
  return line;
}

/** One attempt within the line of its exchange. */
function tryFields(report: ExchangeRecord['tries'][number]): string {
  const { place, usage, mode } = report;
  let line = `{"place":${quoted(`${place.kind}:${place.name}`)},"end":"${report.end}"`;
  if (report.reason !== '') line += `,"reason":${quoted(report.reason)}`;
  if (mode !== null) line += `,"mode":"${mode}"`;
  if (report.isHedge) line += ',"isHedge":true';
  if (usage !== null) {
    line += `,"inputTokens":${usage.inputTokens},"outputTokens":${usage.outputTokens}`;
  }
  return `${line}}`;
}

/** A JSON text of at most the limit of a field. */
function quoted(text: string): string {
  const limit = OBSERVE_LIMITS.logFieldCharsMax;
  return JSON.stringify(text.length <= limit ? text : `${text.slice(0, limit)}…`);
}

function attemptFields(record: AttemptRecord): LogFields {
  return {
    requestId: record.requestId,
    model: record.model,
    target: record.target,
    servedRegion: record.region,
    end: record.end,
    reason: record.reason === '' ? undefined : record.reason,
    status: record.status,
    totalMs: round(record.totalMs),
    firstContentMs: record.firstContentMs === null ? undefined : round(record.firstContentMs),
    isRetry: record.isRetry,
    isHedge: record.isHedge ? true : undefined,
    mode: record.mode ?? undefined,
    inputTokens: record.usage?.inputTokens,
    outputTokens: record.usage?.outputTokens,
  };
}

/** Microseconds are enough, and fifteen digits are unreadable. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Tells several observers in order. */
export function joinObservers(observers: readonly Observer[]): Observer {
  return {
    exchangeStarted: (operation, model) => {
      for (const observer of observers) observer.exchangeStarted(operation, model);
    },
    exchangeDone: (record) => {
      for (const observer of observers) observer.exchangeDone(record);
    },
    attemptDone: (record) => {
      for (const observer of observers) observer.attemptDone(record);
    },
    targetHealth: (model, target, state, reason) => {
      for (const observer of observers) observer.targetHealth(model, target, state, reason);
    },
    retrySuppressed: (model, why) => {
      for (const observer of observers) observer.retrySuppressed(model, why);
    },
    shed: (priority, reason) => {
      for (const observer of observers) observer.shed(priority, reason);
    },
    loadMeasured: (loopLagMs, pressure) => {
      for (const observer of observers) observer.loadMeasured(loopLagMs, pressure);
    },
  };
}
