/** `banyan admin-keys create|revoke|rotate|list`: keys of operators in the control state. */

import { Option, type Command } from 'commander';

import { ROLES } from '../../base/adminRoles.ts';
import { say, withOutput, withServer } from '../verb.ts';
import { listAdminKeys } from './controlGet.ts';
import {
  change,
  secretLine,
  tell,
  withChange,
  withGrace,
  type ChangeOptions,
  type RotateOptions,
} from './controlKeys.ts';

const PATH = 'admin-keys';

/** Adds the verbs. */
export function registerAdminKeys(program: Command): void {
  const keys = program.command(PATH).description(say('adminKeys.about'));
  const role = new Option('--role <role>', say('adminKeys.role')).choices(ROLES);
  withChange(keys.command('create').description(say('adminKeys.create')))
    .argument('<name>', say('keys.name'))
    .addOption(role.makeOptionMandatory())
    .action(async (name: string, options: ChangeOptions & { readonly role: string }) => {
      const answer = await change(options, PATH, { action: 'create', name, role: options.role });
      tell(options, answer, () => secretLine(name, answer));
    });
  withChange(keys.command('revoke').description(say('adminKeys.revoke')))
    .argument('<name>', say('keys.name'))
    .action(async (name: string, options: ChangeOptions) => {
      const answer = await change(options, PATH, { action: 'revoke', name });
      tell(options, answer, () => `${say('keys.revoked', { name })}\n`);
    });
  withGrace(withChange(keys.command('rotate').description(say('keys.rotate'))))
    .argument('<name>', say('keys.name'))
    .action(async (name: string, options: RotateOptions) => {
      const body = { action: 'rotate', name, graceMs: options.grace };
      const answer = await change(options, PATH, body);
      tell(options, answer, () => secretLine(name, answer));
    });
  withServer(withOutput(keys.command('list').description(say('get.adminKeys')))).action(
    listAdminKeys,
  );
}
