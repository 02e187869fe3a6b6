import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import {
  combined,
  namesOf,
  regionsSeen,
  type NodeReport,
  type NodeSeen,
  type RegionSeen,
} from './regionReport.ts';

const { silentMs, outMax } = SHARED_CONFIG_LIMITS;
const [FIRST, TWO, THREE] = ['eu', 'eu/two', 'eu/three'] as const;

function report(more: Partial<NodeReport> = {}): NodeReport {
  const none = { requests: 0, errors: 0 };
  return { boot: 1, applied: 1, refused: null, counts: none, before: none, out: [], ...more };
}

const heard = (more: Partial<NodeReport> = {}): NodeSeen => ({ report: report(more), silentMs: 0 });
const silent = (ms: number): NodeSeen => ({ report: null, silentMs: ms });

function eu(nodes: Readonly<Record<string, NodeSeen>>): RegionSeen | undefined {
  return regionsSeen(new Map(Object.entries(nodes))).get('eu');
}

test('the oldest version of the nodes that are heard is that of the region', () => {
  const seen = eu({ [FIRST]: heard({ applied: 3 }), [TWO]: heard({ applied: 2 }) });
  equal(seen?.report?.applied, 2);
  equal(seen.silentMs, 0);
});

test('a region is not heard while a node of it is silent for a moment only', () => {
  deepEqual(eu({ [FIRST]: heard(), [TWO]: silent(silentMs - 1) }), {
    report: null,
    silentMs: silentMs - 1,
    isSingle: false,
  });
});

test('a node that is silent for longer is left out, as long as another one is heard', () => {
  const seen = eu({ [FIRST]: heard({ applied: 3 }), [TWO]: silent(silentMs) });
  deepEqual([...(seen?.report?.nodes.keys() ?? [])], [FIRST]);
  equal(seen?.report?.applied, 3);
  const both = { [FIRST]: silent(silentMs * 9), [TWO]: silent(silentMs * 2) };
  deepEqual(eu(both), { report: null, silentMs: silentMs * 2, isSingle: false });
});

test('one that is gone does not hide that another one is silent for a moment', () => {
  const nodes = { [FIRST]: heard(), [TWO]: silent(silentMs * 9), [THREE]: silent(1) };
  equal(eu(nodes)?.report, null);
});

test('what is before is added up, and targets that are out anywhere are out', () => {
  const { before, out } = combined(
    new Map([
      [FIRST, report({ before: { requests: 10, errors: 1 }, out: ['a', 'b'] })],
      [TWO, report({ before: { requests: 5, errors: 2 }, out: ['b', 'c'] })],
    ]),
  );
  deepEqual(before, { requests: 15, errors: 3 });
  deepEqual(out, ['a', 'b', 'c']);
});

test('targets that are out are limited in number, however many nodes name others', () => {
  const names = (node: string, count: number) =>
    Array.from({ length: count }, (_, at) => `${node}-${at}`);
  const of = (count: number) =>
    combined(
      new Map([
        [FIRST, report({ out: names('a', outMax - 1) })],
        [TWO, report({ out: names('b', count) })],
      ]),
    ).out.length;
  equal(of(1), outMax);
  equal(of(2), outMax);
});

test('what any node refuses the region refuses: the newest version, and whose word it is', () => {
  const { refused } = combined(
    new Map([
      [FIRST, report({ refused: { version: 2, why: 'old' } })],
      [TWO, report({ refused: { version: 3, why: 'no such file' } })],
      [THREE, report()],
    ]),
  );
  deepEqual(refused, { version: 3, why: 'no such file', peer: TWO });
});

test('nodes belong to the region that their names begin with', () => {
  const seen = regionsSeen(
    new Map([
      ['us/eu', heard()],
      ['eu', heard()],
      ['us', silent(1)],
    ]),
  );
  deepEqual([...seen.keys()], ['eu', 'us']);
  equal(seen.get('eu')?.isSingle, true);
  equal(seen.get('us')?.report, null);
});

test('a sentence names nodes only where a region has several', () => {
  equal(namesOf([FIRST], true, 'it'), 'it');
  equal(namesOf([FIRST, TWO], false, 'it'), 'its first node, node two');
});
