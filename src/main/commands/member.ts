/** `banyan member add|remove|promote|demote` and `banyan transfer-leader REGION`. */

import type { Command } from 'commander';

import { say } from '../verb.ts';
import { change, tell, wholeNumber, withChange, type ChangeOptions } from './controlKeys.ts';

interface MemberOptions extends ChangeOptions {
  readonly force?: true;
}

/** Adds the verbs. */
export function registerMember(program: Command): void {
  const member = program.command('member').description(say('member.about'));
  withChange(member.command('add').description(say('member.add')))
    .requiredOption('--address <host:port>', say('member.address'))
    .option('--force', say('member.forceAdd'))
    .argument('<peer>', say('member.peer'))
    .action(async (peer: string, options: MemberOptions & { readonly address: string }) => {
      const { address, force } = options;
      await send(options, { action: 'add', peer, address, force: force === true });
    });
  withChange(member.command('remove').description(say('member.remove')))
    .option('--force', say('member.force'))
    .argument('<id>', say('member.idOrPeer'))
    .action(async (which: string, options: MemberOptions) => {
      const isPeer = !/^\d+$/.test(which);
      if (isPeer) await send(options, { action: 'forget', peer: which });
      else await operate('remove', wholeNumber(which), options);
    });
  withChange(member.command('promote').description(say('member.promote')))
    .option('--replace', say('member.replace'))
    .argument('<id>', say('member.id'), wholeNumber)
    .action(async (id: number, options: ChangeOptions & { readonly replace?: true }) => {
      const replace = options.replace === true ? { replace: true } : {};
      await send(options, { action: 'promote', id, ...replace });
    });
  withChange(member.command('demote').description(say('member.demote')))
    .option('--force', say('member.force'))
    .argument('<id>', say('member.id'), wholeNumber)
    .action((id: number, options: MemberOptions) => operate('demote', id, options));
  withChange(program.command('transfer-leader').description(say('leader.about')))
    .argument('<region>', say('leader.region'))
    .action(async (region: string, options: ChangeOptions) => {
      const answer = await change(options, 'leader', { region });
      tell(options, answer, () => `${say('control.done')}\n`);
    });
}

async function operate(action: string, id: number, options: MemberOptions): Promise<void> {
  await send(options, { action, id, force: options.force === true });
}

async function send(options: ChangeOptions, body: object): Promise<void> {
  const answer = await change(options, 'members', { ...body });
  tell(options, answer, () => `${say('control.done')}\n`);
}
