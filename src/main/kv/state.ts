/** The applied state of a `banyan kv` member: in memory, or in a database beside its log. */

import { join } from 'node:path';

import { err, ok, type Result } from '../../base/result.ts';
import type { Log } from '../../io/observe/log.ts';
import { openDatabase, removeDatabase } from '../../io/sqlite/nodeDatabase.ts';
import { createMemoryMachine } from '../../replica/group/memoryMachine.ts';
import type { GroupMachine } from '../../replica/group/types.ts';
import { KvMachine } from '../../replica/kv/machine.ts';
import { createMemoryStore } from '../../replica/kv/memoryStore.ts';
import { openSqlMachine } from '../../replica/kv/sqlMachine.ts';
import type { KvConfig } from './config.ts';

const DATABASE = 'state.db';

export interface OpenState {
  readonly kv: KvMachine;
  readonly machine: GroupMachine;
  close(): void;
}

export function memoryState(): OpenState {
  const kv = new KvMachine(createMemoryStore());
  return { kv, machine: createMemoryMachine(kv), close: () => {} };
}

/**
 * Opens the state. A database that is damaged is made again, from the snapshot and the log; one of
 * another node means that folders were mixed up, and is refused; so is one that another process has.
 */
export function openState(config: KvConfig, log: Log): Result<OpenState, string> {
  if (config.state === 'memory') return ok(memoryState());
  const file = join(config.data, DATABASE);
  const found = tryOpen(config, file);
  if (found.ok || found.error.kind !== 'unreadable') return sentence(found, file);
  log.warn('state-rebuilt', { file, why: found.error.detail });
  removeDatabase(file);
  return sentence(tryOpen(config, file), file);
}

interface Failure {
  readonly kind: 'foreign' | 'future' | 'unreadable' | 'unavailable';
  readonly detail: string;
}

function tryOpen(config: KvConfig, file: string): Result<OpenState, Failure> {
  const { cluster, id: node, members } = config;
  const incarnation = members.find((member) => member.id === node)?.incarnation ?? 0;
  const opened = openDatabase(file);
  if (!opened.ok) {
    const { isDamaged, detail } = opened.error;
    return err({ kind: isDamaged ? 'unreadable' : 'unavailable', detail });
  }
  const database = opened.value;
  const machine = openSqlMachine(database, { cluster, node, incarnation });
  if (machine.ok) {
    const { value } = machine;
    return ok({ kv: value.kv, machine: value, close: () => database.close() });
  }
  database.close();
  return machine;
}

function sentence(opened: Result<OpenState, Failure>, file: string): Result<OpenState, string> {
  return opened.ok ? opened : err(`${file}: ${opened.error.detail}`);
}
