/** What a process does about its own bugs. */

import type { LogOwner } from '../io/observe/log.ts';
import { EXIT } from './exitCodes.ts';

/** A bug ends the process, told in the log: its supervisor starts it again from disk. */
export function dieOnBugs(log: LogOwner): void {
  process.on('uncaughtException', (cause) => {
    log.error('bug', { cause: cause.stack ?? cause.message });
    log.flush();
    process.exit(EXIT.failed);
  });
}
