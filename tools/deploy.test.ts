/** What stands in deploy/ fits what a node tells. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { parse } from 'yaml';

import { createMetrics } from '../src/io/observe/metrics.ts';
import { METRICS, type MetricSpec } from '../src/io/observe/metricTable.ts';
import { isRow } from '../src/main/json.ts';

const ROOT = dirname(import.meta.dirname);
const DEPLOY = join(ROOT, 'deploy');
const METRIC = /\b(?:banyan|gen_ai|process|nodejs)_[a-z0-9_]+\b/g;

/** Every name that `GET /metrics` can print, with those of the process. */
async function knownNames(): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (const [name, { type }] of Object.entries<MetricSpec>(METRICS)) {
    names.add(name);
    if (type !== 'histogram') continue;
    for (const part of ['bucket', 'sum', 'count']) names.add(`${name}_${part}`);
  }
  const build = { version: '1', nodeVersion: 'v1', region: 'a', node: 'a-1' };
  const { text } = await createMetrics(build).render();
  for (const [, name = ''] of text.matchAll(/^# TYPE (\S+) /gm)) names.add(name);
  return names;
}

/** Labels that our own metrics have, and those that Prometheus adds. */
const LABELS = new Set([
  ...Object.values<MetricSpec>(METRICS).flatMap(({ labels }) => labels),
  'le',
  'job',
  'instance',
  'alertname',
  'alertstate',
]);

/** Names in an expression that are neither a metric nor a label; strings are left out. */
function unknownNames(expr: string, known: ReadonlySet<string>): readonly string[] {
  const bare = expr.replaceAll(/"[^"]*"/g, '""');
  return [...bare.matchAll(METRIC)]
    .map(([name]) => name)
    .filter((name) => !known.has(name) && !LABELS.has(name));
}

/** The labels that an expression matches or groups by. */
function labelsIn(expr: string): readonly string[] {
  const matched = [...expr.matchAll(/([a-z_]\w*)\s*(?:=~|!~|!=|=)\s*"/g)].map((found) => found[1]);
  const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap((found) =>
    (found[1] ?? '').split(',').map((label) => label.trim()),
  );
  return [...matched, ...grouped].filter((label) => label !== undefined);
}

/** Every expression of the alert rules and the dashboard. */
function expressions(): readonly string[] {
  const rules = alertRules().map((rule) => String(rule['expr']));
  const dashboard: unknown = JSON.parse(readFileSync(join(DEPLOY, 'grafana/banyan.json'), 'utf8'));
  const found: string[] = [];
  JSON.stringify(dashboard, (key, value: unknown) => {
    if (key === 'expr' && typeof value === 'string') found.push(value);
    return value;
  });
  assert.ok(found.length > 40);
  return [...rules, ...found];
}

function alertRules(): readonly Readonly<Record<string, unknown>>[] {
  const file: unknown = parse(readFileSync(join(DEPLOY, 'prometheus/alerts.yml'), 'utf8'));
  const groups: unknown = isRow(file) ? file['groups'] : null;
  assert.ok(Array.isArray(groups));
  return groups.flatMap((group: unknown) => {
    const rules = isRow(group) ? group['rules'] : null;
    return Array.isArray(rules) ? rules.filter(isRow) : [];
  });
}

test('every metric and label that alerts and dashboard use is one that a node prints', async () => {
  const known = await knownNames();
  for (const expr of expressions()) {
    assert.deepEqual(unknownNames(expr, known), [], expr);
    for (const label of labelsIn(expr)) assert.ok(LABELS.has(label), `${label} in ${expr}`);
  }
  const misspelt = 'sum by (le) (rate(banyan_exchange_total{end="failed"}[1m]))';
  assert.deepEqual(unknownNames(misspelt, known), ['banyan_exchange_total'], 'the check can fail');
});

test('every alert has a severity, texts in both languages, and a runbook that exists', () => {
  const runbook = (language: string): string =>
    readFileSync(join(ROOT, 'docs/guide', language, 'operating.md'), 'utf8');
  const rules = alertRules();
  assert.ok(rules.length >= 10);
  for (const rule of rules) {
    const name = String(rule['alert']);
    const { labels, annotations } = rule;
    assert.ok(isRow(labels) && isRow(annotations), name);
    assert.match(String(labels['severity']), /^(critical|warning|info)$/, name);
    for (const field of ['summary', 'description']) {
      assert.match(String(annotations[field]), /[a-z]{3}/, `${name}.${field}`);
      assert.match(String(annotations[`${field}_zh`]), /\p{Script=Han}/u, `${name}.${field}_zh`);
    }
    assert.equal(annotations['runbook_url'], `docs/guide/operating.md#${name.toLowerCase()}`);
    for (const language of ['', 'zh']) assert.ok(runbook(language).includes(`### ${name}\n`), name);
  }
});

test('promtool takes the rules and their tests pass', (context) => {
  if (spawnSync('promtool', ['--version']).status !== 0) {
    return context.skip('no promtool on this machine (Debian: apt-get install prometheus)');
  }
  const cwd = join(DEPLOY, 'prometheus');
  assert.ok(existsSync(cwd));
  for (const args of [
    ['check', 'config', 'prometheus.yml'],
    ['check', 'rules', 'alerts.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ]) {
    const run = spawnSync('promtool', args, { cwd, encoding: 'utf8' });
    assert.equal(run.status, 0, `promtool ${args.join(' ')}\n${run.stdout}${run.stderr}`);
  }
});
