import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryMachine } from '../group/memoryMachine.ts';
import { KvMachine } from './machine.ts';
import { MACHINE_CLAIMS } from './machineSuite.ts';
import { createMemoryStore } from './memoryStore.ts';

for (const { name, run } of MACHINE_CLAIMS) {
  test(`in memory: ${name}`, () => {
    const make = () => {
      const kv = new KvMachine(createMemoryStore());
      return { kv, machine: createMemoryMachine(kv) };
    };
    equal(run(make), null);
  });
}
