/** Runs the parts: all systems of a part in interleaved rounds, their order turned each round. */

import {
  measureAdded,
  measureCores,
  measureMaximum,
  measureSlow,
  measureThroughput,
  startFor,
  startWorkers,
  writeBody,
  type Bench,
  type Figures,
  type Part,
  type Round,
} from './scenarios.ts';
import { sampleWrong, takeSample } from './samples.ts';
import type { Started, System } from './systems.ts';

/** One system in one part. */
export interface Row {
  readonly part: string;
  readonly system: string;
  /** Of the rounds that count, in order. */
  readonly rounds: readonly (Figures | null)[];
  /** Why the row does not count, or what was wrong in some rounds; null: all was right. */
  readonly wrong: string | null;
}

/** Told as the work goes on. */
export interface Progress {
  readonly say: (line: string) => void;
  readonly round: (part: Part, round: number, system: string, result: Round) => void;
}

interface Contender {
  readonly name: string;
  measure: (() => Promise<Round>) | null;
  readonly rounds: (Figures | null)[];
  wrong: string | null;
  readonly end: () => Promise<void>;
}

/** Measures one part. Systems that cannot are reported in their row with the reason. */
export async function runPart(
  bench: Bench,
  part: Part,
  systems: readonly System[],
  rounds: number,
  progress: Progress,
): Promise<readonly Row[]> {
  progress.say(`(${part.id}) ${part.title}`);
  const contenders = await contendersOf(bench, part, systems, progress);
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (let turn = 0; turn < contenders.length; turn += 1) {
        const contender = contenders[(turn + round) % contenders.length];
        if (contender === undefined || contender.measure === null) continue;
        const result = await contender.measure();
        progress.round(part, round, contender.name, result);
        contender.rounds.push('figures' in result ? result.figures : null);
        if ('wrong' in result) contender.wrong = `round ${round + 1}: ${result.wrong}`;
      }
    }
  } finally {
    for (const contender of contenders) await contender.end();
  }
  return contenders.map(({ name, rounds: seen, wrong }) => {
    return { part: part.id, system: name, rounds: seen, wrong };
  });
}

async function contendersOf(
  bench: Bench,
  part: Part,
  systems: readonly System[],
  progress: Progress,
): Promise<readonly Contender[]> {
  const contenders: Contender[] = [];
  if (part.kind === 'cores') {
    const banyan = systems.find((system) => system.name === 'banyan');
    if (banyan === undefined) return [];
    for (const workers of [1, bench.cores.allSystem.length]) {
      const begin = (): Promise<Started> => startWorkers(bench, banyan, workers);
      const name = workers === 1 ? '1 worker' : `${workers} workers`;
      contenders.push(
        await contend(name, begin, (started) => {
          return Promise.resolve(() => measureCores(bench, part, started, workers));
        }),
      );
    }
    return contenders;
  }
  for (const system of systems) {
    progress.say(`  starting ${system.name} ${system.version}`);
    if (part.kind === 'memory') {
      contenders.push({
        name: system.name,
        measure: () => guarded(() => measureSlow(bench, part, system)),
        rounds: [],
        wrong: null,
        end: () => Promise.resolve(),
      });
      continue;
    }
    const begin = (): Promise<Started> => startFor(bench, part, system);
    contenders.push(
      await contend(system.name, begin, (started) => prepare(bench, part, started, progress)),
    );
  }
  for (const { name, wrong } of contenders) {
    if (wrong !== null) progress.say(`  ${name}: ${wrong}`);
  }
  return contenders;
}

/** A round that cannot even be run is a wrong one, and the others go on. */
async function guarded(measure: () => Promise<Round>): Promise<Round> {
  try {
    return await measure();
  } catch (cause) {
    return { wrong: String(cause) };
  }
}

async function contend(
  name: string,
  begin: () => Promise<Started>,
  prepareMeasure: (started: Started) => Promise<(() => Promise<Round>) | string>,
): Promise<Contender> {
  let started: Started | null = null;
  try {
    started = await begin();
    const measure = await prepareMeasure(started);
    const { end } = started;
    if (typeof measure !== 'string') {
      return { name, measure: () => guarded(measure), rounds: [], wrong: null, end };
    }
    return { name, measure: null, rounds: [], wrong: measure, end };
  } catch (cause) {
    const end = started?.end ?? (() => Promise.resolve());
    return { name, measure: null, rounds: [], wrong: String(cause).slice(0, 800), end };
  }
}

/** Checks the system's answer, warms it, and returns what measures one round of it. */
async function prepare(
  bench: Bench,
  part: Part,
  started: Started,
  progress: Progress,
): Promise<(() => Promise<Round>) | string> {
  const { text } = writeBody(bench, part.shape);
  const sample = await takeSample(bench.upstreamPorts[0] ?? 0, text);
  const wrong = await sampleWrong(started, text, sample);
  if (wrong !== null) return wrong;
  if (part.kind !== 'added') {
    const quick = { ...bench, seconds: Math.min(bench.seconds, 2) };
    await measureThroughput(quick, part, started, sample);
    return () => measureThroughput(bench, part, started, sample);
  }
  const maximum = await measureMaximum(bench, part, started);
  if (maximum === null) return 'its maximum could not be measured without errors';
  progress.say(`  ${started.system.name}: at most ${Math.round(maximum)} requests/s`);
  return () => measureAdded(bench, part, started, maximum / 2);
}
