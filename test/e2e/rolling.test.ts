/**
 * Every region of three is stopped and started again, one after the other, under load: with the same
 * program, and from the program before this one, whose logs and keys are taken over.
 *
 * What holds: a key that was told to be made is there afterwards in every region; a request that goes
 * to the next region where one does not take it never fails, and needs two tries at most.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, it } from 'node:test';
import { promisify } from 'node:util';

import { FEATURE_LEVEL_MAX } from '../../src/replica/control/features.ts';
import { controlCluster, startAll, untilLed, type Place } from '../support/controlCluster.ts';
import { ask } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, cleanUp, tempDir, until } from '../support/node.ts';

const ROOT = dirname(dirname(import.meta.dirname));
/** The last program whose control state had another format of files and fewer paths. */
const BEFORE = '52a58e7';
const run = promisify(execFile);

/** Round trips between the regions, ms. */
const RTT_MS: Readonly<Record<string, number>> = {
  'ap-northeast-1 eu-central-1': 220,
  'ap-northeast-1 us-east-2': 150,
  'eu-central-1 us-east-2': 100,
};

afterEach(cleanUp);

async function regions(): Promise<readonly Place[]> {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  const names = ['ap-northeast-1', 'eu-central-1', 'us-east-2'];
  const specs = names.map((region) => ({ region, target: `${fake.origin}/v1` }));
  return controlCluster(specs, {
    delayMs: (from, to) => RTT_MS[[from, to].toSorted().join(' ')] ?? 0,
  });
}

/** Keys are made and requests asked until it is stopped. */
class Load {
  readonly made: string[] = [];
  readonly failed: string[] = [];
  asked = 0;
  triesMax = 0;
  readonly #places: readonly Place[];
  #isOver = false;
  readonly #running: Promise<unknown>;

  constructor(places: readonly Place[]) {
    this.#places = places;
    this.#running = Promise.all([this.#write(), this.#request(0), this.#request(1)]);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  async #write(): Promise<void> {
    for (let count = 0; !this.#isOver; count += 1) {
      const name = `load-${count}`;
      const isMade = await this.#make(name);
      if (isMade) this.made.push(name);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** True once a region has said so; a name that is taken was made by a try whose answer was lost. */
  async #make(name: string): Promise<boolean> {
    while (!this.#isOver) {
      for (const place of this.#places) {
        const { status, json } = await place.admin('keys', { action: 'create', name });
        if (status === 200 || json?.error?.code === 'key_exists') return true;
      }
    }
    return false;
  }

  async #request(first: number): Promise<void> {
    for (let count = first; !this.#isOver; count += 1) {
      let tries = 0;
      let told = '';
      for (const at of [0, 1, 2]) {
        const place = this.#places[(count + at) % this.#places.length];
        assert.ok(place !== undefined);
        tries += 1;
        told = await tell(place);
        if (told === 'served') break;
      }
      this.asked += 1;
      this.triesMax = Math.max(this.triesMax, tries);
      if (told !== 'served') this.failed.push(told);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function tell(place: Place): Promise<string> {
  try {
    const question = { dialect: 'openai', model: 'm', isStream: false } as const;
    const { status, body } = await ask(place.apiUrl, question);
    return status === 200 ? 'served' : `${place.region}: ${status} ${body}`;
  } catch (cause) {
    return `${place.region}: ${String(cause)}`;
  }
}

/** One after the other, each only once the one before is a member again. */
async function roll(places: readonly Place[], root = ROOT, all = places): Promise<void> {
  for (const place of places) {
    await place.end();
    await place.start(root);
    await untilLed(all);
  }
}

async function holds(places: readonly Place[], load: Load): Promise<void> {
  assert.deepEqual(load.failed, [], 'no request failed');
  assert.ok(load.triesMax <= 2, `${load.triesMax} tries`);
  assert.ok(load.made.length > 5 && load.asked > 50, `${load.made.length}, ${load.asked}`);
  console.log(`# ${load.made.length} keys, ${load.asked} requests, ${load.triesMax} tries at most`);
  for (const place of places) {
    await until(
      `${place.region} has every key`,
      async () => {
        const { json } = await place.admin('keys');
        const names = new Set(json?.items?.map(({ name }) => name));
        return load.made.every((name) => names.has(name));
      },
      20_000,
    );
  }
}

it('a rolling restart under load loses no key and fails no request', async () => {
  const places = await regions();
  await startAll(places);
  const load = new Load(places);
  await roll(places);
  await load.stop();
  await holds(places, load);
});

it('a rolling upgrade from the program before takes its state over under load', async (test) => {
  const isThere = await run('git', ['cat-file', '-e', `${BEFORE}^{commit}`], { cwd: ROOT }).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    test.skip('this checkout has no history');
    return;
  }
  const before = await tempDir();
  const archive = join(before, 'before.tar');
  const wanted = ['src', 'package.json', 'tsconfig.json'];
  await run('git', ['archive', '-o', archive, BEFORE, ...wanted], { cwd: ROOT });
  await run('tar', ['-xf', archive, '-C', before]);
  await symlink(join(ROOT, 'node_modules'), join(before, 'node_modules'));
  const places = await regions();
  await Promise.all(places.map((place) => place.start(before)));
  await untilLed(places);
  const load = new Load(places);
  await until('the program before has made keys', () => load.made.length >= 3, 20_000);
  const [first, ...others] = places;
  assert.ok(first !== undefined);
  await roll([first], ROOT, places);
  const { json } = await first.admin('outlook');
  assert.equal(json?.level, 1, 'the level of the programs that are there');
  const told = json.findings?.find(({ code }) => code === 'held-back');
  for (const { region } of others) assert.match(told?.message ?? '', new RegExp(region));
  await roll(others, ROOT, places);
  await load.stop();
  await holds(places, load);
  await until('the level rises by itself', () => areAtLevel(places, FEATURE_LEVEL_MAX), 20_000);
  // The program before takes no part in it any more, and serves.
  await first.end();
  await first.start(before);
  const { json: group } = await first.admin('members');
  assert.equal(group?.state, 'failed', JSON.stringify(group));
  assert.equal(await tell(first), 'served');
  await roll([first], ROOT, places);
  // It comes back with what its snapshot holds, and hears the rest.
  await until('it is there again', () => areAtLevel(places, FEATURE_LEVEL_MAX), 20_000);
});

async function areAtLevel(places: readonly Place[], level: number): Promise<boolean> {
  const told = await Promise.all(places.map((place) => place.admin('outlook')));
  return told.every(({ json }) => json?.level === level);
}
