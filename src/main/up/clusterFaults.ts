/** `POST /admin/v1/faults` of the supervisor: breaks and mends regions, model servers and links. */

import { err, ok } from '../../base/result.ts';
import type { AdminAnswer, AdminRefusal } from '../../io/admin/route.ts';
import type { FaultReply, FaultRequest } from '../adminTypes.ts';
import { askForAnswer } from './ask.ts';
import { clusterTargets, regionNotFound, type ClusterParts } from './cluster.ts';
import type { RegionProcess } from './regionProcess.ts';

type PlaceFault = Extract<FaultRequest, { target: string | null }>;

/** Applies faults, and remembers which links are cut: a node that restarts does not know. */
export class ClusterFaults {
  readonly #regions: readonly RegionProcess[];
  #cuts: (readonly [string, string])[] = [];

  constructor(regions: readonly RegionProcess[]) {
    this.#regions = regions;
  }

  get cuts(): readonly (readonly [string, string])[] {
    return this.#cuts;
  }

  /** Does what `fault` asks. */
  async apply(fault: FaultRequest, parts: ClusterParts): Promise<AdminAnswer<FaultReply>> {
    if (fault.action === 'heal') return done(await this.#heal(parts));
    if (fault.action === 'cut') return this.#cut(fault.a, fault.b);
    const region = this.#find(fault.region);
    if (region === null) return err(regionNotFound(fault.region));
    if (fault.target !== null) return tellTarget(region, fault);
    return regionFault(region, fault.action);
  }

  /** Tells a node that came back which of its links are cut. */
  async cutAgain(region: RegionProcess): Promise<void> {
    const name = region.plan.region;
    for (const [a, b] of this.#cuts) {
      if (a === name || b === name) await tell(region, { action: 'cut', a, b });
    }
  }

  #find(name: string): RegionProcess | null {
    return this.#regions.find(({ plan }) => plan.region === name) ?? null;
  }

  async #cut(a: string, b: string): Promise<AdminAnswer<FaultReply>> {
    const first = this.#find(a);
    const second = this.#find(b);
    if (first === null) return err(regionNotFound(a));
    if (second === null) return err(regionNotFound(b));
    if (first === second) {
      const message = 'A link has two different regions.';
      return err({ status: 400, code: 'invalid_request', message });
    }
    if (!this.#cuts.some((pair) => pair.includes(a) && pair.includes(b))) this.#cuts.push([a, b]);
    const fault = { action: 'cut', a, b } as const;
    await Promise.all([tell(first, fault), tell(second, fault)]);
    return done([`link between ${a} and ${b} cut`]);
  }

  async #heal(parts: ClusterParts): Promise<readonly string[]> {
    const sentences = this.#cuts.map(([a, b]) => `link between ${a} and ${b} healed`);
    this.#cuts = [];
    for (const region of this.#regions) {
      const name = region.plan.region;
      if (region.resume()) sentences.push(`${name}: resumed`);
      if (region.pid === null) {
        region.restart();
        sentences.push(`${name}: starting again`);
      }
    }
    await Promise.all(this.#regions.map((region) => tell(region, { action: 'heal' })));
    const { items } = await clusterTargets(parts);
    for (const { region: name, target, process } of items) {
      const region = this.#find(name);
      const isDown = process === 'held' || process === 'paused';
      if (region === null || !isDown) continue;
      const action = process === 'held' ? 'restart' : 'resume';
      const answer = await tellTarget(region, { action, region: name, target });
      if (answer.ok) sentences.push(`${name}/${target}: ${action}ed`);
    }
    return sentences.length === 0 ? ['nothing was broken'] : sentences;
  }
}

function done(sentences: readonly string[]): AdminAnswer<FaultReply> {
  return ok({ done: sentences });
}

function regionFault(region: RegionProcess, action: PlaceFault['action']): AdminAnswer<FaultReply> {
  const name = region.plan.region;
  const pid = region.pid === null ? '' : ` (pid ${region.pid})`;
  switch (action) {
    case 'kill':
      region.kill();
      return done([`${name}: killed${pid}, down until restart`]);
    case 'pause':
      if (region.pause()) return done([`${name}: paused${pid}`]);
      return err(wrongState(name, action));
    case 'resume':
      if (region.resume()) return done([`${name}: resumed${pid}`]);
      return err(wrongState(name, action));
    case 'restart':
      region.restart();
      return done([`${name}: starting again`]);
  }
}

function wrongState(name: string, action: string): AdminRefusal {
  return { status: 409, code: 'wrong_state', message: `${name} is not in a state for ${action}.` };
}

async function tellTarget(
  region: RegionProcess,
  fault: PlaceFault,
): Promise<AdminAnswer<FaultReply>> {
  return (await tell(region, fault)) ?? err(silentRegion(region.plan.region));
}

function silentRegion(name: string): AdminRefusal {
  const message = `${name} does not answer: it is down, paused or starting.`;
  return { status: 503, code: 'region_unreachable', message };
}

/** Passes a fault on to a node; null where it does not answer. */
function tell(region: RegionProcess, fault: FaultRequest): Promise<AdminAnswer<FaultReply> | null> {
  if (region.pid === null || region.state === 'paused') return Promise.resolve(null);
  return askForAnswer<FaultReply>(region.plan.adminPort, '/admin/v1/faults', { body: fault });
}
