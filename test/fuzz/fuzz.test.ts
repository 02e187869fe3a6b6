/** The fuzzer's generators, as many inputs as seconds allow; `npm run fuzz` is the long command. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AREA_NAMES, AREAS, runArea, type AreaName } from './areas.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_123);
const INPUTS: Readonly<Record<AreaName, number>> = {
  http: 8_000,
  sse: 10_000,
  json: 20_000,
  peer: 10_000,
  config: 1_000,
  provider: 15_000,
};

for (const area of AREA_NAMES) {
  const made = AREAS[area]();
  made.close?.();
  test(`${area}, ${INPUTS[area]} inputs: ${made.claim} (FUZZ_SEED=${SEED})`, async () => {
    const run = { area, seed: SEED, from: 0, inputs: INPUTS[area] };
    const { done, taken, failure } = await runArea(run);
    const replay = `npm run fuzz -- --area ${area} --seed ${SEED} --from ${failure?.index} --inputs 1`;
    assert.equal(failure, null, `${replay}\n${String(failure?.cause)}`);
    assert.equal(done, INPUTS[area]);
    assert.ok(taken > done / 50, `only ${taken} were taken: the inputs are too rough`);
  });
}
