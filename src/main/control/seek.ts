/** How a node without a log comes into a group: it asks the others and does what founding.ts says. */

import { randomBytes } from 'node:crypto';

import type { z } from 'zod';

import { decideFounding, type Founding, type Hello } from '../../replica/control/founding.ts';
import type { Member } from '../../raft/types.ts';
import { foundingSchema } from './memberFile.ts';
import {
  FOUND_PATH,
  HELLO_PATH,
  helloSchema,
  JOIN_PATH,
  joinedSchema,
  type PeerAnswer,
} from './peerCalls.ts';

export interface Seeker {
  readonly region: string;
  readonly otherRegions: readonly string[];
  /** Begins the name of a cluster that is founded here. */
  readonly cluster: string;
  readonly own: Extract<Hello, { readonly kind: 'new' }>;
  ask<T>(
    region: string,
    path: string,
    body: object | null,
    schema: z.ZodType<T>,
  ): Promise<PeerAnswer<T> | null>;
}

export type Sought =
  | { readonly kind: 'wait'; readonly detail: string }
  /** A founding that names this node, and that the others know. */
  | { readonly kind: 'take'; readonly founding: Founding }
  | ({ readonly kind: 'joined' } & z.output<typeof joinedSchema>);

/** One round of asking. */
export async function seekGroup(seeker: Seeker): Promise<Sought> {
  const { region, otherRegions, own } = seeker;
  const answers = new Map<string, Hello | null>();
  const asked = otherRegions.map(async (other) => {
    const answer = await seeker.ask(other, HELLO_PATH, null, helloSchema);
    answers.set(other, answer?.value ?? null);
  });
  await Promise.all(asked);
  const decision = decideFounding(region, own, answers);
  if (decision.kind === 'found') return found(seeker, decision.members);
  if (decision.kind === 'join') return join(seeker, decision.regions);
  return decision;
}

async function found(seeker: Seeker, members: readonly Member[]): Promise<Sought> {
  const suffix = randomBytes(4).toString('hex');
  const founding: Founding = { cluster: `${seeker.cluster}-${suffix}`, members };
  for (const other of seeker.otherRegions) {
    const answer = await seeker.ask(other, FOUND_PATH, founding, foundingSchema);
    if (answer?.status === 200) continue;
    return { kind: 'wait', detail: `${other} did not take the founding` };
  }
  return { kind: 'take', founding };
}

async function join(seeker: Seeker, regions: readonly string[]): Promise<Sought> {
  const { incarnation, priority, isWitness } = seeker.own;
  const body = { incarnation, priority, isWitness };
  for (const region of regions) {
    const answer = await seeker.ask(region, JOIN_PATH, body, joinedSchema);
    if (answer?.status === 200 && answer.value !== null) return { kind: 'joined', ...answer.value };
  }
  return { kind: 'wait', detail: `${regions.join(', ')}: nobody could give a number` };
}
