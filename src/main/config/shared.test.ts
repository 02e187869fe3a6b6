import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { readDocument } from './document.ts';
import { parseConfig } from './load.ts';
import { mergeDocuments } from './merge.ts';
import { renderProblems } from './render.ts';
import { readShared, textFor, unknownRegions } from './shared.ts';

const OWN = `region: eu-central-1
keys: [{ name: own, key: "\${OWN_KEY}" }]
targets: [{ name: local, kind: openai, baseUrl: http://127.0.0.1:1/v1 }]
models: [{ name: small, targets: [local] }]
limits: { drainMs: 7 }
`;
const env = { OWN_KEY: 'sk-own-secret', SECRET: 'sk-secret' };

async function merge(shared: string, own = OWN) {
  const parsed = parseConfig(own, 'node.yaml', env);
  ok(parsed.ok);
  return parsed.value.config.withShared(shared);
}

async function problemsOf(shared: string, own = OWN): Promise<string> {
  const merged = await merge(shared, own);
  ok(!merged.ok, 'it is refused');
  return renderProblems('shared.yaml', merged.error).trimEnd();
}

async function nodeOf(shared: string) {
  const merged = await merge(shared);
  ok(merged.ok, merged.ok ? '' : renderProblems('shared.yaml', merged.error));
  return merged.value.config.node(new Map());
}

const SHARED = `targets:
  - { name: vllm, kind: openai, baseUrl: http://vllm:8000/v1, apiKey: "\${SECRET}" }
models:
  - name: large
    attemptsMax: 2
    targets: [vllm, local]
limits: { drainMs: 5, exchangesMax: 100 }
retryBudgetPercent: 20
regions:
  eu-central-1:
    targets:
      - { name: vllm, baseUrl: http://vllm.eu:8000/v1 }
      - { name: more, kind: openai, baseUrl: http://more/v1 }
    models: [{ name: large, targets: [{ target: vllm, weight: 3 }, more] }]
    limits: { exchangesMax: 50, drainMs: 6 }
  us-east-2:
    targets: [{ name: vllm, baseUrl: http://vllm.us:8000/v1 }]
`;

test('what all share, what differs here and the own file are one configuration', async () => {
  const node = await nodeOf(SHARED);
  deepEqual(
    node.targets.map(({ name, origin, apiKey }) => [name, origin, apiKey]),
    [
      ['vllm', 'http://vllm.eu:8000', 'sk-secret'],
      ['more', 'http://more', null],
      ['local', 'http://127.0.0.1:1', null],
    ],
  );
  deepEqual(
    node.models.map(({ name, attemptsMax, route }) => [name, attemptsMax, route.targets.length]),
    [
      ['large', 2, 2],
      ['small', 4, 1],
    ],
  );
  equal(node.models[0]?.route.targets[0]?.weight, 3);
  equal(node.exchangesMax, 50, 'the region before all');
  equal(node.retryBudgetPercent, 20);
  const merged = await merge(SHARED);
  equal(merged.ok && merged.value.config.shell.drainMs, 7, 'the own file before all');
});

test('another region has its own address', async () => {
  const merged = await merge(SHARED, OWN.replace('eu-central-1', 'us-east-2'));
  ok(merged.ok);
  equal(merged.value.config.node(new Map()).targets[0]?.origin, 'http://vllm.us:8000');
});

test('a name that stands in both is refused with both places', async () => {
  equal(
    await problemsOf('targets:\n  - { name: local, kind: openai, baseUrl: http://x/v1 }\n'),
    'shared.yaml:2:13: targets[0].name: "local" stands in the node\'s own file too (node.yaml:3:19)',
  );
});

test('problems stand where the shared text has them', async () => {
  const text = `targets:
  - { name: a, kind: openai, baseUrl: http://a/v1 }
models:
  - { name: m, targets: [a, nowhere] }
regions:
  eu-central-1:
    models:
      - { name: m, attemptsMax: 0 }
      - { name: n, targetz: [a] }
    targets:
      - { name: a, tls: { ca: missing.pem }, baseUrl: https://a/v1 }
`;
  equal(
    await problemsOf(text),
    [
      'shared.yaml:4:29: models[0].targets[1]: no target "nowhere" in this file',
      'shared.yaml:8:33: regions.eu-central-1.models[0].attemptsMax: must be at least 1',
      'shared.yaml:9:9: regions.eu-central-1.models[1]: has no targets, ' +
        'and there are no other regions to serve it',
      'shared.yaml:9:20: regions.eu-central-1.models[1]: unknown key "targetz"; did you mean "targets"?',
    ].join('\n'),
  );
});

test('files that the shared text names must exist', async () => {
  const text = `targets: [{ name: a, kind: openai, baseUrl: https://a/v1, tls: { ca: missing.pem } }]
models: [{ name: m, targets: [a] }]`;
  equal(
    await problemsOf(text),
    'shared.yaml:1:70: targets[0].tls.ca: the file cannot be read: ENOENT',
  );
});

test('what is no shared configuration is told by itself', async () => {
  equal(
    await problemsOf('region: x\nrollout: { bakeMs: -1 }\n'),
    'shared.yaml:1:1: unknown key "region"; did you mean "regions"?\n' +
      'shared.yaml:2:20: rollout.bakeMs: must be at least 0',
  );
  equal(await problemsOf(''), 'shared.yaml:1:1: is empty');
  equal(await problemsOf('targets: ['), 'shared.yaml:1:11: wrong indentation');
  const twice = 'regions: { eu-central-1: { models: [{ name: m }, { name: m }] } }';
  ok((await problemsOf(twice)).includes('stands twice in the list of this region'));
});

test('no secret of the environment is in a problem', async () => {
  const text =
    'targets: [{ name: "${SECRET}", kind: openai, baseUrl: "${SECRET}", apiKey: plain }]';
  const problems = await problemsOf(text);
  ok(!/sk-|plain/.test(problems), problems);
  const missing = await problemsOf('targets: [{ name: a, kind: openai, baseUrl: "${NOT_SET}" }]');
  ok(missing.includes('the environment variable NOT_SET is not set'), missing);
});

test('a region that is none is found', () => {
  const shared = readShared('rollout: { order: [us-east-2] }\nregions: { eu-centrall-1: {} }', {});
  ok(shared.ok);
  equal(
    renderProblems('f', unknownRegions(shared.value, ['eu-central-1', 'us-east-2'])),
    'f:2:12: regions.eu-centrall-1: there is no such region; did you mean "eu-central-1"?\n',
  );
});

test('what a region gets is shown with references as they stand', () => {
  const text = textFor(SHARED, 'us-east-2') ?? '';
  ok(text.includes('http://vllm.us:8000/v1') && text.includes('${SECRET}'), text);
  ok(!text.includes('regions:') && !text.includes('more'), text);
});

const name = fc.constantFrom('a', 'b', 'c', 'd');
const fieldsOf = fc.record(
  { name, x: fc.nat(9), y: fc.nat(9) },
  { requiredKeys: ['name'], noNullPrototype: true },
);
const list = fc.uniqueArray(fieldsOf, { selector: (entry) => entry.name, maxLength: 4 });
const ownList = list.map((entries) =>
  entries.map((entry) => ({ ...entry, name: `own-${entry.name}` })),
);
type Fields = { readonly name: string; readonly x?: number; readonly y?: number };

test('every field is that of the most specific place, and is found there (MG1)', () => {
  fc.assert(
    fc.property(list, list, ownList, (base, over, own) => {
      const lines = (entries: readonly Fields[], indent: string) =>
        entries.flatMap((entry) => [
          `${indent}- name: ${entry.name}`,
          ...(entry.x === undefined ? [] : [`${indent}  x: ${entry.x}`]),
          ...(entry.y === undefined ? [] : [`${indent}  y: ${entry.y}`]),
        ]);
      const text = [
        'targets:',
        ...lines(base, '  '),
        'regions:',
        '  here:',
        '    targets:',
        ...lines(over, '      '),
      ];
      const ownText = ['region: here', 'targets:', ...lines(own, '  ')];
      const ownDocument = readDocument(ownText.join('\n'), {});
      const shared = readDocument(text.join('\n'), {});
      const merged = mergeDocuments(ownDocument, 'own', shared, 'here');
      const byName = new Map<string, Fields>(base.map((entry) => [entry.name, entry]));
      for (const entry of over) byName.set(entry.name, { ...byName.get(entry.name), ...entry });
      const wanted: readonly Fields[] = [...byName.values(), ...own];
      const { targets = [] } = merged.value as { targets?: readonly Fields[] };
      deepEqual(targets, wanted);
      targets.forEach((entry, index) => {
        for (const field of ['x', 'y'] as const) {
          if (entry[field] === undefined) continue;
          const at = ['targets', index, field];
          const { line, column } = merged.placeOf(at);
          const source = merged.origin(at).file === 'own' ? ownText : text;
          const found = source[line - 1]?.slice(column - 1);
          equal(found, String(entry[field]));
        }
      });
      deepEqual(merged.problems, []);
    }),
  );
});
