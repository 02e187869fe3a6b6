/**
 * The configuration file: mutated from the files of the problem tests and the example. Loading never
 * throws; a refusal names line, column and reason, and no value of the environment.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { parseConfig } from '../../src/main/config/load.ts';
import { renderProblems } from '../../src/main/config/render.ts';
import { chance, mutateText, pick, type Area } from './area.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const SECRET = 'sk-environment-secret';
const ENVIRONMENT = {
  API_KEY: SECRET,
  EMPTY: '',
  NAME: 'environment-name',
  SHOP_APP_KEY: `${SECRET}-shop`,
  OPENAI_API_KEY: `${SECRET}-openai`,
  ANTHROPIC_API_KEY: `${SECRET}-anthropic`,
  OTLP_TOKEN: `${SECRET}-otlp`,
  PROMETHEUS_ADMIN_KEY: `${SECRET}-admin`,
};
const SPLICES = [
  '\n',
  '\n  ',
  '\n- ',
  ': ',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '#',
  '&a ',
  '*a',
  '<<: *a\n',
  '!!binary ',
  '!!js ',
  '|\n',
  '>-\n',
  '---\n',
  '...\n',
  '\t',
  '${API_KEY}',
  '${NOBODY}',
  '${',
  '$${',
  '? ',
  'null',
  '~',
  '1e999',
  '-1',
  '.nan',
  '0x10',
  'true',
  '2026-01-01',
  '__proto__: 1\n',
  'region: b\n',
  'targets: []\n',
  'models:\n  - { name: z, targets: [z] }\n',
  '\u0000',
  '\ufeff',
  '你',
  '\u2028',
];

/** The example of the reference. */
function example(): string {
  const page = readFileSync(join(ROOT, 'docs/reference/configuration.md'), 'utf8');
  const found = /```yaml\n([^]*?)```/.exec(page)?.[1];
  assert.ok(found !== undefined, 'the reference has an example');
  return found;
}

/** Files of the problem tests, good and bad. */
function seeds(): readonly string[] {
  const file = join(ROOT, 'src/main/config/testdata/problems.txt');
  const scenarios = readFileSync(file, 'utf8')
    .split(/^==== /m)
    .slice(1);
  return scenarios.map((scenario) => {
    const start = scenario.indexOf('\n') + 1;
    return scenario.slice(start, scenario.indexOf('----\n', start));
  });
}

export function configArea(): Area {
  const files = seeds();
  const good = files.filter((text) => parseConfig(text, 'banyan.yaml', ENVIRONMENT).ok);
  assert.ok(good.length > 0, 'some of the files are good');
  const whole = example();
  assert.ok(parseConfig(whole, 'banyan.yaml', ENVIRONMENT).ok, 'the example is good');
  return {
    claim: 'a file is loaded or refused with line, column and reason; nothing throws',
    one: (prng) => {
      const text = mutateText(
        prng,
        chance(prng, 20) ? whole : pick(prng, chance(prng, 50) ? good : files),
        SPLICES,
      );
      const label = JSON.stringify(text);
      const parsed = (() => {
        try {
          return parseConfig(text, 'banyan.yaml', ENVIRONMENT);
        } catch (cause) {
          throw new Error(`${label} throws`, { cause });
        }
      })();
      const problems = parsed.ok ? parsed.value.warnings : parsed.error;
      if (!parsed.ok) {
        assert.ok(
          problems.some(({ severity }) => severity === 'error'),
          `${label}: refused without an error`,
        );
      }
      const lines = text.split(/\r\n|[\n\r]/).length;
      for (const { place, message } of problems) {
        assert.ok(place.line >= 1 && place.line <= lines, `${label}: line ${place.line}`);
        assert.ok(place.column >= 1, `${label}: column ${place.column}`);
        assert.notEqual(message, '', label);
      }
      const shown = renderProblems('banyan.yaml', problems);
      assert.ok(!shown.includes(SECRET), `${label} tells a secret: ${shown}`);
      assert.ok(
        shown === '' || /^banyan\.yaml:\d+:\d+: \S/.test(shown),
        `${label}: no place in ${shown}`,
      );
      return parsed.ok;
    },
  };
}
