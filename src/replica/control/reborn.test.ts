import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { RaftNode } from '../../raft/node.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { createPrng } from '../../base/prng.ts';
import { encodeSessionCommand } from '../../raft/sessions.ts';
import { bootstrapStored, raftOptions } from '../../raft/start.ts';
import type { Entry, Member } from '../../raft/types.ts';
import { createMemoryMachine } from '../group/memoryMachine.ts';
import {
  BackupReader,
  captureBackup,
  encodeBackup,
  type Backup,
  type BackupDigest,
  type BackupFault,
} from './backup.ts';
import { encodeCommand } from './codec.ts';
import { driverOf, put, transaction } from './controlTestkit.ts';
import { FEATURE_LEVEL_MAX, raiseLevel } from './features.ts';
import { ControlMachine } from './machine.ts';
import { rebornFromBackup, rebornFromLog, type Birth } from './reborn.ts';

const ABOUT = {
  cluster: 'old-1',
  isConfirmed: true,
  madeMs: 1_700_000_000_000,
  product: 'banyan 0.0.0',
  engine: 'raft',
} as const;
const BIRTH: Birth = {
  cluster: 'new-2',
  audit: { who: 'ann', from: 'here', what: 'restored', why: 'test' },
  origin: { cluster: 'old-1', revision: 3 },
};
const PLAIN = { priority: 1, isWitness: false, isPromotable: false } as const;
const MEMBERS: readonly Member[] = [1, 2, 3].map((id) => ({
  id,
  region: `region-${id}`,
  incarnation: 100 + id,
  ...PLAIN,
}));

function digest(): BackupDigest {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), finish: () => hash.digest() };
}

function filled(keys = 200): ControlMachine {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  for (let at = 0; at < keys; at += 1) {
    drive(transaction([put(`keys/${String(at).padStart(4, '0')}`, 'x'.repeat(at * 9))]));
  }
  return machine;
}

function fileOf(backup: Backup): Uint8Array {
  return new Uint8Array(Buffer.concat([...encodeBackup(backup, digest())]));
}

function read(bytes: Uint8Array, step = 1_000): Backup | BackupFault {
  const reader = new BackupReader(digest());
  for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step));
  return reader.end();
}

function faultOf(bytes: Uint8Array): BackupFault {
  const told = read(bytes);
  assert.ok('kind' in told, 'it is refused');
  return told;
}

test('B1: a backup holds one revision, though the state moves on while it is written', () => {
  const machine = filled();
  const pieces = encodeBackup(captureBackup(machine, ABOUT), digest());
  const file: Uint8Array[] = [];
  for (const piece of pieces) {
    file.push(piece);
    machine.apply(1_000 + file.length, 0, encodeCommand(transaction([put('keys/0001', 'later')])));
  }
  const backup = read(Buffer.concat(file), 7);
  assert.ok(!('kind' in backup), JSON.stringify(backup));
  assert.deepEqual(backup, captureBackup(filled(), ABOUT));
  assert.equal(backup.about.revision, 200);
  assert.ok(file.length > 5, 'it comes in pieces');
});

test('audit records are kept however long their texts and keys are (1,000 records)', () => {
  const { auditCharsMax, keyCharsMax, operationsMax } = CONTROL_LIMITS;
  const records = 1_000;
  const text = '榕'.repeat(auditCharsMax);
  const key = 'k'.repeat(keyCharsMax);
  const changes = Array.from({ length: operationsMax }, () => ({ kind: 'delete' as const, key }));
  const audit = Array.from({ length: records }, (_, at) => ({
    revision: at + 1,
    timeMs: at,
    who: text,
    from: text,
    what: text,
    why: text,
    changes: at % 100 === 0 ? changes : [],
  }));
  const about = { ...ABOUT, revision: records };
  const backup = read(fileOf({ about, items: [], audit }), 1024 * 1024);
  assert.ok(!('kind' in backup), JSON.stringify(backup));
  assert.deepEqual(backup.audit, audit);
});

test('B2: a file that was cut off anywhere is refused as truncated, or as no backup', () => {
  const file = fileOf(captureBackup(filled(30), ABOUT));
  for (let length = 0; length < file.length; length += 1) {
    const { kind } = faultOf(file.subarray(0, length));
    assert.equal(kind, length === 0 ? 'no-backup' : 'truncated', `${length} bytes`);
  }
});

test('B2: a file with one bit changed anywhere is refused, and bytes behind its end are', () => {
  const file = fileOf(captureBackup(filled(30), ABOUT));
  for (let at = 0; at < file.length; at += 1) {
    const changed = file.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    faultOf(changed);
  }
  const longer = faultOf(Buffer.concat([file, Buffer.from([0])]));
  assert.equal(longer.kind, 'damaged');
});

test('B2: a frame that is gone whole is noticed, and a version that is not known is named', () => {
  const pieces = [...encodeBackup(captureBackup(filled(), ABOUT), digest())];
  const without = Buffer.concat(pieces.filter((_, at) => at !== 3));
  assert.match(JSON.stringify(faultOf(without)), /SHA-256/);
  const file = Buffer.concat(pieces);
  file.writeUInt32LE(7, 8);
  assert.deepEqual(faultOf(file), { kind: 'future-version', version: 7 });
  assert.deepEqual(faultOf(Buffer.from('kind: Deployment\n')), { kind: 'no-backup' });
});

test('R1, R2: a restored state has all keys and records, and one revision more that says why', () => {
  const machine = filled();
  const backup = captureBackup(machine, ABOUT);
  const [own] = MEMBERS;
  assert.ok(own !== undefined);
  const made = rebornFromBackup(backup, own, BIRTH);
  assert.ok(made.ok, JSON.stringify(made));
  const { snapshot, hardState, revision } = made.value;
  assert.equal(revision, 201);
  const restored = new ControlMachine();
  assert.equal(createMemoryMachine(restored).restore(snapshot.data), true);
  assert.deepEqual(restored.get('keys/0007'), machine.get('keys/0007'));
  assert.equal(restored.revision, 201);
  assert.equal(restored.audit(201, 1)[0]?.what, 'restored');
  assert.deepEqual(restored.audit(1, 10), machine.audit(1, 10));
  const core = RaftNode.start(
    raftOptions({ id: 1, cluster: 'new-2', incarnation: own.incarnation, prng: createPrng(1) }),
    { hardState, snapshot, entries: [], applied: 0 },
    0,
  );
  assert.ok(core.ok, 'a member starts from it');
  assert.deepEqual(core.value.status().conf.voters, [1]);
});

test('a backup whose parts do not belong together is not restored', () => {
  const backup = captureBackup(filled(5), ABOUT);
  const [own] = MEMBERS;
  assert.ok(own !== undefined);
  const [first] = backup.items;
  assert.ok(first !== undefined);
  for (const wrong of [
    { ...backup, items: [...backup.items, first] },
    { ...backup, audit: backup.audit.slice(0, -1) },
    { ...backup, items: [{ ...first, modRevision: 99 }] },
  ]) {
    assert.equal(rebornFromBackup(wrong, own, BIRTH).ok, false);
  }
});

test('from the log of one of three: all that it holds counts, and its number stays', () => {
  const base = bootstrapStored(MEMBERS);
  const entries: Entry[] = [...base.entries];
  for (let index = 2; index <= 5; index += 1) {
    const payload = encodeCommand(transaction([put(`k${index}`, 'v')]));
    const data = encodeSessionCommand({ kind: 'plain', payload });
    entries.push({ term: 3, index, kind: 'command', timeMs: index, data });
  }
  // Only the first two of them are known to be committed.
  const stored = { ...base, hardState: { term: 4, votedFor: 2, commit: 3 }, entries };
  const made = rebornFromLog(stored, 2, BIRTH);
  assert.ok(made.ok, JSON.stringify(made));
  const { snapshot, hardState } = made.value;
  assert.equal(snapshot.meta.cluster, 'new-2');
  assert.equal(hardState.term, 5);
  assert.deepEqual(snapshot.meta.conf.voters, [2]);
  assert.equal(snapshot.meta.conf.idMax, 3, 'numbers that were given out stay used');
  const restored = new ControlMachine();
  assert.equal(createMemoryMachine(restored).restore(snapshot.data), true);
  assert.notEqual(restored.get('k5'), null, 'what may not be committed counts too');
  assert.equal(restored.audit(5, 1)[0]?.what, 'restored');
});

test('FL2: a restored log is at the level of the backup; one above this program is refused', () => {
  const [member] = MEMBERS;
  assert.ok(member !== undefined);
  const [level, above] = [FEATURE_LEVEL_MAX, FEATURE_LEVEL_MAX + 1].map((to) => {
    const machine = filled(3);
    driverOf(machine, 3)(raiseLevel(machine, to, 'test'));
    return rebornFromBackup(captureBackup(machine, ABOUT), member, BIRTH);
  });
  assert.ok(level?.ok === true && above?.ok === false);
  assert.equal(level.value.snapshot.meta.level, FEATURE_LEVEL_MAX);
  assert.match(above.error, /install a newer one/);
});

test('a state below their feature level begins at the first node of a region, not at a further one', () => {
  const member: Member = { id: 1, region: 'eu', node: 'b', incarnation: 1, ...PLAIN };
  const early = rebornFromBackup(captureBackup(filled(3), ABOUT), member, BIRTH);
  assert.match(
    early.ok ? '' : early.error,
    /feature level 1, .*: restore at the first node of a region/,
  );
  const machine = filled(3);
  driverOf(machine, 3)(raiseLevel(machine, FEATURE_LEVEL_MAX, 'test'));
  assert.ok(rebornFromBackup(captureBackup(machine, ABOUT), member, BIRTH).ok);
});
