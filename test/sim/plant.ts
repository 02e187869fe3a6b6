/**
 * Loads the simulator, and with it the core, the log and the host under test, with one bug planted:
 * an exact text of one source file is replaced while the module is loaded. Nothing of it is in the
 * product, and a bug whose text is no longer there fails loudly.
 *
 * Each bug gets a module graph of its own: `?plant=NAME` is handed on from module to module.
 */

import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

import type { PlantedBug } from './bugs.ts';

const SRC = new URL('../../src/', import.meta.url).href;
const planted = new Map<string, PlantedBug>();

/** The simulator as its callers see it. */
export interface Simulator {
  readonly drawPlan: typeof import('../../src/sim/plan.ts').drawPlan;
  readonly runPlan: typeof import('../../src/sim/run.ts').runPlan;
}

function plantOf(url: string | undefined): string | null {
  if (url === undefined || !url.startsWith(SRC)) return null;
  return new URL(url).searchParams.get('plant');
}

let isHooked = false;

function hook(): void {
  if (isHooked) return;
  isHooked = true;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const resolved = nextResolve(specifier, context);
      const plant = plantOf(context.parentURL) ?? plantOf(resolved.url);
      if (plant === null || !resolved.url.startsWith(SRC)) return resolved;
      const url = new URL(resolved.url);
      url.searchParams.set('plant', plant);
      return { ...resolved, url: url.href };
    },
    load(url, context, nextLoad) {
      const plant = plantOf(url);
      const bug = plant === null ? undefined : planted.get(plant);
      if (bug === undefined) return nextLoad(url, context);
      const path = fileURLToPath(url.split('?')[0] ?? url);
      const edits = bug.edits.filter(({ file }) => path.endsWith(`/src/${file}`));
      if (edits.length === 0) return nextLoad(url, context);
      let source = readFileSync(path, 'utf8');
      for (const edit of edits) source = applyEdit(source, edit);
      return { format: 'module-typescript', source, shortCircuit: true };
    },
  });
}

function applyEdit(source: string, edit: PlantedBug['edits'][number]): string {
  const parts = source.split(edit.find);
  if (parts.length !== 2) {
    throw new Error(
      `${edit.file}: the text to replace is there ${parts.length - 1} times: ${edit.find}`,
    );
  }
  return parts.join(edit.replace);
}

/** The simulator with `bug` in it; null: as it is. */
export async function loadSimulator(bug: PlantedBug | null): Promise<Simulator> {
  hook();
  if (bug !== null) planted.set(bug.name, bug);
  const query = bug === null ? '' : `?plant=${encodeURIComponent(bug.name)}`;
  const run = (await import(`${SRC}sim/run.ts${query}`)) as Pick<Simulator, 'runPlan'>;
  const plan = (await import(`${SRC}sim/plan.ts${query}`)) as Pick<Simulator, 'drawPlan'>;
  return { runPlan: run.runPlan, drawPlan: plan.drawPlan };
}
