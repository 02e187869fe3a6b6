/** `banyan fault kill|pause|resume|restart REGION[/TARGET]`, `cut A B`, `heal`. */

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import type { FaultRequest } from '../adminTypes.ts';
import type { MessageKey } from '../messages.ts';
import { printable, type OutputFormat } from '../output.ts';
import { print, say, withOutput, withServer } from '../verb.ts';

interface FaultOptions {
  readonly output: OutputFormat;
  readonly server: string;
}

const ACTIONS = ['kill', 'pause', 'resume', 'restart'] as const;
const ABOUT: Readonly<Record<(typeof ACTIONS)[number], MessageKey>> = {
  kill: 'fault.kill',
  pause: 'fault.pause',
  resume: 'fault.resume',
  restart: 'fault.restart',
};

/** Starting a region takes longer than an ordinary question, ms. */
const FAULT_MS = 20_000;

/** Adds the verbs. */
export function registerFault(program: Command): void {
  const fault = program.command('fault').description(say('fault.about'));
  for (const action of ACTIONS) {
    withServer(withOutput(fault.command(action).description(say(ABOUT[action]))))
      .argument('<place>', say('fault.place'))
      .action((place: string, options: FaultOptions) => {
        const [region, target] = splitPlace(place);
        return send({ action, region, target }, options);
      });
  }
  withServer(withOutput(fault.command('cut').description(say('fault.cut'))))
    .argument('<a>', say('fault.one'))
    .argument('<b>', say('fault.other'))
    .action((a: string, b: string, options: FaultOptions) =>
      send({ action: 'cut', a, b }, options),
    );
  withServer(withOutput(fault.command('heal').description(say('fault.heal')))).action(
    (options: FaultOptions) => send({ action: 'heal' }, options),
  );
}

/** `region/target` apart; without a target null. */
export function splitPlace(place: string): readonly [string, string | null] {
  const at = place.indexOf('/');
  return at === -1 ? [place, null] : [place.slice(0, at), place.slice(at + 1)];
}

async function send(fault: FaultRequest, options: FaultOptions): Promise<void> {
  const answer = await askAdmin(options.server, '/admin/v1/faults', fault, FAULT_MS);
  print(options.output, answer, () => {
    const done = Array.isArray(answer['done']) ? answer['done'] : [];
    return done.map((line) => `${printable(String(line))}\n`).join('');
  });
}
