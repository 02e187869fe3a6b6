/** How a node without a log comes into a group: it asks the others and does what founding.ts says. */

import { randomBytes } from 'node:crypto';

import type { z } from 'zod';

import {
  decideFounding,
  foundersOf,
  type Founding,
  type Hello,
} from '../../replica/control/founding.ts';
import type { Member } from '../../raft/types.ts';
import { foundingSchema, type placesSchema } from './memberFile.ts';
import {
  BELOW_LEVEL,
  FOUND_PATH,
  HELLO_PATH,
  helloSchema,
  JOIN_PATH,
  joinedSchema,
  knownPlacesSchema,
  PLACES_PATH,
  type AskPeer,
} from './peerCalls.ts';

export interface Seeker {
  /** As a peer. */
  readonly name: string;
  readonly others: readonly string[];
  /** Begins the name of a cluster that is founded here. */
  readonly cluster: string;
  /** The feature level that this program supports. */
  readonly levelMax: number;
  readonly own: Extract<Hello, { readonly kind: 'new' }>;
  readonly ask: AskPeer;
}

export type Sought =
  | { readonly kind: 'wait'; readonly detail: string }
  /** A founding that names this node, and that the others know. */
  | { readonly kind: 'take'; readonly founding: Founding }
  /** `places` is what the node that let it in knows of where others are. */
  | ({
      readonly kind: 'joined';
      readonly places: z.output<typeof placesSchema>;
    } & z.output<typeof joinedSchema>);

/** One round of asking. */
export async function seekGroup(seeker: Seeker): Promise<Sought> {
  const { name, others, own } = seeker;
  const answers = new Map<string, Hello | null>();
  const asked = others.map(async (other) => {
    const answer = await seeker.ask(other, HELLO_PATH, null, helloSchema);
    answers.set(other, answer?.value ?? null);
  });
  await Promise.all(asked);
  const decision = decideFounding(name, own, answers);
  if (decision.kind === 'found') return found(seeker, decision.members);
  if (decision.kind === 'join') return join(seeker, decision.peers);
  return decision;
}

async function found(seeker: Seeker, members: readonly Member[]): Promise<Sought> {
  const suffix = randomBytes(4).toString('hex');
  const founding: Founding = { cluster: `${seeker.cluster}-${suffix}`, members };
  for (const other of foundersOf(seeker.others)) {
    const answer = await seeker.ask(other, FOUND_PATH, founding, foundingSchema);
    if (answer?.status === 200) continue;
    return { kind: 'wait', detail: `${other} did not take the founding` };
  }
  return { kind: 'take', founding };
}

async function join(seeker: Seeker, peers: readonly string[]): Promise<Sought> {
  const { incarnation, priority, isWitness } = seeker.own;
  const body = { incarnation, priority, isWitness };
  const path = `${JOIN_PATH}?level=${seeker.levelMax}`;
  for (const peer of peers) {
    const answer = await seeker.ask(peer, path, body, joinedSchema);
    if (answer?.status === BELOW_LEVEL) {
      const what = `feature level is above ${seeker.levelMax}, what this program supports`;
      const detail = `${peer}: the cluster's ${what}`;
      return { kind: 'wait', detail };
    }
    if (answer?.status !== 200 || answer.value === null) continue;
    const known = await seeker.ask(peer, PLACES_PATH, null, knownPlacesSchema);
    // Without them it might reach nobody else; asked again, it gets the same number.
    if (known === null) continue;
    return { kind: 'joined', ...answer.value, places: known.value?.places ?? [] };
  }
  return { kind: 'wait', detail: `${peers.join(', ')}: nobody could give a number` };
}
