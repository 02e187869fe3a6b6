/** The guide in both languages: the same pages, the same structure, links that lead somewhere. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';

import { parseConfig } from '../src/main/config/load.ts';

const ROOT = dirname(import.meta.dirname);
const GUIDE = join(ROOT, 'docs/guide');
const REFERENCE = join(ROOT, 'docs/reference');

function pages(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .toSorted();
}

function outside(text: string): string {
  return text.replaceAll(/^```[^]*?^```$/gm, '');
}

/** Levels of the headings, and the languages of the code blocks. */
function structure(text: string): readonly string[] {
  const heads = [...outside(text).matchAll(/^(#+) /gm)].map((found) => found[1] ?? '');
  return [...heads, ...[...text.matchAll(/^```(\w+)$/gm)].map((found) => found[1] ?? '')];
}

test('every page of the guide stands in both languages, with the same headings and code', () => {
  assert.deepEqual(pages(join(GUIDE, 'zh')), pages(GUIDE));
  for (const name of pages(GUIDE)) {
    const english = readFileSync(join(GUIDE, name), 'utf8');
    const chinese = readFileSync(join(GUIDE, 'zh', name), 'utf8');
    assert.deepEqual(structure(chinese), structure(english), name);
    const han = outside(chinese).match(/\p{Script=Han}/gu) ?? [];
    assert.ok(han.length > 100, `${name} is in Chinese`);
  }
});

test('every link inside the documentation leads to a file', () => {
  const files = [GUIDE, join(GUIDE, 'zh'), REFERENCE, join(REFERENCE, 'zh'), join(ROOT, 'deploy')]
    .filter(existsSync)
    .flatMap((folder) => pages(folder).map((name) => join(folder, name)));
  files.push(join(ROOT, 'README.md'), join(ROOT, 'README.zh-CN.md'));
  for (const file of files) {
    for (const [, link = ''] of outside(readFileSync(file, 'utf8')).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|#)/.test(link)) continue;
      const target = join(dirname(file), link.replace(/#.*$/, ''));
      assert.ok(existsSync(target), `${relative(ROOT, file)}: ${link}`);
    }
  }
});

test('every whole configuration in the guide loads', () => {
  const set = new Proxy({}, { get: () => 'x' });
  let count = 0;
  for (const folder of [GUIDE, join(GUIDE, 'zh')]) {
    for (const name of pages(folder)) {
      const text = readFileSync(join(folder, name), 'utf8');
      for (const [, yaml = ''] of text.matchAll(/^```yaml\n([^]*?)^```$/gm)) {
        // Fragments stand for parts of a file: a region and what they lack makes them whole.
        const isWhole = /^region:/m.test(yaml);
        if (!isWhole) continue;
        const parsed = parseConfig(yaml, 'banyan.yaml', set);
        assert.ok(parsed.ok, `${name}: ${JSON.stringify(parsed.ok ? [] : parsed.error)}`);
        count += 1;
      }
    }
  }
  assert.ok(count >= 4);
});
