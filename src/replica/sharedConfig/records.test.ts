import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { encodeUtf8 } from '../../base/bytes.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { ControlMachine } from '../control/machine.ts';
import { decodeReply, encodeCommand } from '../control/codec.ts';
import type { Operation, Transaction } from '../control/types.ts';
import { putHead, putVersion, readHead, readVersion } from './records.ts';
import type { NodeReport } from './regionReport.ts';
import type { ConfigHead, ConfigVersion } from './records.ts';
import { dropReport, readReport, reportingPeers, tellReport } from './reports.ts';

const PLAIN = { noNullPrototype: true } as const;
const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };

function machineWith(...success: readonly Operation[]): ControlMachine {
  const machine = new ControlMachine();
  const command = {
    kind: 'transaction' as const,
    audit: AUDIT,
    compares: [],
    success,
    failure: [],
  };
  machine.apply(1, 0, encodeCommand(command));
  return machine;
}

const number = fc.nat();
const region = fc.constantFrom('eu-central-1', 'us-east-2', 'ap-northeast-1');
const counts = fc.record({ requests: number, errors: number }, PLAIN);
const head: fc.Arbitrary<ConfigHead> = fc.record(
  {
    newest: number,
    base: number,
    rollout: fc.option(
      fc.record(
        {
          version: number,
          startedMs: number,
          bakeMs: number,
          order: fc.array(region, { maxLength: 3 }),
          done: fc.array(region, { maxLength: 3 }),
          halted: fc.string(),
          stage: fc.option(
            fc.record(
              {
                region,
                startedMs: number,
                before: fc.option(
                  fc.record({ counts, out: fc.array(fc.string(), { maxLength: 3 }) }, PLAIN),
                ),
                bake: fc.option(
                  fc.record(
                    {
                      sinceMs: number,
                      marks: fc.array(fc.record({ peer: region, boot: number, counts }, PLAIN), {
                        maxLength: 3,
                      }),
                    },
                    PLAIN,
                  ),
                ),
              },
              PLAIN,
            ),
          ),
        },
        PLAIN,
      ),
    ),
  },
  PLAIN,
);

test('a head is read back as it was written', () => {
  fc.assert(
    fc.property(head, (written) => {
      deepEqual(readHead(machineWith(putHead(written)))?.head, written);
    }),
  );
});

test('a version is read back as it was written', () => {
  const written: ConfigVersion = {
    version: 12,
    kind: 'rollback',
    of: 7,
    isEmergency: true,
    outcome: 'rolled-back',
    who: 'ann',
    from: '127.0.0.1',
    why: 'ä reason',
    timeMs: 1_767_225_600_000,
    bytes: 4_096,
  };
  deepEqual(readVersion(machineWith(putVersion(written)), 12), written);
});

test('what a region tells is read back as it was written', () => {
  const report: NodeReport = {
    boot: 7,
    applied: 3,
    refused: { version: 4, why: 'no such file' },
    counts: { requests: 100, errors: 1 },
    before: { requests: 10, errors: 0 },
    out: ['vllm'],
  };
  const machine = machineWith(...tellReport('eu-central-1', report, AUDIT).success);
  deepEqual(readReport(machine, 'eu-central-1'), { report, modRevision: 1 });
  deepEqual(reportingPeers(machine), ['eu-central-1']);
  equal(readReport(machine, 'us-east-2'), null);
});

test('what is no head of this version of the program is told from none', () => {
  deepEqual(readHead(new ControlMachine()), {
    head: { newest: 0, base: 0, rollout: null },
    modRevision: 0,
  });
  const value = encodeUtf8('{');
  for (const type of ['config-head/1', 'config-head/9']) {
    equal(readHead(machineWith({ kind: 'put', key: 'config/head', type, value })), null);
  }
});

/** A head as it was written when a region had one node, and a mark was called after the region. */
const BEFORE =
  '03000000000000000200000000000000010300000000000000e803000000000000f401000000000000' +
  '010000000200000065750100000002000000757300000000010200000065754c0400000000000001' +
  '140000000000000001000000000000000100000004000000766c6c6d01b00400000000000002000000' +
  '0200000065750700000000000000140000000000000001000000000000000200000075730800000000' +
  '00000014000000000000000100000000000000';

test('a head from before regions had several nodes is read, and written byte for byte as it was', () => {
  const value = Uint8Array.from(Buffer.from(BEFORE, 'hex'));
  const machine = machineWith({ kind: 'put', key: 'config/head', type: 'config-head/1', value });
  const read = readHead(machine)?.head;
  const peers = read?.rollout?.stage?.bake?.marks.map(({ peer, boot }) => [peer, boot]);
  deepEqual(peers, [
    ['eu', 7],
    ['us', 8],
  ]);
  ok(read !== undefined);
  deepEqual(putHead(read), { kind: 'put', key: 'config/head', type: 'config-head/1', value });
});

test('all nodes that have told are known, however many, and one that is gone is taken out once', () => {
  const machine = new ControlMachine();
  const none = { requests: 0, errors: 0 };
  const report = { boot: 1, applied: 0, refused: null, counts: none, before: none, out: [] };
  let index = 0;
  const run = (transaction: Transaction) =>
    decodeReply(machine.apply((index += 1), 0, encodeCommand(transaction)));
  const { nodesMax } = SHARED_CONFIG_LIMITS;
  const names = Array.from({ length: nodesMax * 2 + 1 }, (_, at) => `eu/n${1_000 + at}`);
  for (const name of names) run(tellReport(name, report, AUDIT));
  deepEqual(reportingPeers(machine), names);
  const [first = '', second = ''] = names;
  const drop = dropReport(machine, first, AUDIT);
  const late = dropReport(machine, second, AUDIT);
  run(tellReport(second, report, AUDIT));
  ok(drop !== null && late !== null);
  for (const transaction of [drop, drop, late]) run(transaction);
  deepEqual(reportingPeers(machine), names.slice(1), 'who has told meanwhile stays');
  equal(machine.revision, names.length + 2);
  equal(dropReport(machine, first, AUDIT), null);
});
