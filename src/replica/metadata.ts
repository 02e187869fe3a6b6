/**
 * What a client that asks for it (`x-banyan-metadata: on`) is told of its answer: every attempt, who
 * went on with it and how, and what each used. A stream ends with it as a comment, since its head is
 * sent before anything can happen to it; a whole answer has it as a header field.
 */

import type { Exchange } from '../exchange/exchange.ts';
import type { AttemptReport } from '../exchange/place.ts';
import type { Usage } from '../protocol/dialect.ts';

/** One line of JSON, in ASCII: it is a header field, too. */
export function renderMetadata(exchange: Exchange): string {
  const { reports } = exchange.account;
  const json = JSON.stringify({
    requestId: exchange.info.requestId,
    attempts: reports.map((report) => attemptOf(report)),
    // Attempts that added to an answer that another one had begun.
    continued: reports.filter(
      ({ mode, firstContentMs }) => mode !== null && firstContentMs !== null,
    ).length,
    hedge: exchange.race.end,
    usage: usageOf(exchange.usage),
  });
  return json.replaceAll(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function attemptOf(report: AttemptReport): object {
  const { place } = report;
  return {
    [place.kind]: place.name,
    region: place.region,
    model: place.model,
    end: report.end,
    ...(report.reason === '' ? {} : { reason: report.reason }),
    ...(report.mode === null ? {} : { continuation: report.mode }),
    ...(report.isHedge ? { isHedge: true } : {}),
    firstContentMs: rounded(report.firstContentMs),
    totalMs: rounded(report.totalMs),
    usage: usageOf(report.usage),
  };
}

function usageOf(usage: Usage | null): object | null {
  if (usage === null) return null;
  const { inputTokens, outputTokens, isExact } = usage;
  return { inputTokens, outputTokens, isExact };
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}
