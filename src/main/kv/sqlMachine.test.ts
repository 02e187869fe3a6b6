import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { DatabaseError, type Database } from '../../base/database.ts';
import { createPrng } from '../../base/prng.ts';
import { encodeSessionCommand } from '../../raft/sessions.ts';
import { createMemoryMachine } from '../../replica/group/memoryMachine.ts';
import { KvMachine } from '../../replica/kv/machine.ts';
import {
  applyCommand,
  MACHINE_CLAIMS,
  randomCommand,
  type MachineUnderTest,
} from '../../replica/kv/machineSuite.ts';
import { createMemoryStore } from '../../replica/kv/memoryStore.ts';
import { openSqlMachine } from '../../replica/kv/sqlMachine.ts';
import { openDatabase, removeDatabase } from '../../io/sqlite/nodeDatabase.ts';

const folder = mkdtempSync(join(tmpdir(), 'banyan-sqlite-'));
const open: Database[] = [];
let files = 0;
after(() => {
  for (const database of open) database.close();
  rmSync(folder, { recursive: true, force: true });
});

const OWN = { cluster: 'c1', node: 1, incarnation: 7 };

function newFile(): string {
  files += 1;
  return join(folder, `state-${files}.db`);
}

function opened(file: string): Database {
  const database = openDatabase(file);
  ok(database.ok, JSON.stringify(database));
  return database.value;
}

function machineOn(database: Database, identity = OWN): MachineUnderTest {
  const machine = openSqlMachine(database, identity);
  ok(machine.ok, JSON.stringify(machine));
  return { machine: machine.value, kv: machine.value.kv };
}

for (const { name, run } of MACHINE_CLAIMS) {
  test(`in SQLite: ${name}`, () => {
    const make = () => {
      const database = opened(newFile());
      open.push(database);
      return machineOn(database);
    };
    equal(run(make), null);
  });
}

test('a machine in SQLite has the hash and the snapshot of one in memory', () => {
  const database = opened(newFile());
  open.push(database);
  const sql = machineOn(database);
  const kv = new KvMachine(createMemoryStore());
  const memory = { kv, machine: createMemoryMachine(kv) };
  for (const own of [sql, memory]) {
    const prng = createPrng(3);
    own.machine.apply(1, 0, encodeSessionCommand({ kind: 'open' }));
    for (let index = 2; index < 300; index += 1) {
      applyCommand(own, index, randomCommand(prng, index));
    }
  }
  equal(sql.machine.hash(), memory.machine.hash());
  deepEqual(sql.machine.snapshot(), memory.machine.snapshot());
});

test('what was settled is there again, and what was not is as if it never came', () => {
  const file = newFile();
  const prng = createPrng(11);
  let database = opened(file);
  let own = machineOn(database);
  for (let round = 0; round < 30; round += 1) {
    const from = own.machine.durableIndex();
    equal(from, round * 10);
    for (let index = from + 1; index <= from + 10; index += 1) {
      const command = encodeSessionCommand(
        index % 4 === 0
          ? { kind: 'open' }
          : {
              kind: 'call',
              session: 4,
              seq: index,
              firstUnacked: index,
              payload: new Uint8Array(0),
            },
      );
      own.machine.apply(index, index, command);
      applyCommand(own, index, randomCommand(prng, index));
    }
    const snapshot = own.machine.snapshot();
    const hash = own.machine.hash();
    // More comes, and the process ends before it is settled.
    for (let index = from + 11; index < from + 15; index += 1) {
      own.machine.apply(index, index, encodeSessionCommand({ kind: 'open' }));
    }
    database.close();
    database = opened(file);
    own = machineOn(database);
    equal(own.machine.durableIndex(), from + 10);
    equal(own.machine.hash(), hash);
    deepEqual(own.machine.snapshot(), snapshot);
  }
  database.close();
});

test('a snapshot that was being restored when the process ended left the old state', () => {
  const file = newFile();
  const first = opened(file);
  const own = machineOn(first);
  applyCommand(own, 1, { kind: 'put', key: 'old', value: encodeUtf8('x') });
  const hash = own.machine.hash();
  const kv = new KvMachine(createMemoryStore());
  const source = { kv, machine: createMemoryMachine(kv) };
  applyCommand(source, 9, { kind: 'put', key: 'new', value: encodeUtf8('y') });
  ok(own.machine.restore(source.machine.snapshot()));
  equal(own.kv.get('old'), null);
  first.close();
  const again = opened(file);
  const back = machineOn(again);
  equal(back.machine.durableIndex(), 1);
  equal(back.machine.hash(), hash);
  ok(back.machine.restore(source.machine.snapshot()));
  back.machine.settle(9);
  again.close();
  const last = opened(file);
  equal(machineOn(last).machine.hash(), source.machine.hash());
  last.close();
});

test('the database of another node, cluster or disk is refused and left as it is', () => {
  const file = newFile();
  const first = opened(file);
  applyCommand(machineOn(first), 1, { kind: 'put', key: 'a', value: encodeUtf8('x') });
  for (const other of [
    { ...OWN, cluster: 'c2' },
    { ...OWN, node: 2 },
    { ...OWN, incarnation: 8 },
  ]) {
    const refused = openSqlMachine(first, other);
    ok(!refused.ok);
    equal(refused.error.kind, 'foreign');
  }
  equal(machineOn(first).machine.durableIndex(), 1);
  first.close();
});

test('a database of a newer program is refused', () => {
  const database = opened(newFile());
  open.push(database);
  machineOn(database);
  database.exec('UPDATE meta SET format = 99');
  const refused = openSqlMachine(database, OWN);
  ok(!refused.ok);
  deepEqual(refused.error, { kind: 'future', detail: 'its format is 99, not 1' });
});

test('a damaged file is told, and a new one can take its place', () => {
  const file = newFile();
  const first = opened(file);
  const own = machineOn(first);
  for (let index = 1; index < 400; index += 1) {
    applyCommand(own, index, { kind: 'put', key: `k${index}`, value: new Uint8Array(500) });
  }
  first.close();
  const bytes = readFileSync(file);
  bytes.fill(0xa5, 4_096, bytes.length - 4_096);
  writeFileSync(file, bytes);
  const damaged = openDatabase(file);
  ok(!damaged.ok);
  equal(damaged.error.isDamaged, true);
  removeDatabase(file);
  const fresh = opened(file);
  equal(machineOn(fresh).machine.durableIndex(), 0);
  fresh.close();
});

test('a database that another one has open is refused, and is not called damaged', () => {
  const file = newFile();
  const first = opened(file);
  applyCommand(machineOn(first), 1, { kind: 'put', key: 'a', value: encodeUtf8('x') });
  const second = openDatabase(file);
  ok(!second.ok);
  equal(second.error.isDamaged, false);
  match(second.error.detail, /locked/);
  first.close();
  const again = opened(file);
  equal(machineOn(again).machine.durableIndex(), 1);
  again.close();
});

test('a file that is no database is damaged; a folder in its place is not', () => {
  const file = newFile();
  writeFileSync(file, 'x'.repeat(10_000));
  const other = openDatabase(file);
  ok(!other.ok && other.error.isDamaged);
  const elsewhere = openDatabase(folder);
  ok(!elsewhere.ok && !elsewhere.error.isDamaged);
});

test('a database that cannot be written to says so as an error of its own kind', () => {
  const database = opened(newFile());
  open.push(database);
  const own = machineOn(database);
  database.exec('DROP TABLE pairs');
  const put = () => applyCommand(own, 1, { kind: 'put', key: 'a', value: new Uint8Array(1) });
  let thrown: unknown = null;
  try {
    put();
  } catch (cause) {
    thrown = cause;
  }
  ok(thrown instanceof DatabaseError);
});
