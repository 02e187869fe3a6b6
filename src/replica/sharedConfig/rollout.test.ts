import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { regionOfPeer } from '../../base/peerName.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { assignedTo, listVersions, readText } from './records.ts';
import { inOrder } from './rollout.ts';
import { RolloutWorld } from './rolloutTestkit.ts';

const [EU, US, AP] = ['eu-central-1', 'us-east-2', 'ap-northeast-1'] as const;
/** A further node of `EU`. */
const EU2 = `${EU}/two`;
const { errorsMin, requestsMin, silentMs, applyMs } = SHARED_CONFIG_LIMITS;

const world = () => new RolloutWorld(EU, US, AP);
const assigned = (one: RolloutWorld) => [EU, US, AP].map((name) => assignedTo(one.head, name));

/** A world whose version 2 bakes in `AP`. */
function baking(): RolloutWorld {
  const one = world();
  one.push('a', { isEmergency: true });
  one.push('b');
  equal(one.step(), `goes to ${AP}`);
  equal(one.step(), `bakes in ${AP}`);
  return one;
}

test('a version goes to one region, bakes, and goes to the next; the leader is last', () => {
  const one = world();
  one.push('a');
  deepEqual(one.steps(EU), [
    `goes to ${AP}`,
    `bakes in ${AP}`,
    `goes to ${US}`,
    `bakes in ${US}`,
    `goes to ${EU}`,
    `bakes in ${EU}`,
    'everywhere',
  ]);
  deepEqual(one.head, { newest: 1, base: 1, rollout: null });
  equal(listVersions(one.machine)[0]?.outcome, 'everywhere');
});

test('a stated order is kept, also where it names the region that leads', () => {
  deepEqual(inOrder([EU, US, AP], [US], EU), [US, AP, EU]);
  deepEqual(inOrder([EU, US, AP], [EU], EU), [EU, AP, US]);
  deepEqual(inOrder([EU, US, AP], ['gone', US], null), [US, AP, EU]);
});

test('only the region of the stage has the version while it bakes', () => {
  const one = baking();
  deepEqual(assigned(one), [1, 1, 2]);
  equal(one.step(), null, 'the time is not over');
  one.nowMs += 1_000;
  equal(one.step(), `goes to ${EU}`);
  deepEqual(assigned(one), [2, 1, 2]);
});

test('an emergency counts everywhere at once, and ends what is under way', () => {
  const one = baking();
  one.push('c', { isEmergency: true });
  deepEqual(assigned(one), [3, 3, 3]);
  deepEqual(
    listVersions(one.machine).map(({ outcome }) => outcome),
    ['everywhere', 'replaced', 'everywhere'],
  );
});

test('errors that rise in the region of the stage halt it', () => {
  const one = baking();
  one.serve(AP, requestsMin, errorsMin);
  one.serve(US, 1_000, 0);
  match(one.step() ?? '', /halted in ap-northeast-1: errors rose to 25\.0 % \(5 of 20\)/);
  equal(one.step(), null, 'it stays where it is');
  deepEqual(assigned(one), [1, 1, 2]);
});

test('a few errors, or errors of a few requests, halt nothing', () => {
  const one = baking();
  one.serve(AP, requestsMin - 1, requestsMin - 1);
  equal(one.step(), null);
  const other = baking();
  other.serve(AP, 10_000, errorsMin - 1);
  equal(other.step(), null);
});

test('errors that were there before, or are everywhere, halt nothing', () => {
  const one = world();
  one.push('a');
  one.node(AP).before = { requests: 100, errors: 20 };
  one.step();
  one.step();
  one.serve(AP, 100, 40);
  equal(one.step(), null, 'not above twice the rate before');
  one.serve(AP, 100, 60);
  match(one.step() ?? '', /halted/);
  const other = baking();
  other.serve(AP, 100, 40);
  other.serve(EU, 100, 40);
  equal(other.step(), null);
});

test('a few requests elsewhere, or before, speak for nothing', () => {
  const one = baking();
  one.serve(AP, 500, 500);
  one.serve(US, 1, 1);
  match(one.step() ?? '', /halted/);
  const quiet = world();
  quiet.push('a');
  quiet.node(AP).before = { requests: requestsMin - 1, errors: requestsMin - 1 };
  quiet.step();
  quiet.step();
  quiet.serve(AP, 500, 500);
  quiet.serve(EU, 500, 0);
  match(quiet.step() ?? '', /halted/);
});

test('a target that fails only with the version halts it', () => {
  const one = baking();
  one.node(AP).out = ['vllm'];
  one.node(US).out = ['vllm'];
  equal(one.step(), null, 'it is out without the version too');
  one.node(US).out = [];
  equal(one.step(), `halted in ${AP}: targets fail: vllm`);
});

test('a region that refuses, is silent, restarts or is late halts it', () => {
  const refusing = world();
  refusing.refusing.set(AP, 1);
  refusing.push('a');
  match(refusing.steps().at(-1) ?? '', /halted in ap-northeast-1: it refuses the version: no such/);
  const silent = baking();
  silent.silent.set(AP, silentMs - 1);
  equal(silent.step(), null);
  silent.silent.set(AP, silentMs);
  match(silent.step() ?? '', /it stopped answering/);
  const restarted = baking();
  restarted.node(AP).boot = 2;
  match(restarted.step() ?? '', /restarted while it baked/);
  const late = world();
  late.push('a');
  late.step();
  late.nowMs += applyMs + 1;
  const transaction = late.decide(late.stored);
  match(transaction?.audit.what ?? '', /did not take the version in time/);
});

test('a region that is taken out of the cluster while it is at it is left, and holds nothing up', () => {
  const one = baking();
  one.nodes.delete(AP);
  deepEqual(one.steps(), [
    `leaves ${AP}, of which no node is known any more`,
    `goes to ${EU}`,
    `bakes in ${EU}`,
    `goes to ${US}`,
    `bakes in ${US}`,
    'everywhere',
  ]);
  const applying = world();
  applying.push('a');
  equal(applying.step(), `goes to ${AP}`);
  applying.nodes.delete(AP);
  match(applying.step() ?? '', /^leaves /);
  applying.nodes.set(AP, applying.node(US));
  equal(applying.step(), `goes to ${AP}`, 'it is back');
});

test('a halted roll-out that is resumed takes the errors of now for those before', () => {
  const one = baking();
  one.serve(AP, 100, 50);
  match(one.step() ?? '', /halted/);
  one.node(AP).before = { requests: 100, errors: 50 };
  one.resume();
  equal(one.step(), `bakes in ${AP}`);
  one.serve(AP, 100, 50);
  equal(one.steps().at(-1), 'everywhere');
});

test('a roll-out that is resumed waits for a node to try again what it refused', () => {
  const one = world();
  one.refusing.set(AP, 1);
  one.push('a');
  match(one.steps().at(-1) ?? '', /halted in ap-northeast-1: it refuses/);
  one.resume();
  equal(one.step(), null, 'it has not tried yet');
  one.refusing.clear();
  equal(one.step(), `bakes in ${AP}`);
  const still = world();
  still.refusing.set(AP, 1);
  still.push('a');
  still.steps();
  still.resume();
  still.nowMs += applyMs + 1;
  match(still.step() ?? '', /halted in ap-northeast-1: it refuses/);
});

test('a roll-out that is ended takes the regions back to what the others have', () => {
  const one = baking();
  ok(one.end());
  deepEqual(assigned(one), [1, 1, 1]);
  deepEqual(
    listVersions(one.machine).map(({ outcome }) => outcome),
    ['everywhere', 'rolled-back'],
  );
});

test('a region that is not heard is put off, and has the version once it comes back', () => {
  const one = world();
  one.push('a');
  one.silent.set(AP, silentMs - 1);
  equal(one.step(), null, 'it is waited for');
  one.silent.set(AP, silentMs);
  deepEqual(one.steps().at(-1), `everywhere; not heard: ${AP}`);
  equal(assignedTo(one.head, AP), 1);
});

test('nothing counts everywhere while nobody is heard', () => {
  const one = world();
  one.push('a');
  for (const region of [EU, US, AP]) one.silent.set(region, silentMs);
  equal(one.step(), null);
});

test('of two that push at once one is told of a conflict, and nothing is lost', () => {
  const one = world();
  const before = one.stored;
  one.push('a');
  const late = one.decide(one.stored);
  ok(late !== null);
  one.push('b', { isEmergency: true });
  equal(one.run(late), false, 'a step that was decided before does nothing');
  ok(one.stored.modRevision > before.modRevision);
  deepEqual([readText(one.machine, 1), readText(one.machine, 2)], ['a', 'b']);
});

test('the history keeps its limits, and what is in force', () => {
  const one = world();
  one.push('first', { isEmergency: true });
  for (let count = 0; count < SHARED_CONFIG_LIMITS.versionsMax + 20; count += 1) {
    one.push(`text ${count}`);
    one.end();
  }
  const kept = listVersions(one.machine);
  equal(kept.length, SHARED_CONFIG_LIMITS.versionsMax);
  equal(kept[0]?.version, 1, 'the one that counts');
  equal(kept[1]?.version, 23);
  equal(readText(one.machine, 2), null);
  const big = world();
  for (let count = 0; count < 50; count += 1) {
    big.push('x'.repeat(SHARED_CONFIG_LIMITS.textBytesMax), { isEmergency: true });
  }
  const bytes = listVersions(big.machine).reduce((sum, version) => sum + version.bytes, 0);
  ok(bytes <= SHARED_CONFIG_LIMITS.historyBytesMax, String(bytes));
});

/** A world with a second node in `EU`, where version 2 bakes. */
function bakingInTwo(): RolloutWorld {
  const one = new RolloutWorld(EU, EU2, US);
  one.push('a', { isEmergency: true });
  one.settle();
  one.push('b', { order: [EU] });
  equal(one.step(), `goes to ${EU}`);
  equal(one.step(), `bakes in ${EU}`);
  return one;
}

test('a region bakes once every node of it that is heard has the version', () => {
  const one = new RolloutWorld(EU, EU2, US);
  one.push('a', { order: [EU] });
  one.step();
  one.node(EU).applied = 1;
  equal(one.decide(one.stored), null, 'one of two has it');
  one.nowMs += applyMs + 1;
  const late = one.decide(one.stored)?.audit.what ?? '';
  match(late, /halted in eu-central-1: node two did not take the version in time/);
  one.node(EU2).applied = 1;
  match(one.decide(one.stored)?.audit.what ?? '', /bakes in eu-central-1/);
});

test('a halted roll-out says which node of a region it was', () => {
  const refusing = new RolloutWorld(EU, EU2, US);
  refusing.refusing.set(EU2, 1);
  refusing.push('a', { order: [EU] });
  match(refusing.steps().at(-1) ?? '', /halted in eu-central-1: node two refuses the version: no/);
  const first = bakingInTwo();
  first.node(EU).boot = 2;
  match(first.step() ?? '', /halted in eu-central-1: its first node restarted while it baked/);
  const further = bakingInTwo();
  further.node(EU2).boot = 2;
  match(further.step() ?? '', /halted in eu-central-1: node two restarted while it baked/);
  const lost = bakingInTwo();
  lost.node(EU2).applied = 1;
  match(lost.decide(lost.stored)?.audit.what ?? '', /: node two lost the version/);
});

test('errors of the nodes of a region count together', () => {
  const one = bakingInTwo();
  one.serve(US, 1_000, 0);
  one.serve(EU, requestsMin - 1, errorsMin - 1);
  equal(one.step(), null);
  one.serve(EU2, 1, 1);
  match(one.step() ?? '', /halted in eu-central-1: errors rose to 25\.0 % \(5 of 20\)/);
});

test('a node that dies while its region bakes is waited for, then left out: it goes on', () => {
  const one = bakingInTwo();
  one.silent.set(EU2, silentMs - 1);
  one.nowMs += 10_000;
  equal(one.step(), null, 'it may be back in a moment');
  one.silent.set(EU2, silentMs);
  equal(one.step(), `goes to ${US}`);
  deepEqual(one.steps().at(-1), `everywhere; not heard: ${EU2}`);
});

test('a region whose nodes are all gone halts, as one with a single node does', () => {
  const one = bakingInTwo();
  one.silent.set(EU, silentMs);
  one.silent.set(EU2, silentMs * 3);
  match(one.step() ?? '', /halted in eu-central-1: it stopped answering/);
});

test('a node that comes while its region bakes takes the version, and holds nothing up', () => {
  const one = new RolloutWorld(EU, EU2, US);
  one.push('a', { order: [EU] });
  one.silent.set(EU2, silentMs);
  one.step();
  equal(one.step(), `bakes in ${EU}`);
  one.silent.delete(EU2);
  equal(one.decide(one.stored), null, 'it has nothing yet, and has lost nothing');
  equal(assignedTo(one.head, EU), 1, 'it is to have it');
  one.node(EU2).out = ['vllm'];
  one.serve(EU2, 100, 100);
  one.nowMs += 1_000;
  equal(one.step(), `goes to ${US}`);
  const refusing = new RolloutWorld(EU, EU2);
  refusing.refusing.set(EU2, 1);
  refusing.push('a');
  refusing.silent.set(EU2, silentMs);
  refusing.step();
  refusing.step();
  refusing.silent.delete(EU2);
  match(refusing.step() ?? '', /node two refuses the version/);
});

test('a bake whose nodes are all gone halts, though another node of the region is back', () => {
  const one = new RolloutWorld(EU, EU2, US);
  one.push('a', { order: [EU] });
  one.silent.set(EU2, silentMs);
  one.step();
  one.step();
  one.silent.delete(EU2);
  one.silent.set(EU, silentMs);
  match(one.step() ?? '', /none of its nodes that baked answers/);
});

test('a bake of more nodes than a list holds keeps the marks of its own region', () => {
  const { nodesMax } = SHARED_CONFIG_LIMITS;
  const others = Array.from({ length: nodesMax }, (_, at) => `${US}/n${at}`);
  const one = new RolloutWorld(...others, EU, EU2);
  one.push('a', { order: [EU] });
  one.step();
  one.step();
  const marks = one.head.rollout?.stage?.bake?.marks ?? [];
  equal(marks.length, nodesMax);
  deepEqual(
    marks.slice(0, 2).map(({ peer }) => peer),
    [EU, EU2],
  );
});

const action = fc.oneof(
  fc.record({ kind: fc.constant('old' as const), leader: fc.constantFrom(EU, US, AP) }),
  fc.record({ kind: fc.constant('new' as const), leader: fc.constantFrom(EU, US, AP) }),
  fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(200, 1_000, 12_000) }),
  fc.record({ kind: fc.constantFrom('silent', 'heard', 'restart'), who: fc.nat(3) }),
  fc.record({ kind: fc.constantFrom('errors', 'settle'), who: fc.nat(3) }),
  fc.record({ kind: fc.constantFrom('push', 'resume', 'end', 'read') }),
);

test('two leaders with views of any age: one region at a time, and all bake (RO1 to RO5)', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
      const one = new RolloutWorld(EU, US, AP, EU2);
      one.push('a', { isEmergency: true });
      let view = one.stored;
      /** When each region got the version that bakes there, by the head. */
      const bakedMs = new Map<string, number>();
      for (const each of actions) {
        const name = [EU, US, AP, EU2]['who' in each ? each.who : 0] ?? EU;
        const before = one.head;
        if (each.kind === 'old' || each.kind === 'new') {
          const stored = each.kind === 'old' ? view : one.stored;
          const transaction = one.decide(stored, 'leader' in each ? each.leader : null);
          if (transaction !== null) one.run(transaction);
        } else if (each.kind === 'time') {
          one.nowMs += 'ms' in each ? each.ms : 0;
        } else if (each.kind === 'silent') one.silent.set(name, silentMs);
        else if (each.kind === 'heard') one.silent.delete(name);
        else if (each.kind === 'restart') one.node(name).boot += 1;
        else if (each.kind === 'errors') one.serve(name, 100, 50);
        else if (each.kind === 'settle') one.settle();
        else if (each.kind === 'read') view = one.stored;
        else if (each.kind === 'push' && before.rollout === null) one.push('x');
        else if (each.kind === 'resume' && before.rollout?.halted !== '' && before.rollout)
          one.resume();
        else if (each.kind === 'end' && before.rollout !== null) one.end();
        const { rollout, base } = one.head;
        if (rollout === null) {
          const wasDone = before.rollout?.done ?? [];
          if (base !== before.base) {
            ok(wasDone.length > 0 || before.rollout?.stage !== null, 'RO3: somebody has baked');
          }
          bakedMs.clear();
          continue;
        }
        // RO1: at most one region beyond those that are done has the version.
        const having = [EU, US, AP].filter((region) => assignedTo(one.head, region) !== base);
        ok(having.length <= rollout.done.length + 1);
        // RO4
        if (before.rollout?.halted !== '' && before.rollout && each.kind !== 'resume') {
          deepEqual(one.head, before);
        }
        const { stage } = rollout;
        const isBegun = stage?.bake !== null && before.rollout?.stage?.bake === null;
        if (stage !== null && isBegun) {
          const nodes = [...one.nodes.keys()].filter((peer) => regionOfPeer(peer) === stage.region);
          const heard = nodes.filter((peer) => !one.silent.has(peer));
          ok(heard.length > 0 && heard.every((peer) => one.node(peer).applied === rollout.version));
        }
        // RO2: who is done has baked for the whole time.
        if (stage !== null && stage.bake !== null) bakedMs.set(stage.region, stage.bake.sinceMs);
        for (const region of rollout.done) {
          if (before.rollout?.done.includes(region) === true) continue;
          const sinceMs = bakedMs.get(region);
          ok(sinceMs !== undefined && one.nowMs - sinceMs >= rollout.bakeMs, 'RO2');
        }
      }
    }),
    { numRuns: 500 },
  );
});
