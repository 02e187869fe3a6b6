/** `banyan status`: one screen, and an exit code for scripts: can we lose any region now? */

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import { toldFinding } from '../control/findings.ts';
import type { FindingRow, OutlookAnswer } from '../control/opsRoutes.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { isRow, type JsonRow } from '../json.ts';
import { printable, renderDuration, renderTable, type OutputFormat } from '../output.ts';
import { language, print, say, withOutput, withServer } from '../verb.ts';

interface StatusOptions {
  readonly output: OutputFormat;
  readonly server: string;
}

/** Adds the verb. */
export function registerStatus(program: Command): void {
  withServer(withOutput(program.command('status').description(say('status.about')))).action(status);
}

async function status({ output, server }: StatusOptions): Promise<void> {
  const answer = await askAdmin(server, '/admin/v1/outlook');
  if (!isOutlook(answer))
    throw new CliError(EXIT.unreachable, say('client.notAdmin', { server, status: 200 }));
  print(output, answer, () => screen(answer));
  const { verdict } = answer;
  if (verdict === 'at-risk') throw new CliError(EXIT.atRisk, '');
  if (verdict !== 'safe') throw new CliError(EXIT.noQuorum, '');
}

/** A server of another version may answer otherwise: what the screen needs is looked at. */
function isOutlook(answer: JsonRow): answer is JsonRow & OutlookAnswer {
  const { verdict, items, regions, findings } = answer;
  return (
    (verdict === 'safe' ||
      verdict === 'at-risk' ||
      verdict === 'no-quorum' ||
      verdict === 'no-group') &&
    [items, regions, findings].every((list) => Array.isArray(list) && list.every(isRow))
  );
}

function screen(answer: OutlookAnswer): string {
  const { verdict, regions, quorum, items, asked, leaderSeenMsAgo } = answer;
  const needed = regions.filter(({ canBeLost }) => !canBeLost).map(({ region }) => region);
  const known = leaderSeenMsAgo !== null && answer.leader === null;
  const lines = [
    say(`status.${verdict}`, { regions: needed.join(', ') }),
    '',
    say('status.group', {
      cluster: answer.cluster ?? '-',
      leader: answer.leader ?? '-',
      term: answer.term,
      revision: answer.revision,
      level: answer.level,
      engine: answer.engine,
    }),
    ...(quorum === null ? [] : [say('status.quorum', quorum)]),
    known
      ? say('status.leader', { region: asked, ago: renderDuration(leaderSeenMsAgo) })
      : say('status.asked', { region: asked }),
  ];
  return `${lines.map(printable).join('\n')}\n\n${table(items, needed)}${told(answer.findings)}`;
}

function table(items: OutlookAnswer['items'], needed: readonly string[]): string {
  if (items.length === 0) return '';
  const header = ['id', 'node', 'role', 'present', 'behind', 'lose', 'version'] as const;
  return renderTable(
    header.map((name) => say(`head.${name}`)),
    items.map(({ id, region, peer, role, isPresent, lag, version }) => [
      id,
      peer,
      role,
      isPresent ? '✓' : '✗',
      lag,
      role === 'learner' || !needed.includes(region) ? '✓' : '✗',
      version,
    ]),
  );
}

function told(findings: readonly FindingRow[]): string {
  const lines = findings.flatMap((finding) => {
    const { message, todo } = toldFinding(language(), finding);
    return [
      `- ${printable(message)}`,
      ...(todo === '' ? [] : [`  ${say('status.toDo', { what: printable(todo) })}`]),
    ];
  });
  return lines.length === 0 ? '' : `\n${lines.join('\n')}\n`;
}
